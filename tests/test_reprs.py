"""What objects show of themselves: a line for a terminal, a table for a notebook, whatever words are in them."""

import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO

import pytest
import torch
from PIL import Image
from torch import nn

from deconv_attr import (
    DECONVNET,
    GUIDED_BACKPROP,
    Coverage,
    Gallery,
    Kind,
    LayerZFDeconv,
    Method,
    NeuronZFDeconv,
    ReceptiveField,
    ScoredModel,
    ZFDeconv,
    compare,
    coverage,
    evolution,
    project,
    receptive_field,
    strongest,
)
from deconv_attr.engine import Call
from deconv_attr.errors import SkippedImagesWarning
from deconv_attr.evidence import Estimate, Failure, ResultTable, Verdict, verdict
from deconv_attr.gallery import Evolution
from deconv_attr.gallery.search.top_k import TopK
from deconv_attr.visualize.tiles import MapTiles

IMAGES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
EVIL = "</td><script>alert('\"&')</script>\n\udcff"
SHOWN = EVIL.replace("\n\udcff", "")


class Net(nn.Sequential):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(3, 30, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(270, 2))
        with torch.no_grad():
            self[4].weight.abs_()
        self.eval()


@torch.no_grad()
def activations(images):
    net = Net()
    return net[1](net[0](images))


class Page(HTMLParser):
    """The texts of a page's elements; it is refused unless all of them are closed and expected."""

    KNOWN = frozenset("figure figcaption table thead tbody tr th td p br img".split())

    def __init__(self, page):
        super().__init__()
        self.open, self.texts, self.attributes, self.rows = [], {}, {}, []
        page.encode()
        self.feed(page)
        assert self.open == []
        assert len({len(row) for row in self.rows}) <= 1
        assert all(each in ({"scope": "row"}, {"scope": "col"}) for each in self.attributes.get("th", []))

    def handle_starttag(self, tag, attributes):
        assert tag in self.KNOWN
        given = dict(attributes)
        if tag == "th":
            given.pop("style", None)
        self.attributes.setdefault(tag, []).append(given)
        if tag == "br":
            self.texts[self.open[-1]].append("")
            return
        self.texts.setdefault(tag, []).append("")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts[self.open[-1]][-1] += data
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def shown(thing):
    return Page(thing._repr_html_())


def rows_of(thing):
    return shown(thing).rows


# ------------------------------------------------------------------------------------------- all of them


def compared(methods=None, **options):
    return compare(Net(), IMAGES, 1, methods, show_progress=False, **options)


def found():
    return strongest(Net(), IMAGES, ["1", "0"], 2)


def empty_tiles(number):
    return MapTiles("1", number, [], [], [], [], [], [], None, None)


