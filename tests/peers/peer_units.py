"""Rows about single units and data sets: what a tool can do, shown by doing it."""

import tempfile
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from importlib import import_module as load
from io import StringIO

import numpy as np
import torch
from captum.attr import NeuronDeconvolution
from peer_chain import LAYER, SHAPE, UNIT, chain, gradient_at_the_layer, image, lower_part, one_hot, projection, same
from peer_tools import CAPTUMS, CRP, DECONV_ATTR, TORCHRAYS, ZENNITS, ability, deconvnet
from reading import bytes_of
from searching import brute_force
from torch import Tensor, nn
from torch.utils.data import Dataset

from deconv_attr import Gallery, NeuronZFDeconv, evolution, receptive_field, strongest
from deconv_attr.visualize import signed_rgb

MAP, ROW, COLUMN = UNIT
CUT = "if the model is cut there"


def unit_by_ours() -> bool:
    return same(NeuronZFDeconv(chain(), LAYER).attribute(image(), neuron_selector=UNIT), projection(image(), UNIT))


def unit_by_captum() -> bool:
    model = chain()
    return same(NeuronDeconvolution(model, model[int(LAYER)]).attribute(image(), UNIT), projection(image(), UNIT))


def unit_by_zennit() -> bool | str:
    explain = load("zennit.attribution").Gradient(lower_part(), deconvnet())
    return same(explain(image(), partial(one_hot, place=UNIT))[1], projection(image(), UNIT)) and CUT


def unit_by_torchray() -> bool | str:
    start = one_hot(lower_part()(image()), UNIT)
    found = load("torchray.attribution.deconvnet").deconvnet(
        lower_part(), image(), start, gradient_to_saliency=lambda pixels: pixels.grad
    )
    return same(found, projection(image(), UNIT)) and CUT


def crps_map_of_the_unit() -> Tensor:
    """Return the map (H, W) as zennit-crp does."""
    width = lower_part()(image()).shape[3]
    (heat,) = (
        load("crp.attribution")
        .CondAttribution(chain())(
            image().requires_grad_(),
            [{LAYER: {MAP: ROW * width + COLUMN}}],
            deconvnet(),
            mask_map=load("crp.concepts").ChannelConcept.mask_rf,
            start_layer=LAYER,
            init_rel=torch.ones_like,
            exclude_parallel=False,
        )
        .heatmap
    )
    return heat


def unit_by_crp() -> bool | str:
    return same(crps_map_of_the_unit(), projection(image(), UNIT)[0].sum(0)) and "yes, channels summed"


ONE_UNIT = ability(
    "unit|neuron",
    {
        DECONV_ATTR: unit_by_ours,
        CAPTUMS: unit_by_captum,
        ZENNITS: unit_by_zennit,
        CRP: unit_by_crp,
        TORCHRAYS: unit_by_torchray,
    },
)


def box_by_ours() -> bool:
    """Compare with the pixels that the unit reads, where weights are positive and pools let everything pass."""
    part, leaf = lower_part().double(), image().double().requires_grad_()
    part[2] = nn.AvgPool2d(2)
    for parameter in part.parameters():
        parameter.data.abs_()
    part(leaf)[0][UNIT].backward()
    rows, columns = leaf.grad[0].sum(0).nonzero().unbind(1)
    read = tuple(int(edge) for edge in (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1))
    return receptive_field(chain(), LAYER, SHAPE).box(ROW, COLUMN) == read


def box_by_crp() -> bool | str:
    """Cut where the map is at most a tenth of its maximum: within the receptive field."""
    heat = crps_map_of_the_unit()
    top, bottom, left, right = map(int, load("crp.image").get_crop_range(heat / heat.max(), 0.1))
    field = receptive_field(chain(), LAYER, SHAPE).box(ROW, COLUMN)
    inside = field[0] <= top and field[1] <= left and bottom <= field[2] and right <= field[3]
    return inside and (top, left, bottom, right) != field and "a crop of its map"


