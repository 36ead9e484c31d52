"""Maps of the same scores by several methods, with their pictures, checks and a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from torch import Tensor, nn

from ..engine.call_site import warn_caller
from ..engine.fingerprint import KnownWeights
from ..engine.reprs import html_lines, html_table, in_html, one_line
from ..engine.restore import set_eval_mode
from ..engine.undo import Undo
from ..errors import InputError, reason
from ..visualize import (
    AnyFigure,
    ColourMaps,
    Figure,
    Panel,
    check_curve_options,
    comparison_figure,
    curves_figure,
)
from ..visualize import Curve as DrawnCurve
from ..visualize.html import report_path, write_report
from ..visualize.html.rendering import data_uri
from .bootstrap import Estimate, estimate
from .checks import CHECKS, Case, Finding, chosen_checks
from .dead_signals import MethodResult, dead_signals, explained
from .drawing import Drawing
from .findings import Findings
from .methods import Method, captum_misses
from .outputs import Outputs, kind_of_outputs, labels_of, scores_of
from .page import answers_table, checks_table, page_columns, page_figures, page_images
from .progress import progress_bar
from .provenance import call_of, name_of, run_facts
from .similarity import method_agreement
from .table import Failure, ResultTable
from .verdicts import Verdict, verdict

__all__ = ["Comparison"]

SHOWN = 4  # images in a notebook
HOLLOW = " (hollow dots: most maps are zero)"


class Comparison:
    """Maps of the same scores by several methods, as :func:`compare` returns them.

    Parameters
    ----------
    model, inputs, target, methods, images, labels, masks, other, seed, additional_forward_args, outputs, show_progress
        As for :func:`compare`, after its checks; target and other are (N,).

    Attributes
    ----------
    attributions : dict of str to Tensor
        Maps (N, C, ...) by label, of the methods that succeeded.
    units : dict of str to tuple
        Layer, and positions (N, axes) of its units, by label, of the methods that explain single units.
    errors : dict of str to Exception
        Errors by label, of the methods that failed.
    zero_reasons : dict of str to dict of int to str
        Why maps are zero, by label and by the number of the image: of a signal that died, in at most 60 characters
        where it did, else "zero everywhere".
    methods : list of Method
        All methods, in order.

    Warns
    -----
    DeadSignalWarning
        Signals of a method died; once for each method.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        target: Tensor | None,
        methods: Sequence[Method],
        images: Tensor | None,
        labels: Sequence[str] | None,
        masks: Tensor | None,
        other: Tensor | None,
        seed: int,
        additional_forward_args: tuple[Any, ...] = (),
        outputs: Outputs | None = None,
        show_progress: bool = True,
    ) -> None:
        self.model = model
        self.inputs = inputs.detach().clone()
        self.target = target
        self.methods = list(methods)
        self.masks = None if masks is None else masks.clone().to(inputs.device)
        self.seed = seed
        self.additional_forward_args = additional_forward_args
        self.attributions: dict[str, Tensor] = {}
        self.units: dict[str, tuple[str, Tensor]] = {}
        self.errors: dict[str, Exception] = {}
        self.zero_reasons: dict[str, dict[int, str]] = {}
        self._images = images
        self._labels = labels
        self._other = other
        self._outputs = outputs
        self._show_progress = show_progress
        self._shared: dict[str, Any] = {}
        self._known_scores: Tensor | None = None
        self._seconds_of_a_run = 0.0
        self._weights = KnownWeights(model)
        self._call = self._called()
        self._findings = Findings(self._explained(), self._case, self._model_seconds)

    def _called(self) -> str:
        """Return the call of :func:`compare` in one line, with the arguments that maps and numbers depend on."""
        return call_of(
            "compare",
            self.model,
            {
                "inputs": self.inputs,
                "target": self.target,
                "methods": [method.label for method in self.methods],
                "additional_forward_args": self.additional_forward_args or None,
                "outputs": self._outputs,
                "masks": self.masks,
                "other": self._other,
                "seed": self.seed,
            },
        )

    def _explained(self) -> dict[str, float]:
        """Explain the scores by all methods, and return how long each took that has maps, in seconds."""
        seconds = {}
        found: dict[str, MethodResult] = {}
        with progress_bar(len(self.methods), "methods", self._show_progress) as bar:
            for method in self.methods:
                bar.set_description(method.label)
                start = perf_counter()
                try:
                    each = explained(method, self.model, self.inputs, self.target, self.additional_forward_args)
                    seconds[method.label] = perf_counter() - start
                    found[method.label] = each
                    self.attributions[method.label] = each.maps
                    self.zero_reasons[method.label] = each.zero_reasons
                    if each.units is not None:
                        self.units[method.label] = each.units
                except Exception as error:
                    self.errors[method.label] = error
                bar.update()
                if not self._weights.unchanged():
                    raise InputError(f"expected {method.label} to leave the model's weights, got others after it")
        for warning in dead_signals(self.methods, found):
            warn_caller(warning)
        return seconds

    def __len__(self) -> int:
        return len(self.inputs)

    def __repr__(self) -> str:
        methods = [
            f"{method.label} (failed)" if method.label in self.errors else method.label for method in self.methods
        ]
        return one_line(self, f"{len(self)} images; {', '.join(methods)}")

    def _repr_html_(self) -> str:
        """Return methods, errors and maps that are zero for a notebook, and the picture; no check is run."""
        rows = []
        for method in self.methods:
            zero = self.zero_reasons.get(method.label, {})
            why = "; ".join(dict.fromkeys(zero.values()))
            count = f"{len(zero)} of {len(self)}: {why}" if zero else f"0 of {len(self)}"
            failed = method.label in self.errors
            rows.append([method.label, "" if failed else count, self._error(method.label)])
        caption = f"Comparison: {len(self)} images, {len(self.methods)} methods, {name_of(self.model)}"
        return html_table(caption, ["method", "maps that are zero", "error"], rows) + self._picture_in_html()

    def _picture_in_html(self) -> str:
        """Return the picture of the first images; one that cannot be drawn is no reason to show nothing."""
        shown = range(min(SHOWN, len(self)))
        try:
            figure = self.plot(rows=shown)
            assert isinstance(figure, Figure)  # as no axes are given
            picture, size = figure._repr_png_()
        except Exception as error:
            return html_lines([f"There is no picture: {reason(error)}"])
        more = html_lines([f"The first {len(shown)} of {len(self)} images."] if len(shown) < len(self) else [])
        what = f"Maps of {len(shown)} images, a row for each, by {', '.join(self.attributions)}"
        source, width = data_uri("image/png", picture), size["width"]
        return f'<img src="{source}" width="{width}" style="max-width: 100%" alt="{in_html(what)}">{more}'

    @property
    def outputs(self) -> Outputs:
        """What the model returns, one of :data:`OUTPUTS`."""
        if self._outputs is None:
            scores = self._scores()
            self._outputs = kind_of_outputs(self.model, self.inputs, self.additional_forward_args, scores)
        return self._outputs

    @property
    def other(self) -> Tensor | None:
        """The other class of each image, (N,); None where the model has one class only."""
        if self._other is None and self.target is not None and self._scores().shape[1] > 1:
            self._other = self._scores().scatter(1, self.target[:, None], -float("inf")).argmax(1)
        return self._other

    @property
    def labels(self) -> Sequence[str]:
        """The text beside each image: by default its class and the probability of that, or the value of an output."""
        if self._labels is None:
            self._labels = labels_of(self._scores(), self.target, self.outputs)
        return self._labels

    @property
    def images(self) -> Tensor | None:
        """The images to show, between 0 and 1; None: the inputs, each from its minimum to its maximum."""
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
        self._findings.run(names, self._show_progress)
        basis = {name: self._findings.basis(name) for name in names}
        legend = {column: what for name in names for column, what in CHECKS[name].columns.items()}
        legend = {column: what + basis.get(column, "") for column, what in legend.items()}
        labels = [method.label for method in self.methods]
        rows = [[label, *(cell for name in names for cell in self._cells(label, name))] for label in labels]
        return ResultTable(["method", *legend], rows, legend, self._findings.notes(names))

    def estimated_seconds(self, checks: Sequence[str] | None = None) -> float:
        """Return about how long checks that have not run will take, by the times of the methods and of the model."""
        return self._findings.estimated_seconds(chosen_checks(checks, self.masks))

    def verdict(self, checks: Sequence[str] | None = None) -> Verdict:
        """Return what :meth:`table` says, a line for each question, as careful as the number of images asks.

        Parameters
        ----------
        checks : sequence of str, optional
            As for :meth:`table`, which also tells the errors.
        """
        return verdict(self.table(checks), len(self))

    def plot(
        self,
        *,
        rows: Sequence[int] | None = None,
        columns: Sequence[str] | None = None,
        channels: Sequence[int] | None = None,
        slices: Sequence[int] | None = None,
        frames: Sequence[int] | None = None,
        luminance: bool = False,
        shared_scale: bool = False,
        width: float | None = None,
        tile: float | None = None,
        font_size: float | None = None,
        cmap: ColourMaps = None,
        axes: Any = None,
    ) -> AnyFigure:
        """Draw the maps, a row for each image, a column for each method.

        Methods whose maps are zero for most images come last. A box in an image is the receptive field of the unit that
        a method starts from. Signals are drawn as curves above their maps, a stripe for each channel; videos as strips
        of frames; of a volume the slice with the strongest maps, and the values of the largest magnitude along its
        first axis.

        Parameters
        ----------
        rows : sequence of int, optional
            The numbers of the images to show; by default all.
        columns : sequence of str, optional
            The labels of the methods to show, in this order.
        channels : sequence of int, optional
            The channels to show, of images, volumes and their maps one, in grey, or three, as red, green and blue; of
            signals any number. By default, of images of neither one channel nor three, the mean.
        slices : sequence of int, optional
            The slices of volumes to show, along the first axis.
        frames : sequence of int, optional
            The frames to show of videos (N, C, T, H, W); by default 8 frames, of inputs of three channels.
        luminance : bool
            Whether maps that are drawn in colours stand beside their luminance, in greys.
        shared_scale : bool
            Whether all rows of a column share a scale, so that images can be compared; by default each map has its own.
        width, tile : float, optional
            Width of the figure, or the longer side of a tile, in inches; by default the width of a paper's text, 7
            inches, or more where tiles would be too small.
        font_size : float, optional
            Points of all texts.
        cmap : str or mapping of str to str, optional
            A colour map of matplotlib for maps of one channel, or one for each style, such as ``{"heat": "magma"}``.
        axes : array of Axes, optional
            The caller's own to draw on, (rows, 1 + columns); nothing else on their figure is touched.

        Returns
        -------
        Figure
            The figure of the axes, or a new one.

        Raises
        ------
        InputError
            There are no such images, methods, channels, slices or frames, or the figure cannot be drawn so.
        """
        drawing = Drawing(self, rows, columns, channels, slices, frames, luminance)
        return comparison_figure(
            drawing.images,
            drawing.columns,
            drawing.labels,
            shared_scale,
            head=drawing.view.words,
            boxes=drawing.boxes,
            boxed=drawing.boxed,
            stacked=drawing.view.stacked,
            axis=drawing.view.axis,
            width=width,
            tile=tile,
            font_size=font_size,
            cmap=cmap,
            axes=axes,
        )

    def plot_curves(
        self,
        *,
        width: float | None = None,
        columns: int | None = None,
        font_size: float = 8.0,
        colours: Sequence[Any] | None = None,
        axes: Any = None,
    ) -> AnyFigure:
        """Draw the curves of parameter randomisation, deletion and insertion: means over images, with intervals.

        Parameters
        ----------
        width : float, optional
            Of the figure, in inches; by default at most 7, the text of a printed page.
        columns : int, optional
            How many panels stand beside each other; by default as many as are readable.
        font_size : float
            Of axes and legend, in points; titles are an eighth larger, numbers an eighth smaller.
        colours : sequence of colours, optional
            Matplotlib's colours for the methods, in order.
        axes : Axes or sequence of Axes, optional
            The caller's own, one for each panel, on one figure, which is returned; one more holds the legend alone.

        Returns
        -------
        Figure
            The figure of the axes, or a new one.

        Raises
        ------
        InputError
            An option has a wrong value; the model's weights have changed since.
        """
        names = [name for name in chosen_checks(None, self.masks) if CHECKS[name].axes]
        check_curve_options(len(names), width, columns, font_size, colours, axes)  # before checks that may take long
        self._findings.run(names, self._show_progress)
        panels = [self._panel(name) for name in names]
        return curves_figure(panels, width=width, columns=columns, font_size=font_size, colours=colours, axes=axes)

    def to_html(
        self,
        path: str | Path,
        *,
        checks: Sequence[str] | None = None,
        channels: Sequence[int] | None = None,
        slices: Sequence[int] | None = None,
        frames: Sequence[int] | None = None,
        luminance: bool = False,
        cmap: ColourMaps = None,
    ) -> Path:
        """Write one page with the pictures, the verdict, the table and the curves, for a browser.

        Parameters
        ----------
        path : str or Path
            Ends in ``.html``.
        checks : sequence of str, optional
            As for :meth:`table`.
        channels, slices, frames, luminance, cmap
            As for :meth:`plot`.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        InputError
            The page cannot be written, or what :meth:`plot` refuses.
        """
        path = report_path(path)  # fails before the checks, which may take long
        drawing = Drawing(self, None, None, channels, slices, frames, luminance)
        columns = page_columns(drawing, cmap)
        table = self.table(checks)
        said = verdict(table, len(self))
        panels = [self._panel(name) for name in chosen_checks(checks, self.masks) if CHECKS[name].axes]
        return write_report(
            path,
            "Comparison of attribution methods",
            run_facts(self.model, self._call, len(self)),
            said.opening,
            self.notes,
            checks_table(table),
            page_images(drawing),
            drawing.labels,
            columns,
            page_figures(panels),
            None if said.answers is None else answers_table(said.answers),
            head=drawing.view.words,
            boxed=drawing.boxed,
            stacked=drawing.view.stacked,
        )

    @property
    def notes(self) -> list[str]:
        """What is to be known of single methods: errors, zero maps, rectifiers that Captum misses, a sentence each."""
        failed = [f"{label} has no maps: {reason(error)}" for label, error in self.errors.items()]
        counts = {label: len(images) for label, images in self.zero_reasons.items()}
        zero = [f"{label} is zero for {count} of {len(self)} images" for label, count in counts.items() if count]
        missed = captum_misses(self.model, self.inputs, self.methods, self.additional_forward_args)
        return [*failed, *zero, *missed, *self._findings.notes(CHECKS)]

    def agreement(self, *, absolute: bool = False) -> ResultTable:
        """Return how well the methods agree with each other.

        Parameters
        ----------
        absolute : bool
            As for :func:`method_agreement`.
        """
        return method_agreement(self.attributions, absolute=absolute, seed=self.seed)

    def _cells(self, label: str, name: str) -> list[Estimate | Failure]:
        found = self.errors[label] if label in self.errors else self._findings.of(label, name)
        if isinstance(found, Exception):
            return [Failure(reason(found))] * len(CHECKS[name].columns)
        return [estimate(values, self.seed, found.draw) for values in found.values]

    def _panel(self, name: str) -> Panel:
        """Return the curves of a check, as means over images with intervals."""
        across, up = CHECKS[name].axes or ("", "")
        found = {label: finding for label, finding in self._findings.all_of(name).items() if finding.curve}
        curves = [finding.curve for finding in found.values() if finding.curve]
        layers = [curve.steps for curve in curves if isinstance(curve.steps[0], str)]
        drawn = [self._drawn(label, finding) for label, finding in found.items()]
        up = next((curve.up for curve in curves if curve.up), up)
        across += HOLLOW if any(any(curve.hollow) for curve in drawn) else ""
        return Panel(name, across, up, drawn, [str(step) for step in layers[-1]] if layers else None)

    def _drawn(self, label: str, finding: Finding) -> DrawnCurve:
        curve = finding.curve
        assert curve is not None
        steps = [float(index) if isinstance(step, str) else step for index, step in enumerate(curve.steps)]
        means = [estimate(values, self.seed, finding.draw) for values in curve.values]
        low, high = [each.low for each in means], [each.high for each in means]
        return DrawnCurve(label, steps, [each.mean for each in means], low, high, curve.mostly_zero)

    def _case(self, label: str, tick: Callable[[float], object]) -> Case:
        self._check_weights()
        return Case(
            self.model,
            next(method for method in self.methods if method.label == label),
            self.attributions[label],
            self.inputs,
            self.target,
            self.other,
            self.masks,
            self.seed,
            self.additional_forward_args,
            self.outputs,
            self._shared,
            tick,
        )

    def _check_weights(self) -> None:
        if not self._weights.unchanged():
            raise InputError("expected the model as it was compared, got other weights; compare again")

    def _error(self, label: str) -> str:
        return reason(self.errors[label]) if label in self.errors else ""

    def _scores(self) -> Tensor:
        """Return the model's scores (N, classes)."""
        if self._known_scores is None:
            self._check_weights()
            start = perf_counter()
            undo = Undo()
            with undo, undo:
                set_eval_mode(self.model, undo)
                self._known_scores = scores_of(self.model, self.inputs, self.additional_forward_args)
            self._seconds_of_a_run = perf_counter() - start
        return self._known_scores

    def _model_seconds(self) -> float:
        """Return how long the model takes for all images."""
        self._scores()
        return self._seconds_of_a_run
