"""Verdicts: which answer is given to which numbers, and how it is shown."""

import pytest

from deconv_attr.evidence import CHECKS, Answer, Estimate, Failure, ResultTable, verdict

NAN = float("nan")


def number(mean, low=None, high=None, count=60, total=60):
    """Make an estimate; by default one without doubt."""
    return Estimate(mean, mean if low is None else low, mean if high is None else high, count, total)


UNDEFINED = number(NAN, NAN, NAN, count=0)
BROKEN = Failure("RuleError: no rule for 'gelu'")


def table_of(column, *cells):
    return ResultTable(["method", column], [[name, cell] for name, cell in zip("ABCDEF", cells, strict=False)])


def answers(column, *cells, images=60):
    """Return the answers on methods A, B, ... to the question of one column."""
    (row,) = verdict(table_of(column, *cells), images).answers.rows
    assert row[-1] == column
    return row[1:-1]


# ------------------------------------------------------------------------------------ how many images


@pytest.mark.parametrize(
    ("images", "opening"),
    [
        (1, "One image is too few for a finding, which takes 10: look at the pictures."),
        (2, "2 images are too few for a finding, which takes 10: look at the pictures."),
        (9, "9 images are too few for a finding, which takes 10: look at the pictures."),
    ],
)
def test_of_few_images_nothing_is_found(images, opening):
    found = verdict(table_of("input recovery", number(0.9)), images)
    assert (found.opening, found.answers) == (opening, None)
    assert str(found) == found.to_markdown() == opening
    assert found._repr_html_() == f"<p>{opening}</p>"


@pytest.mark.parametrize(
    ("images", "opening"),
    [
        (
            10,
            "From 10 images, and for images like these only. Yes and no are said of whole intervals; ? cannot be said.",
        ),
        (
            49,
            "From 49 images, and for images like these only. Yes and no are said of whole intervals; ? cannot be said.",
        ),
        (50, "From 50 images. Yes and no are said of whole intervals; ? cannot be said."),
    ],
)
def test_a_verdict_opens_with_what_the_number_of_images_allows(images, opening):
    found = verdict(table_of("input recovery", number(0.9)), images)
    assert found.opening == opening
    assert len(found.answers.rows) == 1


# ------------------------------------------------------------------------------------------ the answers

CORRELATIONS = [
    (number(0.95, 0.9, 0.99), "no", "0.95"),
    (number(0.8), "no", "0.80"),
    (number(0.9, 0.79, 0.95), "?", "0.90"),
    (number(0.1, 0.0, 0.2), "yes", "0.10"),
    (number(0.5), "yes", "0.50"),
    (number(0.4, 0.3, 0.51), "?", "0.40"),
    (number(0.6, 0.55, 0.65), "?", "0.60"),
]


@pytest.mark.parametrize(
    "column",
    ["target sensitivity", "parameter randomisation, |map|", "input recovery", "edge similarity"],
)
@pytest.mark.parametrize(("cell", "mark", "shown"), CORRELATIONS)
def test_correlations_are_high_or_low_if_their_whole_interval_is(column, cell, mark, shown):
    assert answers(column, cell) == [Answer(mark, shown)]


@pytest.mark.parametrize("column", ["deletion, gain", "insertion, gain", "pointing game, gain", "mask share, gain"])
@pytest.mark.parametrize(
    ("cell", "mark"),
    [
        (number(0.2, 0.01, 0.4), "yes"),
        (number(0.2, -0.01, 0.4), "?"),
        (number(-0.2, -0.4, 0.01), "?"),
        (number(-0.2, -0.4, -0.01), "no"),
        (number(0.0), "no"),
    ],
)
def test_a_gain_is_held_against_chance(column, cell, mark):
    assert answers(column, cell)[0].mark == mark


@pytest.mark.parametrize(
    ("column", "cell", "mark"),
    [
        ("zero maps", number(0.0), "yes"),
        ("zero maps", number(0.02, 0.0, 0.05), "yes"),
        ("zero maps", number(0.05, 0.01, 0.1), "?"),
        ("zero maps", number(0.69, 0.6, 0.8), "no"),
        ("infidelity", number(0.3, 0.1, 0.5), "yes"),
        ("infidelity", number(0.6, 0.4, 0.8), "?"),
        ("infidelity", number(0.9, 0.85, 0.95), "no"),
        ("sensitivity", number(0.2, 0.1, 0.3), "yes"),
        ("sensitivity", number(0.7, 0.6, 0.8), "?"),
        ("sensitivity", number(3.0, 1.2, 9.0), "no"),
    ],
)
def test_other_questions_have_their_own_bounds(column, cell, mark):
    assert answers(column, cell)[0].mark == mark


