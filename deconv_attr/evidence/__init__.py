"""Several methods side by side, and checks of what their maps are worth.

A row of pictures invites belief. `compare` draws them, and says in numbers what they are worth.

```python
from captum.attr import IntegratedGradients

from deconv_attr import Method, compare, default_methods, rule_tables
from deconv_attr.demo import embedded_images, load_model, normalise

model = load_model()
x = normalise(embedded_images(2)[0])  # (2, 3, 96, 96)

comparison = compare(model, x, target=3)  # deconvnet from score and unit, guided backprop, saliency
comparison.plot().savefig("compare.png")
print(comparison.table(["deletion", "input recovery"]))  # without names: all checks
comparison.plot(columns=["Saliency", "Guided backprop"], width=3.4).savefig("column.pdf")  # for a paper's column

integrated = Method(IntegratedGradients(model), arguments={"n_steps": 8})  # any Captum attribution, or function
compare(model, x, 3, [*default_methods(model, x), integrated])
compare(model, x, 3, rule_tables("features.9", 41))  # DeconvNet, SaliNet, DeSaliNet, guided backprop of one unit
```

`comparison.verdict()` answers a question with each check, by yes, no or ?, for ten images or more, and
`comparison.to_html("compare.html")` writes pictures, verdict, numbers and curves into one page.

## What goes in

- *Inputs* are images of any number of channels, signals (N, C, L) or volumes (N, C, D, H, W). Of several inputs the
  first is explained; `additional_forward_args` are as in Captum.
- *Outputs* are logits, probabilities of a softmax or of sigmoids, or values of a regression, (N, classes) or (N,). The
  kind is seen from the operation that made them, or said: `outputs="binary logits"`. Labels and curves are of
  probabilities where there are such.
- *Methods* are Captum attributions or functions. One that fails has its error in its cells; the others stand. Where the
  model has rectifiers that Captum's guided backprop misses, our own table of its rules takes its place, and the title
  says so.
- *Pixels are ranked*, for deletion, insertion and the pointing game, by the value of contributions (integrated
  gradients, LRP, occlusion, Grad-CAM, functions of your own), and by the size of gradients, guided backprop and the
  deconvnet, whose sign is a direction or a colour. `Method(..., rank_by="size")` decides otherwise.

## What comes out

- *Pictures*, see `deconv_attr.visualize`. Methods that have nothing to show come last. The box in an image is the
  receptive field of the unit from which a map starts. `comparison.zero_reasons` has where signals died, by method and
  image.
- *The page* shows the pictures first, then the verdict, the numbers with a row for each check, and the curves. Its head
  says what was run: model, fingerprint of the weights, versions, date and call. It follows dark mode, reads on a phone,
  and prints. `plot_curves` fits a paper as `plot` does.
- *Numbers* are means over images with intervals of 95 %. Bars show how long checks take; `show_progress=False` leaves
  them out.

## The checks

Each has one name everywhere, and most are a function of their own here, with formula, source, and how it differs from
Quantus' metric.

- *zero maps* (`is_zero`): the share of images whose map is zero. The other numbers are of the rest.
- *target sensitivity* (`target_sensitivity`): rank correlation with the map of another class. 1: the same map.
- *parameter randomisation* (`parameter_randomisation`): rank correlation with the map under random weights, the mean of
  a cascade from the top layer down, over all stages and images. 1: the map ignores the model.
- *input recovery* (`input_recovery`): correlation with the image. 1: the map is the image, or its negative.
- *edge similarity* (`edge_similarity`): correlation of the sizes of the map's values with the edges of the image.
- *deletion* (`deletion`): mean probability of the class while the first pixels go. Low: the map finds them.
- *insertion* (`insertion`): mean probability of the class while the first pixels come back. High: the map finds them.
- *infidelity* (`infidelity`): the share of the score's change under noise that the map leaves unexplained.
- *sensitivity* (`sensitivity_max`): the largest relative change of the map under small noise.
- *pointing game* (`pointing_game`): how often the first pixel lies on the object, where masks are given.
- *mask share* (`mask_share`): the share of the map that lies on the object, where masks are given.

Some have further columns:

- *|map|*: the same of the sizes of the map's values, without signs.
- *zero*: the share of maps that random weights kill; they count as 0 in the correlation. Images have one of five draws
  of the weights, and the intervals are over both.
- *gain*, of deletion and insertion: by how much better than the same map moved by half the image. Of pointing game and
  mask share: by how much more than by chance, which is the share of the image that the object takes.

`controls()` adds two methods that explain nothing, noise and the image itself: a check that they pass says little.

A check of your own is a function from a `Case` to a `Finding`, registered by `check`.
"""

from .bootstrap import Estimate, estimate
from .checks import CHECKS, Case, Check, Curve, Finding, Question, check, chosen_checks
from .comparison import Comparison
from .faithfulness import area, deletion, infidelity, insertion
from .inputs import compare
from .localisation import check_masks, mask_share, pointing_game
from .methods import Explained, Method, captum_misses, controls, default_methods, rule_tables
from .outputs import OUTPUTS, kind_of_outputs, probabilities, scores_of
from .randomisation import Randomisation, parameter_randomisation
from .robustness import sensitivity_max
from .similarity import (
    edge_similarity,
    input_recovery,
    is_zero,
    method_agreement,
    pearson,
    spearman,
    target_sensitivity,
)
from .table import Answer, Cell, Failure, ResultTable
from .verdicts import Verdict, verdict

__all__ = [
    "CHECKS",
    "OUTPUTS",
    "Answer",
    "Case",
    "Cell",
    "Check",
    "Comparison",
    "Curve",
    "Estimate",
    "Explained",
    "Failure",
    "Finding",
    "Method",
    "Question",
    "Randomisation",
    "ResultTable",
    "Verdict",
    "area",
    "captum_misses",
    "check",
    "check_masks",
    "chosen_checks",
    "compare",
    "controls",
    "default_methods",
    "deletion",
    "edge_similarity",
    "estimate",
    "infidelity",
    "input_recovery",
    "insertion",
    "is_zero",
    "kind_of_outputs",
    "mask_share",
    "method_agreement",
    "parameter_randomisation",
    "pearson",
    "pointing_game",
    "probabilities",
    "rule_tables",
    "scores_of",
    "sensitivity_max",
    "spearman",
    "target_sensitivity",
    "verdict",
]
