"""Verdicts: what is said of which numbers, and how carefully."""

import pytest

from deconv_attr.evidence import CHECKS, Estimate, Failure, ResultTable, verdict

NAN = float("nan")
MANY = "From 60 images."


def number(mean, low=None, high=None, count=60, total=60):
    """Make an estimate; by default one without doubt."""
    return Estimate(mean, mean if low is None else low, mean if high is None else high, count, total)


UNDEFINED = number(NAN, count=0)
BROKEN = Failure("RuleError: no rule for 'gelu'")


NOTHING = "These numbers are told by the table alone."


def said(column, *cells, images=60, chance=None):
    """Return the verdict on methods A, B, ... of one column, after its first words."""
    table = ResultTable(["method", column], [[name, cell] for name, cell in zip("ABCDEF", cells, strict=False)])
    text = verdict(table, images, chance)
    if text == NOTHING:
        return ""
    assert text.startswith("From 60 images. ")
    return text.removeprefix("From 60 images. ")


# ------------------------------------------------------------------------------------ how many images

FEW = "images are no evidence, and intervals of so few are too narrow; what follows is a hint."


@pytest.mark.parametrize(
    ("images", "opening"),
    [
        (1, "A single image is no evidence, and has no intervals; what follows is a hint."),
        (2, f"2 {FEW}"),
        (9, f"9 {FEW}"),
        (10, "From 10 images, and for images like these only."),
        (49, "From 49 images, and for images like these only."),
        (50, "From 50 images."),
        (1000, "From 1000 images."),
    ],
)
def test_a_verdict_opens_with_what_the_number_of_images_allows(images, opening):
    table = ResultTable(["method", "image"], [["A", number(0.9)]])
    rest = " The map is nearly the image itself for A (0.90), so it is a copy and no explanation."
    assert verdict(table, images) == opening + rest


# ------------------------------------------------------------------------------------- alike or apart

SENTENCES = {
    "other class": (
        "The map of another class",
        "is nearly the same for {}, so such a map does not say why this class and no other",
        "differs for {}",
    ),
    "random weights, |map|": (
        "With random weights, the map",
        "keeps its strongest pixels for {}, so it does not show what was learnt",
        "changes for {}",
    ),
    "image": (
        "The map",
        "is nearly the image itself for {}, so it is a copy and no explanation",
        "has little of the image's own values for {}",
    ),
}

ANSWERS = [
    (number(0.95, 0.9, 0.99), "alike", "A (0.95)"),
    (number(0.8), "alike", "A (0.80)"),
    (number(0.9, 0.79, 0.95), "alike", "A (perhaps, 0.90)"),
    (number(0.9, NAN, NAN, 1), "alike", "A (perhaps, 0.90)"),
    (number(0.1, 0.0, 0.2), "apart", "A (0.10)"),
    (number(-0.9, -1.0, -0.8), "apart", "A (-0.90)"),
    (number(0.5), "apart", "A (0.50)"),
    (number(0.4, 0.3, 0.51), "apart", "A (perhaps, 0.40)"),
    (number(0.4, NAN, NAN, 1), "apart", "A (perhaps, 0.40)"),
    (number(0.6, 0.55, 0.65), "between", "A (0.60)"),
    (number(0.6, 0.1, 0.95), "between", "A (0.60)"),
]


@pytest.mark.parametrize("column", SENTENCES)
@pytest.mark.parametrize(("cell", "answer", "named"), ANSWERS)
def test_a_correlation_is_high_or_low_if_its_whole_interval_is(column, cell, answer, named):
    subject, alike, apart = SENTENCES[column]
    part = {"alike": alike, "apart": apart, "between": "is neither for {}"}[answer]
    assert said(column, cell) == f"{subject} {part.format(named)}."


def test_methods_are_divided_and_listed():
    cells = [number(0.9), number(0.1), number(0.6), number(0.99), number(0.85, 0.7), number(0.2)]
    assert said("other class", *cells) == (
        "The map of another class is nearly the same for A (0.90), D (0.99) and E (perhaps, 0.85), so such a map does "
        "not say why this class and no other; it differs for B (0.10) and F (0.20); it is neither for C (0.60)."
    )


