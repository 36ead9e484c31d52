"""Maps of the same scores by several methods, with their pictures, checks and a page."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import InputError, reason
from ..visualize import (
    Column,
    Figure,
    Panel,
    coloured,
    comparison_figure,
    curves_figure,
    in_bytes,
    own_scale,
    photograph,
)
from ..visualize import Curve as DrawnCurve
from ..visualize.html import ReportColumn, report_path, write_report
from .bootstrap import Estimate, estimate
from .checks import CHECKS, Case, Curve, Finding, checked, chosen_checks
from .faithfulness import probabilities, scores_of
from .methods import Method, captum_misses, eval_mode
from .similarity import is_zero, method_agreement
from .table import Failure, ResultTable
from .verdicts import verdict

__all__ = ["Comparison"]


class Comparison:
    """Maps of the same scores by several methods, as :func:`compare` returns them.

    Parameters
    ----------
    model, inputs, target, methods, images, labels, masks, other, seed
        As for :func:`compare`, after its checks; target and other are (N,).

    Attributes
    ----------
    attributions : dict of str to Tensor
        Maps (N, C, H, W) by label, of the methods that succeeded.
    errors : dict of str to Exception
        Errors by label, of the methods that failed.
    methods : list of Method
        All methods, in order.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        target: Tensor,
        methods: Sequence[Method],
        images: Tensor | None,
        labels: Sequence[str] | None,
        masks: Tensor | None,
        other: Tensor | None,
        seed: int,
    ) -> None:
        self.model = model
        self.inputs = inputs.detach().clone()
        self.target = target
        self.methods = list(methods)
        self.masks = None if masks is None else masks.clone().to(inputs.device)
        self.seed = seed
        self.attributions: dict[str, Tensor] = {}
        self.errors: dict[str, Exception] = {}
        self._images = images
        self._labels = labels
        self._other = other
        self._findings: dict[tuple[str, str], Finding | Exception] = {}
        self._known_probabilities: Tensor | None = None
        self._weights = _versions(model)
        for method in self.methods:
            try:
                self.attributions[method.label] = method(model, self.inputs, target)
            except Exception as error:
                self.errors[method.label] = error

    def __len__(self) -> int:
        return len(self.inputs)

    def __repr__(self) -> str:
        return f"<Comparison: {len(self)} images; {', '.join(method.label for method in self.methods)}>"

    @property
    def other(self) -> Tensor | None:
        """The other class of each image, (N,); None where the model has one class only."""
        if self._other is None and self._probabilities().shape[1] > 1:
            self._other = self._probabilities().scatter(1, self.target[:, None], -1).argmax(1)
        return self._other

    @property
    def labels(self) -> Sequence[str]:
        """The text beside each image."""
        if self._labels is None:
            own = self._probabilities().gather(1, self.target[:, None])[:, 0]
            self._labels = [f"class {int(c)}\n{float(p):.1%}" for c, p in zip(self.target, own, strict=True)]
        return self._labels

    @property
    def images(self) -> Tensor:
        """The images to show, between 0 and 1."""
        if self._images is None:
            shown = self.inputs if self.inputs.shape[1] in (1, 3) else self.inputs.mean(1, keepdim=True)
            low, high = shown.amin((1, 2, 3), keepdim=True), shown.amax((1, 2, 3), keepdim=True)
            self._images = (shown - low) / (high - low).clamp(min=torch.finfo(shown.dtype).tiny)
        return self._images

    def table(self, checks: Sequence[str] | None = None) -> ResultTable:
        """Return the results of checks: a row for each method, a column for each number, means with intervals of 95 %.

        Results are kept: a check runs once.

        Parameters
        ----------
        checks : sequence of str, optional
            Names in :data:`deconv_attr.evidence.CHECKS`; by default all, those of masks only where masks were given.

        Raises
        ------
        InputError
            A name is unknown, the check lacks masks, or the model's weights have changed since.
        """
        names = chosen_checks(checks, self.masks)
        legend = {column: what for name in names for column, what in CHECKS[name].columns.items()}
        rows = [[each.label, *(cell for name in names for cell in self._cells(each, name))] for each in self.methods]
        return ResultTable(["method", *legend], rows, legend)

    def verdict(self, checks: Sequence[str] | None = None) -> str:
        """Return a paragraph on :meth:`table`, as careful as the number of images asks."""
        return self._verdict(self.table(checks))

    def plot(self, *, shared_scale: bool = False) -> Figure:
        """Draw the maps, a row for each image, a column for each method.

        Parameters
        ----------
        shared_scale : bool
            Whether all rows of a column share a scale, so that images can be compared; by default each map has its own.
        """
        columns = [Column(m.label, self.attributions.get(m.label), m.style, self._error(m.label)) for m in self.methods]
        return comparison_figure(self.images, columns, self.labels, shared_scale)

    def plot_curves(self) -> Figure:
        """Draw the curves of parameter randomisation, deletion and insertion: means over images, with intervals."""
        return curves_figure([self._panel(name, check.axes) for name, check in CHECKS.items() if check.axes])

    def to_html(self, path: str | Path, *, checks: Sequence[str] | None = None) -> Path:
        """Write one page with the pictures, the table, the curves and the verdict, for a browser.

        Parameters
        ----------
        path : str or Path
            Ends in ``.html``.
        checks : sequence of str, optional
            As for :meth:`table`.

        Raises
        ------
        InputError
            The page cannot be written.
        """
        path = report_path(path)  # fails before the checks, which may take long
        table = self.table(checks)
        columns = []
        for method in self.methods:
            maps = self.attributions.get(method.label, ())
            scales = [own_scale(each, method.style) for each in maps]
            drawn = [coloured(each, method.style, scale) for each, scale in zip(maps, scales, strict=True)]
            notes = [f"s = {scale:.2g}" if scale else "zero everywhere" for scale in scales]
            columns.append(ReportColumn(method.label, drawn, notes, self._error(method.label)))
        names = chosen_checks(checks, self.masks)
        panels = [self._panel(name, axes) for name in names if (axes := CHECKS[name].axes)]
        name = type(next(self.model.modules())).__name__  # of a ScoredModel, the model's own
        return write_report(
            path,
            "Comparison of attribution methods",
            [("model", name), ("images", str(len(self))), ("seed", str(self.seed))],
            self._verdict(table),
            self.notes,
            table.for_page(),
            [in_bytes(photograph(image)) for image in self.images],
            self.labels,
            columns,
            [("Means over images, with intervals of 95 %", _svg(curves_figure(panels)))] if panels else [],
        )

    @property
    def notes(self) -> list[str]:
        """The methods that failed, maps that are zero, and rectifiers that Captum misses, in a sentence each."""
        failed = [f"{label} has no maps: {reason(error)}" for label, error in self.errors.items()]
        counts = {label: int(is_zero(maps).sum()) for label, maps in self.attributions.items()}
        zero = [f"{label} is zero for {count} of {len(self)} images" for label, count in counts.items() if count]
        return failed + zero + captum_misses(self.model, self.inputs, self.methods)

    def agreement(self, *, absolute: bool = False) -> ResultTable:
        """Return how well the methods agree with each other; see :func:`deconv_attr.evidence.method_agreement`."""
        return method_agreement(self.attributions, absolute=absolute, seed=self.seed)

    def _cells(self, method: Method, name: str) -> list[Estimate | Failure]:
        finding = self._finding(method, name)
        if isinstance(finding, Exception):
            return [Failure(reason(finding))] * len(CHECKS[name].columns)
        return [estimate(values, self.seed) for values in finding.values]

    def _finding(self, method: Method, name: str) -> Finding | Exception:
        if method.label in self.errors:
            return self.errors[method.label]
        key = method.label, name
        if key not in self._findings:
            self._check_weights()
            with eval_mode(self.model):
                try:
                    self._findings[key] = checked(name, CHECKS[name].run(self._case(method)), len(self))
                except Exception as error:
                    self._findings[key] = error
        return self._findings[key]

    def _panel(self, name: str, axes: tuple[str, str]) -> Panel:
        """Return the curves of a check, as means over images with intervals."""
        findings = [(method.label, self._finding(method, name)) for method in self.methods]
        curves = {label: found.curve for label, found in findings if isinstance(found, Finding) and found.curve}
        layers = [curve.steps for curve in curves.values() if isinstance(curve.steps[0], str)]
        drawn = [self._drawn(label, curve) for label, curve in curves.items()]
        return Panel(name, *axes, drawn, [str(step) for step in layers[-1]] if layers else None)

    def _drawn(self, label: str, curve: Curve) -> DrawnCurve:
        steps = [float(index) if isinstance(step, str) else step for index, step in enumerate(curve.steps)]
        means = [estimate(values, self.seed) for values in curve.values]
        low, high = [each.low for each in means], [each.high for each in means]
        return DrawnCurve(label, steps, [each.mean for each in means], low, high)

    def _case(self, method: Method) -> Case:
        maps = self.attributions[method.label]
        return Case(self.model, method, maps, self.inputs, self.target, self.other, self.masks, self.seed)

    def _check_weights(self) -> None:
        if _versions(self.model) != self._weights:
            raise InputError("expected the model as it was compared, got other weights; compare again")

    def _verdict(self, table: ResultTable) -> str:
        on_objects = None if self.masks is None else float(self.masks.double().mean())
        return verdict(table, len(self), on_objects)

    def _error(self, label: str) -> str:
        return reason(self.errors[label]) if label in self.errors else ""

    def _probabilities(self) -> Tensor:
        if self._known_probabilities is None:
            self._check_weights()
            with eval_mode(self.model):
                self._known_probabilities = probabilities(scores_of(self.model, self.inputs))
        return self._known_probabilities


def _versions(model: nn.Module) -> list[tuple[int, int]]:
    """Return the identities and versions of a model's parameters; a training step changes the versions."""
    return [(id(parameter), parameter._version) for parameter in model.parameters() if not parameter.is_inference()]


def _svg(figure: Figure) -> bytes:
    drawn = BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()
