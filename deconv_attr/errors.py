"""What can go wrong, by name, and what to do then.

No answer is better than a wrong one: what cannot be explained is refused, with the operation, the path of its module,
file and line. All errors are a `DeconvError`; catch that one. The kinds also derive from the built-in exception that a
user of Captum or PyTorch would expect. Every text says what was expected and what was found, in one line that a
terminal can print, whatever stands in the names of files that it repeats (see `readable`).

What is refused, and what to choose instead:

- An activation that the paper has no rule for, such as LeakyReLU, GELU or SiLU (`RuleError`): choose
  `activations="rectify"` or `"gradient"`.
- An operation that is not listed, or a custom `autograd.Function` (`RuleError`): choose `unknown="gradient"`, or name
  its kind by `register_operation("my_ns::op", kind=Kind.LINEAR)`.
- A rectifier written by hand, as `x * (x > 0)`, however its mask was computed (`RuleError`): use `torch.relu`. A
  comparison that only steers (an `if`, a choice of rows, a constant region) passes.
- A write into the signal that autograd does not see: under `no_grad`, by `x.data`, in numpy (`RuleError`).
- Activation checkpointing with `use_reentrant=True`, which runs parts of the model again where no rule can reach them
  (`ModelError`): choose `use_reentrant=False`.
- TorchScript (`ModelError`): give the original module.
- A model that computes in integers (quantised activations), which has no gradient (`ModelError`): give the model as it
  was before.
- No rectifier between a score and the pixels: the map would be the plain gradient (`ModelError`): use Captum's
  `Saliency`.
- An output that is no tensor, or has other rows than there are examples (`ModelError`): say what the scores are, by
  `ScoredModel`.
- Many units from one pass (`project`) of a model of FSDP2, which gives its parameters back after each signal
  (`ModelError`): use `NeuronZFDeconv`.
- A signal that is NaN or infinite (`SignalError`): the text says from which operation on.
- Bad inputs or targets (`InputError`, `TargetError`): the text says what was expected.

Two things are no errors, but warnings, because there is a map:

- `DeadSignalWarning`: a map is zero, since rectification left nothing of the signal, or the head is saturated. The text
  says where it died, and what to do instead: mostly to start from a single unit.
- `RandomModelWarning`: the model draws random numbers, so that each call gives another map. The text names the dropout
  in training mode; call `model.eval()`.

Images and names of files may come from strangers. A photograph is an image of bounded size in one of Pillow's formats
of pictures; it is read upright, with transparent pixels laid upon white, or refused by an `InputError`. In a folder it
is skipped, and a `SkippedImagesWarning` names it. Nothing in a file of weights or of a search is executed. What is
trusted and what is not is told in the repository's `.github/SECURITY.md`.
"""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

__all__ = [
    "DeadSignalWarning",
    "DeconvError",
    "InputError",
    "ModelError",
    "RandomModelWarning",
    "RuleError",
    "SearchError",
    "SignalError",
    "SkippedImagesWarning",
    "TargetError",
    "nearest",
    "readable",
    "readable_lines",
    "reason",
    "shown",
]

_UNREADABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, ends of lines, what turns the direction of writing, and bytes that are no Unicode."""

_LONGEST = 500  # characters of a third party's text


def readable(text: object) -> str:
    r"""Return a text as one line without characters that move a cursor, hide others, or are no Unicode.

    Such a character is written by its number: a file name's newline as ``\x0a``, a byte that is no UTF-8 as ``\xe9``.
    """
    return _UNREADABLE.sub(_escaped, str(text))


def readable_lines(text: str) -> str:
    """Return a text of several lines, each made :func:`readable`: the labels of a figure may be the names of files."""
    return "\n".join(map(readable, text.split("\n")))


def _escaped(found: re.Match[str]) -> str:
    number = ord(found[0])
    if 0xDC80 <= number <= 0xDCFF:  # how Python keeps a byte of a file name that is no UTF-8
        number -= 0xDC00
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


class DeconvError(Exception):
    """Any error that deconv_attr raises on purpose.

    Parameters
    ----------
    message : str
        The text, which is made :func:`readable`.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(readable(message))


class ModelError(DeconvError, TypeError):
    """The model is not one that can be explained (no Module, TorchScript, no rectifier, a dict as output)."""


class InputError(DeconvError, ValueError):
    """The inputs are not images that can be explained, or a name or a file is not what it should be."""


class TargetError(DeconvError, AssertionError):
    """The target does not fit the model's output; an AssertionError too, because Captum's is one."""


class RuleError(DeconvError, NotImplementedError):
    """No rule covers an operation of the forward pass."""


class SignalError(DeconvError, ArithmeticError):
    """The signal is no longer a finite number."""


class SearchError(DeconvError, RuntimeError):
    """A search over a data set ended before its end: another process of it did, or the file cannot be written."""


class DeadSignalWarning(UserWarning):
    """The signal was lost before it reached the pixels, so that the map is zero; or it is too weak for float16.

    Parameters
    ----------
    message : str
        The text.
    where : mapping of str to sequence of int, optional
        Of a call of ``attribute``, the examples whose signals died, by where they did, in at most 60 characters.
    count : int
        The number of examples of that call.
    advice : str
        What to do, as it stands at the end of the text.
    """

    def __init__(
        self, message: str = "", where: Mapping[str, Sequence[int]] | None = None, count: int = 0, advice: str = ""
    ) -> None:
        super().__init__(message)
        self.where = dict(where or {})
        self.count = count
        self.advice = advice


class RandomModelWarning(UserWarning):
    """The model draws random numbers, as dropout does in training mode: each call gives another map."""


class SkippedImagesWarning(UserWarning):
    """Images of a data set could not be read and were left out.

    Parameters
    ----------
    message : str
        The text, which is made :func:`readable`.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(readable(message))


def nearest(word: str, known: Sequence[str]) -> str:
    """Return the known words that are most like a wrong word, as the end of a sentence; "" where none is near."""
    near = get_close_matches(word, known, n=3)
    return f"; the nearest are {', '.join(near)}" if near else ""


def reason(error: BaseException) -> str:
    """Return an error's kind and the first line of its text, or as much of it as can be read at a glance."""
    try:
        line = readable(next(iter(str(error).strip().splitlines()), ""))
    except Exception:  # the text of a third party's error may itself fail
        line = ""
    if len(line) > _LONGEST:
        line = f"{line[:_LONGEST]} ..."
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def shown(value: object, length: int = 80) -> str:
    """Return the text form of a value that a caller or a file has given, on one line.

    Parameters
    ----------
    value : any
        Its own ``repr`` may fail.
    length : int
        The most characters.
    """
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a third party's, an int of more digits than Python writes, a list that is too deep
        text = f"a {type(value).__name__}"
    return text if len(text) <= length else f"{text[: length - 3]}..."