EVERYTHING = {
    "ZFDeconv": (lambda: ZFDeconv(Net()), "ZFDeconv(Net)"),
    "ZFDeconv with choices": (
        lambda: ZFDeconv(Net(), activations="gradient", overlap="mean"),
        "ZFDeconv(Net, activations='gradient', overlap='mean')",
    ),
    "ZFDeconv of a score": (lambda: ZFDeconv(ScoredModel(Net(), lambda output: output)), "ZFDeconv(Net)"),
    "NeuronZFDeconv": (
        lambda: NeuronZFDeconv(Net(), "1", rules=GUIDED_BACKPROP, batch_norm="scale"),
        "NeuronZFDeconv(Net, '1', rules=TABLES['Guided backprop'])",
    ),
    "NeuronZFDeconv of a module": (lambda: NeuronZFDeconv(net := Net(), net[1]), "NeuronZFDeconv(Net, '1')"),
    "LayerZFDeconv": (
        lambda: LayerZFDeconv(Net(), ["0", "1"], rules={**DECONVNET, nn.ReLU: GUIDED_BACKPROP[Kind.RECTIFIER]}),
        "LayerZFDeconv(Net, ['0', '1'], rules={...})",
    ),
    "LayerZFDeconv without a layer": (lambda: LayerZFDeconv(Net(), None), "LayerZFDeconv(Net)"),
    "Coverage": (
        lambda: coverage(Net(), IMAGES),
        "<Coverage: 5 calls (3 linear: adjoint; 1 rectifier: rectify; 1 max-pool: unpool)>",
    ),
    "an empty Coverage": (lambda: Coverage(()), "<Coverage: 0 calls ()>"),
    "ReceptiveField": (
        lambda: receptive_field(Net(), "2", (3, 8, 8)),
        "<ReceptiveField: 2: 4x4 pixels, stride 2x2, offset (0, 0)>",
    ),
    "Projection": (lambda: project(Net(), IMAGES, "1", [3, 4]), "<Projection: 2 units of 1, 2 from crops>"),
    "Strongest": (found, "<Strongest: 2 of each of 60 maps in 2 layers of Net, from 3 of 3 images>"),
    "TopK": (lambda: found()["1"], re.compile(r"<TopK: 2 of each of 30 maps, strongest activation [\d.]+>")),
    "an empty TopK": (
        lambda: TopK.empty(2, 3, 2, torch.float32),
        "<TopK: 3 of each of 2 maps, strongest activation -inf>",
    ),
    "a TopK without maps": (
        lambda: TopK.empty(0, 3, 2, torch.float32),
        "<TopK: 3 of each of 0 maps, strongest activation -inf>",
    ),
    "Gallery": (
        lambda: Gallery(Net(), IMAGES, found(), maps={"1": [3, 5]}),
        "<Gallery: 2 units of each of 2 maps in 1 layers of Net>",
    ),
    "Evolution": (
        lambda: Evolution("1", [3, 5], ["epoch 1"], [[empty_tiles(3), empty_tiles(5)]]),
        "<Evolution: 2 maps of 1 at 1 checkpoints>",
    ),
    "Method": (
        lambda: Method(ZFDeconv(Net()), arguments={"internal_batch_size": 2}),
        "<Method: ZFDeconv, drawn as suits its maps, pixels ranked by size>",
    ),
    "Verdict": (
        lambda: verdict(ResultTable(["method"], []), 60),
        "<Verdict: These numbers are told by the table alone.>",
    ),
    "ResultTable": (lambda: ResultTable(["method", "a"], [["b", 1.0]]), "<ResultTable: 1 rows of method, a>"),
    "an empty ResultTable": (lambda: ResultTable(["method"], []), "<ResultTable: 0 rows of method>"),
    "Comparison": (
        lambda: compared([Method(zero, "A"), Method(fails, "B")]),
        "<Comparison: 3 images; A, B (failed)>",
    ),
}


def zero(model, inputs, target):
    return 0 * inputs


def fails(model, inputs, target):
    raise ValueError("no maps")


@pytest.mark.parametrize("name", EVERYTHING)
def test_everything_has_a_line_and_a_table(name):
    make, line = EVERYTHING[name]
    thing = make()
    assert re.fullmatch(line if isinstance(line, re.Pattern) else re.escape(line), repr(thing))
    shown(thing)


# --------------------------------------------------------------------------------------------- contents


def test_the_rules_of_a_method_are_shown_by_kind_and_before_them_those_of_modules():
    net = Net()
    rows = rows_of(
        ZFDeconv(net, rules={**DECONVNET, net[1]: GUIDED_BACKPROP[Kind.RECTIFIER], nn.Linear: DECONVNET[Kind.LINEAR]})
    )
    assert rows[:5] == [
        ["operation", "rule"],
        ["1", "guided"],
        ["Linear", "adjoint"],
        ["rectifier", "rectify"],
        ["max-pool", "unpool"],
    ]
    assert rows[-1] == ["unknown", "no rule"]


def test_a_layer_that_is_set_later_need_not_exist():
    method = LayerZFDeconv(Net(), None)
    method.layer = nn.ReLU()  # as Captum's TCAV sets it
    assert repr(method) == "LayerZFDeconv(Net, 'ReLU')"


def test_coverage_shows_the_calls_and_its_notes():
    page = shown(Coverage([Call("a.b", "relu", Kind.RECTIFIER, "rectify", "/some/where/net.py:3")], ["One.", "Two."]))
    assert page.rows == [["call", "module", "operation", "rule", "source"], ["0", "a.b", "relu", "rectify", "net.py:3"]]
    assert page.texts["figcaption"] == ["Coverage: 1 calls (1 rectifier: rectify)"]
    assert page.texts["p"] == ["One.", "Two."]


