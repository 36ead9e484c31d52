"""The gallery: tiles against projections and crops made by hand; which maps; what it refuses; evolution."""

import warnings

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from oracle import project as oracle
from reading import bytes_of
from state import snapshot
from torch import nn
from torch.utils.data import Dataset
from torchvision import transforms

from deconv_attr import Gallery, evolution, strongest
from deconv_attr.errors import InputError, ModelError, RuleError
from deconv_attr.gallery.windows import essential, squared
from deconv_attr.visualize import robust_scale, signed_rgb

MEAN, STD = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)


class Pictures(Dataset):
    """Random images between 0 and 1, normalised as a transform says."""

    transform = transforms.Compose([transforms.Normalize(MEAN.flatten(), STD.flatten())])

    def __init__(self, count=24, size=(26, 22), seed=1):
        self.images = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, number):
        return (self.images[number] - MEAN) / STD, 0


def make_net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(),
    ).eval()


@pytest.fixture
def net():
    return make_net()


def by_hand(net, data, layer, top, feature_map):
    """Return for each unit its signal and patch in its receptive field, the box in the image, the field's corner."""
    size, stride, offset = {"1": (3, 2, -1), "4": (13, 4, -5)}[layer]
    for value, image, (row, column) in zip(
        top.values[feature_map].tolist(),
        top.images[feature_map].tolist(),
        top.positions[feature_map].tolist(),
        strict=True,
    ):
        pixels = data[image][0][None].double()
        part = net[: int(layer) + 1].double()
        start = torch.zeros_like(part(pixels))
        start[0, feature_map, row, column] = value
        (full,) = oracle(part, (pixels,), start)
        picture = data.images[image]
        projection, patch = torch.zeros(3, size, size).double(), torch.full((3, size, size), 0.5)
        for y in range(size):
            for x in range(size):
                r, c = offset + stride * row + y, offset + stride * column + x
                if 0 <= r < picture.shape[1] and 0 <= c < picture.shape[2]:
                    projection[:, y, x], patch[:, y, x] = full[0, :, r, c], picture[:, r, c]
        top_left = offset + stride * row, offset + stride * column
        box = (
            *(max(edge, 0) for edge in top_left),
            *(min(edge + size, n) for edge, n in zip(top_left, picture.shape[1:], strict=True)),
        )
        yield projection, bytes_of(patch.permute(1, 2, 0)), box, top_left
    net.float()


@pytest.mark.parametrize("layer", ["1", "4"])
def test_tiles_are_projections_and_patches_in_the_receptive_field(net, layer):
    data = Pictures()
    found = strongest(net, data)
    tiles = list(Gallery(net, data, found, share=1).tiles(layer))
    top = found[layer]
    assert [of_map.number for of_map in tiles] == list(range(len(top.values)))
    borders = 0
    for of_map in tiles:
        number = of_map.number
        if not of_map.values:  # never active
            assert not top.values[number].any()
            continue
        assert of_map.values == pytest.approx(top.values[number].tolist(), rel=1e-6)
        assert of_map.images == top.images[number].tolist()
        assert of_map.positions == [tuple(place) for place in top.positions[number].tolist()]
        expected = list(by_hand(net, data, layer, top, number))
        for place, (projection, patch, box, corner) in enumerate(expected):
            assert abs(of_map.projections[place].astype(int) - bytes_of(signed_rgb(projection))).max() <= 1
            assert abs(of_map.patches[place].astype(int) - patch).max() <= 1
            assert of_map.scales[place] == pytest.approx(robust_scale(projection), rel=1e-5)
            assert of_map.boxes[place] == box
            assert of_map.insides[place] == tuple(np.subtract(box, 2 * corner))
            borders += (box[2] - box[0], box[3] - box[1]) != patch.shape[:2]
    assert borders  # some windows leave their image


