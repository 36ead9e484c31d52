"""What can go wrong, by name. Every error says what was expected and what was found.

All errors are a :class:`DeconvError`; catch that one. The kinds also derive from the built-in
exception that a user of Captum or PyTorch would expect.
"""

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
    "reason",
    "shown",
]


class DeconvError(Exception):
    """Any error that deconv_attr raises on purpose."""


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
    """Images of a data set could not be read and were left out."""


def nearest(word: str, known: Sequence[str]) -> str:
    """Offer the known words that are most like a wrong one, as the end of a sentence."""
    near = get_close_matches(word, known, n=3)
    return f"; the nearest are {', '.join(near)}" if near else ""


def reason(error: BaseException) -> str:
    """Return an error's kind and the first line of its text."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # the text of a third party's error may itself fail
        lines = []
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def shown(value: object, length: int = 80) -> str:
    """Return the text form of what a caller or a file has given, on one line and not too long."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a third party's, an int of more digits than Python writes, a list that is too deep
        text = f"a {type(value).__name__}"
    return text if len(text) <= length else f"{text[: length - 3]}..."