# ------------------------------------------------------------------------------ zero maps, the object


def test_zero_maps_are_told_where_they_are_not_rare():
    assert said("zero maps", number(0.69), number(0.0), number(0.05), number(0.06)) == (
        "The signal died, and maps are zero, for A (69% of the images) and D (6% of the images); the other numbers are "
        "of the rest."
    )
    assert "(" not in said("zero maps", number(0.0), number(0.05))


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ([number(0.9, 0.8, 1.0)], "more often than by chance (0.25) for A (0.90)"),
        ([number(0.9, 0.2, 1.0)], "more often than by chance (0.25) for A (perhaps, 0.90)"),
        ([number(0.2, 0.1, 0.24)], "no more often than by chance (0.25) for A (0.20)"),
        ([number(0.2, 0.1, 0.26)], "no more often than by chance (0.25) for A (perhaps, 0.20)"),
        ([number(0.2, NAN, NAN, 1)], "no more often than by chance (0.25) for A (perhaps, 0.20)"),
        ([number(0.9, NAN, NAN, 1)], "more often than by chance (0.25) for A (perhaps, 0.90)"),
        ([number(0.25)], "no more often than by chance (0.25) for A (0.25)"),
        (
            [number(0.9), number(0.1), number(0.6, 0.1, 0.8), number(0.0)],
            "more often than by chance (0.25) for A (0.90) and C (perhaps, 0.60); "
            "no more often than by chance (0.25) for B (0.10) and D (0.00)",
        ),
    ],
)
def test_the_pointing_game_is_held_against_chance(cells, sentence):
    found = said("pointing game", *cells, chance=0.25)
    assert found == f"The strongest pixel lies on the object {sentence}."


def test_what_is_undefined_is_not_spoken_of():
    assert said("pointing game", UNDEFINED, number(0.9), chance=0.25).endswith("for B (0.90).")


def test_without_the_size_of_objects_nothing_is_said_of_them():
    assert "(" not in said("pointing game", number(0.9))


# ------------------------------------------------------------------------------------ what is missing


def test_methods_without_maps_are_named():
    table = ResultTable(
        ["method", "image", "edges"],
        [["A", BROKEN, BROKEN], ["B", number(0.9), BROKEN], ["C", UNDEFINED, UNDEFINED], ["D", BROKEN, BROKEN]],
    )
    assert verdict(table, 60) == (
        "From 60 images. The map is nearly the image itself for B (0.90), so it is a copy and no explanation. "
        "No maps: A and D."
    )


def test_all_is_said_in_the_order_of_the_checks():
    columns = [column for check in CHECKS.values() for column in check.columns]
    table = ResultTable(
        ["method", *columns], [["A", *(number(0.9) for _ in columns)], ["B", *([BROKEN] * len(columns))]]
    )
    openings = [
        "From 12 images, and for images like these only.",
        "The signal died",
        "The map of another class is nearly the same for A (0.90)",
        "With random weights, the map keeps its strongest pixels for A (0.90)",
        "The map is nearly the image itself for A (0.90)",
        "The strongest pixel lies on the object more often than by chance (0.30) for A (0.90)",
        "No maps: B.",
    ]
    text = verdict(table, 12, 0.3)
    places = [text.index(opening) for opening in openings]
    assert places == sorted(places)
    assert text.count("A (") == 5


def test_which_correlation_counts_is_that_of_the_column():
    """Signs count for classes, which differ in them alone; not for weights, which may turn all of them."""
    assert "(" not in said("other class, |map|", number(1.0))
    assert "(" not in said("random weights", number(1.0))


@pytest.mark.parametrize("header", [["method", "deletion"], ["method"]], ids=["of other checks", "of none"])
def test_a_verdict_without_content_says_so(header):
    table = ResultTable(header, [[name, *([number(0.9)] * (len(header) - 1))] for name in "AB"])
    assert verdict(table, 60) == NOTHING