BOX = ability("recep", {DECONV_ATTR: box_by_ours, CRP: box_by_crp})


# ---------------------------------------------------------------------------------------- data sets

K = 4


class Labelled(Dataset):
    """Random images between 0 and 1, each with a class."""

    def __init__(self) -> None:
        self.images = torch.rand(12, *SHAPE[1:], generator=torch.Generator().manual_seed(1))
        self.labels = [number % 3 for number in range(12)]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return self.images[number], self.labels[number]


def most_active() -> list[tuple[int, tuple[int, int], Tensor]]:
    """Return for the units that activate the map most: image, place, projection (C, H, W)."""
    images = Labelled().images
    found = brute_force(chain(), images, [LAYER], K)[LAYER][MAP]
    return [(n, place, value * projection(images[n][None], (MAP, *place))[0]) for value, n, place in found]


def most_relevant() -> list[int]:
    """Sort images by the map's greatest relevance for the image's class: its score times its gradient."""
    data = Labelled()
    scores, _, gradient = gradient_at_the_layer(data.images, data.labels)
    relevance = scores[:, None] * gradient[:, MAP].flatten(1)
    return relevance.amax(1).argsort(descending=True)[:K].tolist()


def tile(pixels: Tensor, place: tuple[int, int]) -> np.ndarray:
    """Cut the receptive field from a projection, 13x13 at stride 4 and offset -5, with zeros beyond its borders."""
    top, left = (4 * index - 5 + 10 for index in place)
    return bytes_of(signed_rgb(nn.functional.pad(pixels, [10] * 4)[:, top : top + 13, left : left + 13]))


def figure_2_by_ours() -> bool:
    model, data = chain(), Labelled()
    (tiles,) = Gallery(model, data, strongest(model, data, LAYER, K), maps=[MAP], share=1).tiles(LAYER)
    return all(
        (tiles.images[rank], tiles.positions[rank]) == (number, place)
        and abs(tiles.projections[rank].astype(int) - tile(pixels, place)).max() <= 1
        for rank, (number, place, pixels) in enumerate(most_active())
    )


def figure_2_by_crp() -> bool | str:
    model, data = chain(), Labelled()
    visualization, layers = load("crp.visualization"), {LAYER: load("crp.concepts").ChannelConcept()}
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(StringIO()), redirect_stdout(StringIO()):
        search = visualization.FeatureVisualization(
            load("crp.attribution").CondAttribution(model), data, layers, max_target="max", abs_norm=False, path=folder
        )
        search.run(None, 0, len(data), batch_size=5)
        active, relevant = (
            search.get_max_reference([MAP], LAYER, mode, (0, K), deconvnet(), rf=True, plot_fn=None)[MAP]
            for mode in ("activation", "relevance")
        )
    by_activation = all(
        torch.equal(shown, data.images[number]) and same(heat, pixels.sum(0))
        for shown, heat, (number, _, pixels) in zip(*active, most_active(), strict=True)
    )
    by_relevance = torch.equal(relevant[0], data.images[most_relevant()])
    return by_activation and by_relevance and "yes, and by relevance"


FIGURE_2 = ability("strongest|maximi[sz]|top_?k", {DECONV_ATTR: figure_2_by_ours, CRP: figure_2_by_crp})


def figure_4_by_ours() -> bool:
    data, early, late = Labelled(), chain(), chain()
    early[0].weight.data.mul_(-1)
    columns = evolution(late, {"early": early, "late": late}, data, LAYER, [MAP]).tiles
    return all(
        np.array_equal(column[0].projections, tiles.projections)
        for column, model in zip(columns, (early, late), strict=True)
        for tiles in Gallery(model, data, strongest(model, data, LAYER, 1), maps=[MAP]).tiles(LAYER)
    )


FIGURE_4 = ability("evolution", {DECONV_ATTR: figure_4_by_ours})