def test_signs_count_for_classes_and_not_for_weights():
    """Two classes may differ in signs alone; random weights may turn all signs."""
    asked = {check.question.column for check in CHECKS.values() if check.question}
    assert "target sensitivity" in asked
    assert "parameter randomisation, |map|" in asked
    assert not asked & {"target sensitivity, |map|", "parameter randomisation"}


def test_numbers_of_few_images_are_shown_and_not_judged():
    found = answers("input recovery", number(0.9, count=9, total=60), number(0.9, count=10, total=60))
    assert found == [Answer("?", "0.90, 9 of 60"), Answer("no", "0.90, 10 of 60")]


def test_where_most_maps_die_nothing_is_said_of_weights():
    columns = ["parameter randomisation, |map|", "parameter randomisation, zero"]
    rows = [["A", number(0.1), number(0.75)], ["B", number(0.1), number(0.5)], ["C", BROKEN, BROKEN]]
    (line,) = verdict(ResultTable(["method", *columns], rows), 60).answers.rows
    assert line[1:-1] == [Answer("?", "75% died"), Answer("yes", "0.10"), Answer("?", "RuleError")]


def test_what_has_no_number_cannot_be_said():
    assert answers("input recovery", UNDEFINED, BROKEN) == [Answer("?", "no map"), Answer("?", "RuleError")]


# ------------------------------------------------------------------------------------------ its look


def test_every_check_has_a_question_in_the_order_of_the_table():
    columns = [column for check in CHECKS.values() for column in check.columns]
    table = ResultTable(["method", *columns], [["A", *(number(0.9) for _ in columns)]])
    rows = verdict(table, 60).answers.rows
    assert [row[0] for row in rows] == [check.question.text for check in CHECKS.values()]
    assert [row[-1].split(", ")[0] for row in rows] == list(CHECKS)
    assert all(row[0].endswith("?") for row in rows)


def test_a_verdict_is_read_at_a_glance():
    columns = ["target sensitivity", "input recovery"]
    rows = [
        ["ZFDeconv from the score", number(0.9), number(0.1)],
        ["Saliency", number(0.2), number(0.3, 0.2, 0.9, 40, 60)],
    ]
    found = verdict(ResultTable(["method", *columns], rows), 60)
    assert str(found).splitlines() == [
        "From 60 images. Yes and no are said of whole intervals; ? cannot be said.",
        "",
        "question                           ZFDeconv from  Saliency        from",
        "                                   the score",
        "Does the map depend on the class?  no (0.90)      yes (0.20)      target sensitivity",
        "Is it more than a copy of the      yes (0.10)     ? (0.30, 40 of  input recovery",
        "image?                                            60)",
    ]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found.to_markdown().splitlines()[2:]]
    assert lines[0] == ["question", "ZFDeconv from the score", "Saliency", "from"]
    assert lines[2:] == [
        ["Does the map depend on the class?", "no (0.90)", "yes (0.20)", "target sensitivity"],
        ["Is it more than a copy of the image?", "yes (0.10)", "? (0.30, 40 of 60)", "input recovery"],
    ]


def test_a_verdict_in_a_notebook_is_html_and_nothing_in_it_is_markup():
    found = verdict(ResultTable(["method", "input recovery"], [["<b>A</b>", number(0.9)]]), 60)
    page = found._repr_html_()
    assert "<figcaption>From 60 images." in page
    assert "&lt;b&gt;A&lt;/b&gt;" in page
    assert "no (0.90)" in page


def test_a_verdict_has_a_line_for_a_terminal():
    table = ResultTable(["method", "input recovery"], [["A", number(0.9)], ["B", number(0.1)]])
    assert repr(verdict(table, 60)).startswith("<Verdict: 1 questions to 2 methods. From 60 images.")
    assert repr(verdict(table, 1)).startswith("<Verdict: One image is too few")


@pytest.mark.parametrize("header", [["method", "deletion"], ["method"]], ids=["of other columns", "of none"])
def test_a_verdict_without_questions_says_so(header):
    table = ResultTable(header, [[name, *([number(0.9)] * (len(header) - 1))] for name in "AB"])
    assert str(verdict(table, 60)) == "These numbers are told by the table alone."