@pytest.mark.parametrize("share", [0.5, 0.8, None], ids=["half", "most", "default"])
def test_a_share_cuts_the_tiles_of_a_map_to_one_square(net, share):
    with torch.no_grad():
        net[3].weight[:, :, :2] *= 0.01  # only the lower part of the receptive field matters
    data = Pictures()
    found = strongest(net, data, "4")
    (cut,) = Gallery(net, data, found, **({} if share is None else {"share": share})).tiles("4", [2])
    signals, patches, boxes, corners = zip(*by_hand(net, data, "4", found["4"], 2), strict=True)
    rows, columns = squared(essential(signals, share or 0.95), (13, 13))
    height, width = cut.patches.shape[1:3]
    assert (rows.stop - rows.start, columns.stop - columns.start) == (height, width)
    assert height == width < 13
    for place, (signal, patch) in enumerate(zip(signals, patches, strict=True)):
        part = signal[:, rows, columns]
        assert part.abs().sum() >= (share or 0.95) * signal.abs().sum() * (1 - 1e-9)
        assert abs(cut.projections[place].astype(int) - bytes_of(signed_rgb(part))).max() <= 1
        assert cut.scales[place] == pytest.approx(robust_scale(part), rel=1e-5)
        assert abs(cut.patches[place].astype(int) - patch[rows, columns]).max() <= 1
        corner = np.add(corners[place], (rows.start, columns.start))
        (top, left), (bottom, right) = corner, corner + height
        whole = boxes[place]
        assert cut.boxes[place] == (
            max(top, whole[0]),
            max(left, whole[1]),
            min(bottom, whole[2]),
            min(right, whole[3]),
        )
        assert cut.insides[place] == tuple(np.subtract(cut.boxes[place], (top, left, top, left)))


@pytest.mark.parametrize(
    ("lines", "shape", "expected"),
    [
        (((2, 5), (1, 3)), (9, 9), ((2, 5), (0, 3))),
        (((0, 8), (3, 4)), (9, 9), ((0, 8), (0, 8))),
        (((4, 9), (8, 9)), (9, 9), ((4, 9), (4, 9))),
        (((0, 9), (2, 4)), (9, 6), ((0, 9), (0, 6))),
        (((3, 4), (2, 5)), (4, 9), ((1, 4), (2, 5))),
        (((0, 9), (0, 6)), (9, 6), ((0, 9), (0, 6))),
    ],
    ids=["centred", "at the upper edge", "at the corner", "narrow window", "at the lower edge", "the window"],
)
def test_a_box_becomes_square_about_its_centre_within_the_window(lines, shape, expected):
    assert squared(tuple(slice(*line) for line in lines), shape) == tuple(slice(*line) for line in expected)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 1.0])
def test_essential_lines_hold_their_share_of_every_signal(share):
    generator = torch.Generator().manual_seed(0)
    distance = torch.linspace(-2, 2, 31)
    bump = torch.exp(-2 * (distance[:, None] ** 2 + distance**2))
    signals = [torch.randn(3, 31, 31, generator=generator) * bump.roll((shift, -shift), (0, 1)) for shift in (-2, 0, 3)]
    signals.append(torch.zeros(3, 31, 31))
    rows, columns = essential(signals, share)
    for signal in signals[:3]:
        assert signal[:, rows, columns].abs().sum() >= share * signal.abs().sum() * (1 - 1e-12)
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    assert area == 31 * 31 if share == 1 else area < 31 * 31 * (0.35 if share == 0.5 else 1)
    assert essential([torch.zeros(1, 4, 5)], share) == (slice(0, 4), slice(0, 5))


def test_a_single_pixel_is_found():
    signal = torch.zeros(3, 9, 7)
    signal[1, 4, 6] = -2.0
    assert essential([signal], 0.9) == (slice(4, 5), slice(6, 7))


