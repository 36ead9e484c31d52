r"""The command `deconv-attr`, also `python -m deconv_attr`.

Without arguments each of its commands runs on the embedded model and images:

| command | what it writes |
|---|---|
| `deconv-attr compare` | ZFDeconv, guided backprop and saliency side by side, as a picture or a page with checks |
| `deconv-attr project` | single units of a layer, projected to pixels, beside the image patches that they come from |
| `deconv-attr gallery` | the strongest activations of feature maps over a folder of images, projected |
| `deconv-attr layers` | the layers of a model that can be named, their shapes and receptive fields |

Without arguments `gallery` searches 1,000 generated images, and shows all maps of all layers, in about a minute.

With your own model and photographs:

```sh
deconv-attr compare --model resnet18 --weights DEFAULT --image cat.jpg dog.jpg --target tabby "golden retriever"
deconv-attr compare --model resnet18 --image cat.jpg dog.jpg --checks --output compare.html
deconv-attr layers --model mypackage.nets:make
deconv-attr project --model mypackage.nets:make --weights trained.pt --layer features.8 --maps 12 70-77 \
    --image cat.jpg
deconv-attr gallery --model vgg16 --images photographs/ --layers features.15 features.29 --workers 2
deconv-attr compare --model mypackage.nets:cifar --weights last.ckpt --size 32 --mean 0.49 0.48 0.45 \
    --std 0.25 0.24 0.26 --classes names.txt --target truck --image truck.png
deconv-attr compare --model mypackage.nets:digits --size 28 --mean 0.1307 --std 0.3081 --image seven.png
```

- *Preprocessing*, in all four commands: `--size N` (the model sees the central N x N pixels), `--resize N` (the
  shorter side before that; by default the size), `--interpolation`, `--mean` and `--std` (of pixels from 0 to 1; one
  number each makes images gray). What is not given is torchvision's for its models. A factory may return
  `(model, transform)`, or the model may have timm's `pretrained_cfg`; else ImageNet's is assumed, in gray if the first
  convolution has one channel. What is used, and where it comes from, is printed.
- *Weights*: a file of `torch.save` or of safetensors. The state dict may lie in a checkpoint (`state_dict`, `model`,
  `net`, `model_ema`, ...), and DataParallel, Lightning, torch.compile or FSDP may have changed its names. What was
  taken and changed is printed. Nothing in a file is executed: of a whole pickled model, or of TorchScript, save the
  `state_dict()`. `--weights DEFAULT` downloads torchvision's, once; without a connection give a local file.
- *Scores*: `compare --score mypackage.nets:logits` names a function of what the model returns, if that is no tensor of
  scores; or the factory returns a `ScoredModel`. `--outputs` says what the scores are, where that cannot be seen:
  logits, probabilities, values, ...
- *Checks*: `--checks` runs all, `--checks deletion target-sensitivity` some. How long they take is said before.
- *Classes*: `--classes FILE` has a name on each line, or is JSON. `--target` takes an index, a name, or a part of a
  name that no other class has.

Exit status:

| status | meaning |
|---|---|
| 0 | all is done |
| 2 | what was asked for cannot be done: an option, a model, an image or a path is not what it should be |
| 1 | anything else was raised: by the model's code, by a library, or because stdout cannot be written |
| 130 | Ctrl-C |
| 141 | nobody reads stdout any more |

2 and 1 are told in one sentence; `deconv-attr --traceback compare ...` shows more.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from .. import __version__
from ..errors import DeconvError
from . import terminal

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.
    """
    with terminal.any_text():
        try:
            return _status(arguments)
        finally:
            terminal.settle()


def _status(arguments: Sequence[str] | None) -> int:
    options = None
    try:
        options = _options(arguments)
        with _current_directory_importable():
            options.run(options)
        terminal.flush()
        return terminal.DONE
    except KeyboardInterrupt:
        return terminal.INTERRUPTED
    except BrokenPipeError:
        return terminal.NO_READER
    except BaseException as error:  # a model may raise anything, SystemExit too
        if options is None and isinstance(error, SystemExit):  # argparse has printed help, or what is wrong
            raise
        if options is not None and options.traceback:
            traceback.print_exc()
        ours = isinstance(error, (DeconvError, terminal.UnwritableError))
        terminal.warn(f"error: {error if ours else terminal.place_of(error)}")
        return terminal.REFUSED if isinstance(error, DeconvError) else terminal.FAILED


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    from . import compare, gallery, layers, project  # not before main runs: what they import may fail, too

    parser = argparse.ArgumentParser(
        prog="deconv-attr",
        description="Show which pixels caused an activation: the deconvnet of Zeiler and Fergus.",
        epilog="exit status: 0 done, 1 the model or a library failed, 2 what is asked for cannot be done, 130 Ctrl-C",
    )
    parser.add_argument("--version", action="version", version=f"deconv-attr {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error was raised, too")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (compare, project, gallery, layers):
        command.add(commands)
    return parser.parse_args(arguments)


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    """Allow ``module:factory`` to name a file in the current directory, as under ``python -m``."""
    before = list(sys.path)
    with suppress(OSError):  # it may be gone
        here = os.getcwd()
        if here not in before and "" not in before:
            sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path[:] = before
