"""The Captum classes, what of a model's output they explain, and the report of a model.

| name | question |
|---|---|
| `ZFDeconv` | which pixels caused the score of a class? |
| `NeuronZFDeconv` | which pixels caused the activation of a unit? This is the paper's own question. |
| `LayerZFDeconv` | what of the signal arrives at a layer, or at each of a list? |
| `ScoredModel` | what of an output that is no tensor of scores is explained? |
| `coverage` | which rule does each operation of a model get? |

The three classes are `captum.attr.GradientAttribution`: the same `inputs`, `target` and `additional_forward_args` as
everywhere in Captum. `NoiseTunnel`, the metrics and `visualize_image_attr` take them as they take Captum's own.

```python
from captum.attr import NoiseTunnel

from deconv_attr import LayerZFDeconv, NeuronZFDeconv, ScoredModel, ZFDeconv
from deconv_attr.demo import embedded_images, load_model, normalise

model = load_model()
x = normalise(embedded_images(2)[0])  # (2, 3, 96, 96)

NoiseTunnel(ZFDeconv(model)).attribute(x, target=3, nt_samples=4)
NeuronZFDeconv(model, "features.9").attribute(x, neuron_selector=41)  # the map's strongest unit in each example
LayerZFDeconv(model, ["features.4", "features.9"]).attribute(x, target=3)  # a list of two signals

scored = ScoredModel(model, lambda scores: scores[:, 2] - scores[:, 5])  # of whatever the model returns
ZFDeconv(scored).attribute(x)

maps = ZFDeconv(model).attribute_targets(x, [3, 5, 7])  # (3, 2, 3, 96, 96), from one forward pass
```

## Scores

A model may return anything. `ScoredModel(model, score)` says once what of it is explained, for all classes here, for
`compare`, and for Captum's own methods. `score` is a function of what the model returns: `lambda output: output.logits`
of a model of Hugging Face, `lambda output: output["out"][:, 15, 40:60, 40:60].sum((1, 2))` of a segmentation, for a
class over a region. `ScoredModel(model, forward_func=...)` takes a function of the inputs, as Captum does.

## Maps that can be differentiated

`ZFDeconv(model).attribute(x, target=3, create_graph=True)` returns a map that is itself differentiable, by the weights
and by inputs that require grad: to train with explanations, or to attack them.

## Memory and precision

What does not fit at once runs in parts: `attribute(x, target=3, internal_batch_size=8)`, in all three classes. Models
and inputs in bfloat16 or float16, and autocast, work; a signal that float16 may have lost is reported by a
`DeadSignalWarning`. Captum's `NoiseTunnel` adds noise in single precision, so a model with weights in half precision
has to cast its inputs then.

## What the maps are worth

- They show which pattern of the input *caused* a score or an activation. They do not invert the network: a transposed
  convolution is the adjoint of the convolution, and restores its input's shape, not its values.
- Only the switches of max-pools and smooth nonlinearities see the image. A net of strided convolutions and ReLUs gives
  the same map for every image; a ResNet, with its one max-pool, shows little of the image.
- From a class score, the map hardly depends on the class. The paper starts from single units of convolutions; so do
  `NeuronZFDeconv` and `deconv_attr.units`.
- The signal can die: without biases to keep it up, rectification may leave nothing. The map is zero then, and a
  `DeadSignalWarning` says where the signal died, and what to do instead. On trained SqueezeNet this happens to the top
  class's score on most photographs.

`deconv_attr.evidence` measures this for your model. Source: Zeiler and Fergus 2014; Nie et al., "A Theoretical
Explanation for Perplexing Behaviors of Backpropagation-based Visualizations", ICML 2018; Adebayo et al., "Sanity Checks
for Saliency Maps", NeurIPS 2018.

## Beside Captum's Deconvolution

Captum's hooks modules of class `nn.ReLU`, and the tensors that they share. On AlexNet, VGG, SqueezeNet and ResNet the
two agree to rounding. On torchvision's GoogLeNet and Inception Captum's returns the plain gradient, and on DenseNet,
MobileNetV2 and pre-activation blocks a wrong map, in both cases without a word.
"""

from .at_layer import LayerZFDeconv, NeuronZFDeconv
from .scored_model import ScoredModel
from .zf_deconv import ZFDeconv, coverage

__all__ = ["LayerZFDeconv", "NeuronZFDeconv", "ScoredModel", "ZFDeconv", "coverage"]