def test_maps_that_were_never_active_have_no_tiles(net):
    with torch.no_grad():
        net[3].weight[2], net[3].bias[2] = 0.0, -1.0
    data = Pictures()
    gallery = Gallery(net, data, strongest(net, data))
    assert (next(gallery.tiles("4", [2])).scales, next(gallery.tiles("4", [2])).insides) == ([], [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiles = list(gallery.tiles("4", [1, 2, 3]))
    assert [len(of_map) for of_map in tiles] == [9, 0, 9]
    gallery.plot("4", [2])


def test_fewer_images_than_k(net, tmp_path):
    data = Pictures(4)
    gallery = Gallery(net, data, strongest(net, data))
    tiles = next(gallery.tiles("1", [0]))
    assert len(tiles) <= 4
    assert tiles.patches.shape[0] == len(tiles)
    gallery.to_html(tmp_path / "page")
    assert '"columns":3' in (tmp_path / "page" / "files" / "layer-1.js").read_text()  # room for nine


def test_images_of_several_sizes_and_a_tensor_without_a_transform(net):
    generator = torch.Generator().manual_seed(1)
    data = [torch.rand(3, 20 + n % 3, 30, generator=generator) for n in range(12)]
    found = strongest(net, data)
    for of_map in Gallery(net, data, found, share=1).tiles("4"):
        for place, (top, left, bottom, right) in enumerate(of_map.boxes):
            first, begin, last, end = of_map.insides[place]
            assert (last - first, end - begin) == (bottom - top, right - left)
            image = bytes_of(data[of_map.images[place]].permute(1, 2, 0))
            assert (of_map.patches[place][first:last, begin:end] == image[top:bottom, left:right]).all()


@pytest.mark.filterwarnings("ignore::deconv_attr.DeadSignalWarning")
def test_units_that_read_padding_only_have_nothing_inside():
    torch.manual_seed(0)
    model = nn.Sequential(nn.ZeroPad2d(12), nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Conv2d(2, 3, 3), nn.ReLU()).eval()
    with torch.no_grad():
        model[1].bias.zero_()
        model[3].weight.abs_().mul_(-1e-3)
        model[3].bias.fill_(1.0)  # strongest where there is nothing
    data = Pictures(10)
    gallery = Gallery(model, data, strongest(model, data, "4"))
    for of_map in gallery.tiles("4"):
        assert (of_map.patches == 128).all()
        assert (of_map.projections == 128).all()
        assert of_map.scales == [0.0] * 9
        for top, left, bottom, right in of_map.insides:
            assert top >= bottom or left >= right
    gallery.plot("4")


def test_vectors_and_layers_that_see_the_whole_image_show_it(net):
    model = nn.Sequential(*net, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5), nn.ReLU()).eval()
    data = Pictures()
    found = strongest(model, data, ["8"])
    tiles = [of_map for of_map in Gallery(model, data, found, share=1).tiles("8") if len(of_map)]
    assert tiles
    assert tiles[0].patches.shape == (9, 26, 22, 3)
    assert tiles[0].boxes == [(0, 0, 26, 22)] * 9
    assert tiles[0].positions == [()] * 9
    first = bytes_of(data.images[tiles[0].images[0]].permute(1, 2, 0))
    assert abs(tiles[0].patches[0] - first).max() <= 1


def test_a_model_that_does_not_run_dry_shows_whole_images(net):
    class Asks(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x) if float(x.detach().mean()) < 1e9 else x

    model, data = Asks().eval(), Pictures()
    tiles = next(Gallery(model, data, strongest(model, data, "net.4"), share=1).tiles("net.4", [1]))
    assert tiles.boxes == [(0, 0, 26, 22)] * 9


# Which maps


def test_some_maps_by_chance_by_number_and_by_layer(net):
    data = Pictures()
    found = strongest(net, data)
    assert Gallery(net, data, found).maps == {"1": [0, 1, 2, 3], "4": [0, 1, 2, 3, 4, 5]}
    some = Gallery(net, data, found, maps=3).maps
    assert [len(maps) for maps in some.values()] == [3, 3]
    assert some["4"] == sorted(set(some["4"]))
    assert Gallery(net, data, found, maps=3).maps == some
    others = {tuple(Gallery(net, data, found, maps=3, seed=seed).maps["4"]) for seed in range(9)}
    assert len(others) > 3
    assert Gallery(net, data, found, maps=[3, 1, 3]).maps == {"1": [3, 1], "4": [3, 1]}
    assert Gallery(net, data, found, maps={"4": 2, "1": None}).layers == ["4", "1"]
    assert [of_map.number for of_map in Gallery(net, data, found, maps=[3, 1]).tiles("4")] == [3, 1]
    assert Gallery(net, data, found, maps=100).maps["1"] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maps": [4]}, "expected maps of 1 from 0 to 3, got map 4"),
        ({"maps": []}, "expected maps of 1 from 0 to 3, got none"),
        ({"maps": 0}, "expected at least one map, got 0"),
        ({"maps": "all"}, "expected maps as a number or a list of numbers, got 'all'"),
        ({"maps": [1.9]}, "expected maps as a number or a list of numbers"),
        ({"maps": np.array([True, False, False, True])}, "expected maps as a number or a list of numbers"),
        ({"maps": [True]}, "expected maps as a number or a list of numbers"),
        ({"maps": {"3": None}}, "expected layers that were searched, 1, 4; got '3'"),
        ({"share": 0}, "expected a share above 0 and at most 1, got 0"),
        ({"share": 1.5}, "expected a share above 0 and at most 1, got 1.5"),
    ],
)
def test_arguments_that_make_no_sense(net, options, message):
    data = Pictures()
    with pytest.raises(InputError, match=message):
        Gallery(net, data, strongest(net, data), **options)


