"""What stands on a figure: pictures and texts, read off the figure itself.

A comparison is drawn on one pair of axes that fill its figure, the canvas; other figures have axes for each picture.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg


@dataclass(frozen=True, eq=False)
class Tile:
    """A picture on a figure; its rectangle in pixels, from the lower left corner."""

    pixels: np.ndarray
    rectangle: tuple[float, float, float, float]  # left, bottom, right, top

    @property
    def size(self):
        left, bottom, right, top = self.rectangle
        return right - left, top - bottom


def pictures(figure):
    """All pictures on the figure's canvas, in the order in which they were drawn."""
    canvas = figure.axes[0]
    found = []
    for image in canvas.images:
        left, right, bottom, top = image.get_extent()
        corners = canvas.transData.transform([(left, bottom), (right, top)])
        found.append(Tile(np.asarray(image.get_array()), tuple(corners.ravel())))
    return found


def is_bar(picture):
    return picture.pixels.shape == (1, 256, 3)


def tiles(figure):
    """The pictures that are no colour bars, by (row, column) of the places that any of them has."""
    found = [each for each in pictures(figure) if not is_bar(each)]
    tops = sorted({round(each.rectangle[3], 3) for each in found}, reverse=True)
    lefts = sorted({round(each.rectangle[0], 3) for each in found})
    return {(tops.index(round(t.rectangle[3], 3)), lefts.index(round(t.rectangle[0], 3))): t for t in found}


def bars(figure):
    """The colour bars, from left to right, and from top to bottom."""
    return sorted(filter(is_bar, pictures(figure)), key=lambda bar: (-bar.rectangle[1], bar.rectangle[0]))


def texts(figure):
    """Every text that is drawn, with its rectangle in pixels."""
    figure.draw_without_rendering()
    found = [*figure.texts, *(text for axes in figure.axes for text in [*axes.texts, axes.title])]
    for axes in figure.axes:
        if axes.axison:
            found += [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label]
    return {text: text.get_window_extent().extents for text in found if text.get_text()}


def words(figure):
    return [" ".join(text.get_text().split()) for text in texts(figure)]


def within(figure, rectangle):
    """The texts that lie wholly in a rectangle."""
    left, bottom, right, top = rectangle
    return [
        text.get_text()
        for text, (x0, y0, x1, y1) in texts(figure).items()
        if left <= x0 and x1 <= right and bottom <= y0 and y1 <= top
    ]


def legend(figure, bar):
    """The words at the ends of a colour bar, and those below them."""
    left, bottom, right, _ = bar.rectangle
    below = [
        (text, box)
        for text, box in texts(figure).items()
        if box[3] <= bottom + 1 and left - 5 < box[2] and box[0] < right + 5
    ]
    below.sort(key=lambda found: -found[1][3])
    highest = below[0][1][3]
    ends = sorted((box[0], text.get_text()) for text, box in below if box[3] > highest - 3)
    caption = next((text.get_text() for text, box in below if box[3] <= highest - 3), "")
    return [end for _, end in ends], " ".join(caption.split())


def areas(figure):
    """The rectangles of all pictures, and of axes that are none."""
    found = []
    for axes in figure.axes:
        extent = axes.get_window_extent()
        is_canvas = np.allclose(extent.extents, figure.bbox.extents)
        found += [each.rectangle for each in pictures(figure)] if is_canvas else [extent.extents]
    return np.array(found).reshape(-1, 4)


def points(figure, width=7.0):
    """The size of the smallest text where the figure is printed at a width in inches, at most its own."""
    return min(text.get_fontsize() for text in texts(figure)) * min(1.0, width / figure.get_size_inches()[0])


def assert_apart(figure):
    """Nothing is cut, and nothing lies on anything else, but for what is written into a picture, wholly."""
    written = np.array(list(texts(figure).values()))
    shown = areas(figure)
    for places in (written, shown):
        assert (places[:, :2] >= -0.5).all()
        assert (places[:, 2:] <= figure.bbox.max + 0.5).all()
        np.testing.assert_array_equal(overlaps(places, places), np.eye(len(places), dtype=bool))
    into = overlaps(written, shown)
    inside = (shown[None, :, :2] <= written[:, None, :2] + 0.5).all(-1) & (
        written[:, None, 2:] <= shown[None, :, 2:] + 0.5
    ).all(-1)
    assert not (into & ~inside).any()


def overlaps(places, others):
    """Which places lie on which others, (n, m), by more than a line: left, bottom, right, top, (n, 4) and (m, 4)."""
    first, second = places[:, None], others[None]
    return ((first[..., :2] + 0.5 < second[..., 2:]) & (second[..., :2] + 0.5 < first[..., 2:])).all(-1)


def canvas(figure):
    """The colours of the rendered figure, and a function from an axes' data coordinates to (row, column) in them."""
    agg = FigureCanvasAgg(figure)
    agg.draw()
    pixels = np.asarray(agg.buffer_rgba())[..., :3] / 255

    def place(axes, x, y):
        across, up = axes.transData.transform((x, y))
        return len(pixels) - 1 - int(up), int(across)

    return pixels, place