def test_a_long_table_is_cut_and_says_so():
    page = shown(Coverage([Call(str(n), "relu", Kind.RECTIFIER, "rectify") for n in range(200)]))
    assert [row[0] for row in page.rows] == ["call", *map(str, range(20))]
    assert page.texts["p"] == ["and 180 more"]
    assert len(rows_of(found()["1"])) == 21


def test_results_are_not_cut():
    assert len(rows_of(ResultTable(["method"], [[str(n)] for n in range(50)]))) == 51


def test_a_long_text_is_cut():
    table = rows_of(ResultTable(["method"], [["a" * 1000]]))
    assert table[1] == ["a" * 297 + "..."]
    assert len(repr(Method(zero, "a" * 1000))) < 250


def test_a_receptive_field_is_shown_axis_by_axis():
    field = receptive_field(Net(), "2", (3, 8, 9))
    assert rows_of(field) == [
        ["axis", "image", "size", "stride", "offset"],
        ["height", "8", "4", "2", "0"],
        ["width", "9", "4", "2", "0"],
    ]
    whole = shown(receptive_field(Net(), "4", (3, 8, 8)))
    assert whole.texts["p"][0].startswith("Every unit depends on the whole image, by ")
    none = ReceptiveField("a", (2, 3), (7,), (None,), (None,), (None,), "", "", ())
    assert rows_of(none)[1] == ["length", "7", "varies", "varies", "varies"]


def test_a_projection_shows_units_and_their_boxes():
    page = shown(project(Net(), IMAGES, "1", [(2, 7, 1, 3)]))
    number, image, feature_map, position, activation, pixels = page.rows[1]
    assert (number, image, feature_map, position, pixels) == ("0", "2", "7", "1, 3", "1:4, 3:6")
    assert float(activation) == pytest.approx(float(activations(IMAGES)[2, 7, 1, 3]), rel=1e-3)


def test_a_projection_of_vectors_has_no_position():
    assert rows_of(project(Net(), IMAGES, "4", [(2, 1)]))[1][:4] == ["0", "2", "1", ""]


def test_a_search_shows_its_layers_and_what_was_skipped():
    class Damaged(torch.utils.data.Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, number):
            if number == 1:
                raise OSError(EVIL)
            return IMAGES[number]

    with pytest.warns(SkippedImagesWarning):
        result = strongest(Net(), Damaged(), ["1"], 2)
    page = shown(result)
    best = float(activations(IMAGES[[0, 2]]).max())
    assert page.rows[0] == ["layer", "maps", "strongest activation"]
    assert page.rows[1][:2] == ["1", "30"]
    assert float(page.rows[1][2]) == pytest.approx(best, rel=1e-3)
    assert "1 of 3 images could not be read" in page.texts["p"][0]
    assert SHOWN in page.texts["p"][0]


def test_slots_without_an_image_are_shown_as_none():
    assert rows_of(TopK.empty(1, 1, 2, torch.float32))[1] == ["0", "none", "", ""]