def test_layers_and_maps_that_are_not_there(net):
    data = Pictures()
    gallery = Gallery(net, data, strongest(net, data, "4"))
    with pytest.raises(InputError, match="expected a layer of this gallery, 4; got '1'"):
        gallery.plot("1")
    with pytest.raises(InputError, match="expected maps of 4 from 0 to 5, got map 6"):
        gallery.tiles("4", [6])


# What it refuses, and what it leaves alone


def test_another_model_or_other_images(net):
    data = Pictures()
    found = strongest(net, data)
    with pytest.raises(InputError, match="the result is of another model"):
        Gallery(make_net(1), data, found)
    with pytest.raises(InputError, match="the result is of another data set"):
        Gallery(net, Pictures(seed=2), found)


@pytest.mark.filterwarnings("ignore::deconv_attr.DeadSignalWarning")
def test_an_image_that_has_changed_unnoticed(net):
    data = Pictures(200)
    found = strongest(net, data)
    used = sorted(set(found["4"].images.flatten().tolist()))
    sample = {number * 199 // 15 for number in range(16)}
    other = next(number for number in used if number not in sample)
    data.images[other] = data.images[other].flip(1)
    gallery = Gallery(net, data, found)  # the fingerprint looks at sixteen
    with pytest.raises(InputError, match=f"for image {other}, got .*; use the images that were searched"):
        list(gallery.tiles("4"))


def test_sequences_have_no_gallery():
    model = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU()).eval()
    data = torch.randn(20, 2, 30)
    found = strongest(model, data)
    assert found["1"].positions.shape == (3, 9, 1)
    with pytest.raises(InputError, match=r"expected images \(C, H, W\), which can be drawn, got the shape \(2, 30\)"):
        Gallery(model, data, found)
    with pytest.raises(InputError, match="expected found as the result of a search, got a dict"):
        Gallery(model, data, {})


def test_pixels_that_are_no_picture(net):
    data = torch.randn(12, 3, 26, 22)
    gallery = Gallery(net, data, strongest(net, data))
    with pytest.raises(InputError, match="expected an image between 0 and 1"):
        list(gallery.tiles("4"))
    gallery = Gallery(net, data, strongest(net, data), picture=lambda image: image.sigmoid())
    assert len(list(gallery.tiles("4"))) == 6


def test_an_activation_without_a_rule(net):
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.GELU(), *net).eval()
    data = Pictures()
    found = strongest(model, data, "6")
    with pytest.raises(RuleError, match="gelu"):
        list(Gallery(model, data, found).tiles("6"))
    assert len(list(Gallery(model, data, found, activations="rectify").tiles("6"))) == 6


def test_a_model_in_training_mode(net):
    data = Pictures()
    found = strongest(net, data)
    noisy = nn.Sequential(*net[:3], nn.Dropout2d(), *net[3:]).train()
    with pytest.raises((InputError, ModelError)):
        list(Gallery(noisy, data, found).tiles("4"))


def test_nothing_is_touched(net, tmp_path):
    data = Pictures()
    found = strongest(net, data)
    before = snapshot(net, data.images, *(top.values for top in found.values()))
    gallery = Gallery(net, data, found)
    gallery.plot("4")
    gallery.to_html(tmp_path / "page")
    assert snapshot(net, data.images, *(top.values for top in found.values())) == before


# Figures and the page


def test_the_figure_of_many_maps_shows_as_many_as_it_can():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 70, 3), nn.ReLU()).eval()
    data = Pictures()
    found = strongest(model, data, k=1)
    figure = Gallery(model, data, found).plot("1")
    labels = [text.get_text() for axes in figure.axes for text in axes.texts] + [t.get_text() for t in figure.texts]
    assert sum(label.startswith("map ") for label in labels) == 64
    assert any("70 maps of 24 x 20, receptive field 3 x 3, cut to 95 % of each signal" in label for label in labels)