def test_a_gallery_shows_which_maps():
    page = shown(Gallery(Net(), IMAGES, found(), maps={"1": [3, 5], "0": list(range(15))}))
    assert page.rows[1:] == [
        ["1", "30", "2", "3, 5"],
        ["0", "30", "15", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ..."],
    ]


def test_an_evolution_shows_activations_by_checkpoint():
    result = evolution(Net(), {"a": Net(), "b": Net()}, IMAGES, "1", [3], picture=torch.sigmoid)
    page = shown(result)
    assert page.rows[0] == ["map", "a", "b"]
    assert page.rows[1][0] == "3"
    assert float(page.rows[1][2]) == pytest.approx(float(activations(IMAGES)[:, 3].max()), rel=1e-3)


def test_a_method_shows_its_arguments():
    class Fails:
        def __repr__(self):
            raise ValueError("no")

    page = shown(Method(zero, "mine", "signed", {"a": Fails(), "b": torch.rand(99), "c": nn.ReLU}, 3, "value"))
    rows = dict(page.rows)
    assert (rows["explains by"], rows["drawn"], rows["batch size"], rows["pixels ranked by"]) == (
        "zero",
        "signed",
        "3",
        "value",
    )
    assert "Fails" in rows["argument a"]
    assert len(rows["argument b"]) <= 80
    assert rows["argument c"] == "ReLU"


# ------------------------------------------------------------------------------------------- comparisons


def dies_first(model, inputs, target):
    maps = inputs.clone()
    maps[0] = 0
    return maps


def test_a_comparison_shows_its_methods_and_its_picture_and_runs_no_check():
    comparison = compared([dies_first, fails], labels=["a", "b", "c"])
    page = shown(comparison)
    assert page.texts["figcaption"] == ["Comparison: 3 images, 2 methods, Net"]
    assert page.rows == [
        ["method", "maps that are zero", "error"],
        ["dies_first", "1 of 3: zero everywhere", ""],
        ["fails", "", "ValueError: no maps"],
    ]
    (image,) = page.attributes["img"]
    kind, content = image["src"].split(",")
    assert kind == "data:image/png;base64"
    assert Image.open(BytesIO(b64decode(content))).size[0] > 300
    assert image["alt"] == "Maps of 3 images, a row for each, by dies_first"
    assert comparison._findings._found == {}


def test_a_comparison_whose_weights_have_changed_says_why_it_has_no_picture():
    comparison = compared([zero])
    with torch.no_grad():
        comparison.model[0].weight.zero_()
    page = shown(comparison)
    assert "img" not in page.attributes
    assert page.texts["p"] == [
        "There is no picture: InputError: expected the model as it was compared, got other weights; compare again"
    ]


def test_a_comparison_in_which_all_failed_is_shown():
    assert rows_of(compared([fails]))[1:] == [["fails", "", "ValueError: no maps"]]


# ---------------------------------------------------------------------------------------- strangers' words


class SpeechlessError(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def speechless(model, inputs, target):
    raise SpeechlessError


def shouts(model, inputs, target):
    raise ValueError(EVIL)


def evil_net():
    torch.manual_seed(0)
    net = nn.Sequential()
    for name, module in (("0", nn.Conv2d(3, 2, 3)), (LAYER, nn.ReLU())):
        net.add_module(name, module)
    return net.eval()


LAYER = SHOWN + "\n"
HOSTILE = {
    "Comparison": lambda: compared([Method(shouts, EVIL), speechless], labels=[SHOWN] * 3),
    "Method": lambda: Method(zero, EVIL, arguments={EVIL: EVIL}),
    "Coverage": lambda: Coverage([Call(EVIL, EVIL, Kind.UNKNOWN, EVIL, EVIL)], [EVIL]),
    "ZFDeconv": lambda: NeuronZFDeconv(evil_net(), LAYER, rules={**DECONVNET, LAYER: DECONVNET[Kind.RECTIFIER]}),
    "Strongest": lambda: strongest(evil_net(), IMAGES, [LAYER], 1),
    "Gallery": lambda: Gallery(evil_net(), IMAGES, strongest(evil_net(), IMAGES, [LAYER], 1)),
    "Projection": lambda: project(evil_net(), IMAGES, LAYER, [0]),
    "ReceptiveField": lambda: receptive_field(evil_net(), LAYER, (3, 8, 8)),
    "Evolution": lambda: Evolution(EVIL, [3], [EVIL], [[empty_tiles(3)]]),
    "ResultTable": lambda: ResultTable([EVIL], [[EVIL], [Failure(EVIL)]], {EVIL: EVIL}, [EVIL]),
    "Verdict": lambda: Verdict(EVIL, ResultTable([EVIL, "a", "from"], [[EVIL, Estimate(0, 0, 0, 1, 1), EVIL]])),
    "a short Verdict": lambda: Verdict(EVIL),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_strangers_words_are_no_markup(name):
    thing = HOSTILE[name]()
    page = shown(thing)
    assert any(SHOWN in text for texts in page.texts.values() for text in texts)
    assert "\n" not in repr(thing)
    repr(thing).encode()


def test_an_error_that_cannot_speak_is_named():
    assert rows_of(compared([speechless]))[1] == ["speechless", "", "SpeechlessError"]