def test_the_figure_of_a_layer_for_a_paper(net):
    data = Pictures()
    found = strongest(net, data)
    gallery = Gallery(net, data, found, share=1)
    figure = gallery.plot("4", [0, 2, 5], width=4.5, columns=3, font_size=6)
    assert figure.get_figwidth() == 4.5
    assert {text.get_fontsize() for text in figure.texts} == {6}
    assert any(text.get_text().replace("\n", " ").endswith("receptive field 13 x 13") for text in figure.texts)
    own = Figure()
    axes = own.subplots(3)
    assert gallery.plot("4", [0, 2, 5], axes=axes) is own
    assert [each.get_title().split(",")[0] for each in axes] == ["map 0", "map 2", "map 5"]


def test_a_gallery_of_grey_images():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 5, padding=2), nn.ReLU()).eval()
    data = torch.rand(9, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    for tiles in Gallery(model, data, strongest(model, data)).tiles("1"):
        for pictures in (tiles.projections, tiles.patches):
            assert (np.ptp(pictures, axis=3) == 0).all()
            assert np.ptp(pictures) > 50


def test_the_page_is_of_all_maps(net, tmp_path):
    data = Pictures()
    found = strongest(net, data)
    index = Gallery(net, data, found).to_html(tmp_path / "page")
    assert index == tmp_path / "page" / "index.html"
    sheets = sorted(path.name for path in (tmp_path / "page" / "files").glob("maps-4/*"))
    active = [number for number in range(6) if found["4"].values[number].any()]
    assert sheets == [f"map-{number}.png" for number in active]
    used = {image for top in found.values() for image in top.images[top.values > 0].tolist()}
    assert len(list((tmp_path / "page" / "files").glob("image-*"))) == len(used)
    text = index.read_text()
    assert "24 of Pictures" in text
    assert "Sequential" in text


# Evolution


def test_evolution_shows_the_strongest_unit_at_each_checkpoint(tmp_path):
    data = Pictures()
    models = [make_net(seed) for seed in (1, 2, 3)]
    torch.save({"state_dict": models[1].state_dict()}, tmp_path / "two.pt")
    net = make_net()
    before = snapshot(net)
    checkpoints = {"epoch 1": models[0].state_dict(), "epoch 2": tmp_path / "two.pt", "epoch 3": models[2]}
    shown = evolution(net, checkpoints, data, "4", [0, 2, 5])
    assert snapshot(net) == before
    assert shown.labels == ["epoch 1", "epoch 2", "epoch 3"]
    assert shown.maps == [0, 2, 5]
    for model, column in zip(models, shown.tiles, strict=True):
        found = strongest(model, data, "4", 1)
        expected = {of_map.number: of_map for of_map in Gallery(model, data, found).tiles("4")}
        for tiles in column:
            assert tiles.values == expected[tiles.number].values
            assert (tiles.projections == expected[tiles.number].projections).all()
    small = shown.plot(width=3, font_size=6)
    assert (small.get_figwidth(), {text.get_fontsize() for text in small.texts}) == (3, {6})
    own = Figure()
    assert shown.plot(axes=own.subplots(3, 3)) is own
    assert own.axes[1].get_title() == "epoch 2"
    labels = [text.get_text() for axes in shown.plot().axes for text in axes.texts]
    labels += [text.get_text() for text in shown.plot().texts]
    assert any("epoch 2" in label for label in labels)
    wider = nn.Sequential(*make_net()[:3], nn.Conv2d(4, 9, 3), nn.ReLU()).eval()
    both = evolution(net, {"before": net, "after": wider}, data, "4", 2)
    assert [[tiles.number for tiles in column] for column in both.tiles] == [both.maps] * 2
    drawn = evolution(net, checkpoints, data, "4", 2, seed=3)
    assert len(drawn.maps) == 2
    assert drawn.maps == evolution(net, checkpoints, data, "4", 2, seed=3).maps


def test_checkpoints_that_do_not_fit(net):
    data = Pictures()
    with pytest.raises(InputError, match="expected the layer as a name, got None"):
        evolution(net, {"late": net}, data, None)
    with pytest.raises(InputError, match="expected checkpoints as a dict of at least one"):
        evolution(net, {}, data, "4")
    with pytest.raises(InputError, match="the weights in checkpoint late do not fit Sequential: 4 missing"):
        evolution(net, {"late": {}}, data, "4")
    with pytest.raises(InputError, match="expected checkpoint late as a state dict, its path, or a model, got 7"):
        evolution(net, {"late": 7}, data, "4")
