"""Tables: order, columns, what is printed, and what other programs get."""

import math
import sys
from html.parser import HTMLParser

import pytest

from deconv_attr.errors import InputError
from deconv_attr.evidence import Estimate, Failure, ResultTable
from deconv_attr.evidence.table import WIDEST

NAN = float("nan")
MIDDLE, HIGH = Estimate(0.5, 0.4, 0.6, 10, 10), Estimate(0.9, 0.8, 1.0, 9, 10)
NONE = Estimate(NAN, NAN, NAN, 0, 10)
BROKEN = Failure("RuleError: no rule for 'gelu': name one")
TABLE = ResultTable(
    ["method", "image", "edges"],
    [["b", MIDDLE, 0.25], ["Broken", BROKEN, BROKEN], ["A", HIGH, NAN], ["dead", NONE, 2]],
    {"image": "is it the image?"},
)


def names(table):
    return [row[0] for row in table.rows]


# ------------------------------------------------------------------------------------------- order


def test_rows_are_sorted_by_number():
    assert names(TABLE.sorted("image")) == ["b", "A", "Broken", "dead"]
    assert names(TABLE.sorted("image", descending=True)) == ["A", "b", "Broken", "dead"]


def test_what_is_no_number_comes_last_either_way():
    assert names(TABLE.sorted("edges")) == ["b", "dead", "Broken", "A"]
    assert names(TABLE.sorted("edges", descending=True)) == ["dead", "b", "Broken", "A"]


def test_names_are_sorted_by_the_alphabet():
    assert names(TABLE.sorted("method")) == ["A", "b", "Broken", "dead"]
    assert names(TABLE.sorted("method", descending=True)) == ["dead", "Broken", "b", "A"]


def test_numbers_come_before_names():
    mixed = ResultTable(["a"], [["x"], [2.0], [MIDDLE], [-1], [1.5]])
    assert names(mixed.sorted("a")) == [-1, MIDDLE, 1.5, 2.0, "x"]


def test_equal_rows_keep_their_order():
    equal = ResultTable(["method", "n"], [["b", 1.0], ["a", 1.0], ["c", 0.0]])
    assert names(equal.sorted("n")) == ["c", "b", "a"]
    assert names(equal.sorted("n", descending=True)) == ["b", "a", "c"]


def test_the_sorted_table_is_another_one():
    rows = [list(row) for row in TABLE.rows]
    found = TABLE.sorted("image")
    assert TABLE.rows == rows
    assert (found.header, found.legend) == (TABLE.header, TABLE.legend)


# ----------------------------------------------------------------------------------------- columns


def test_a_column_is_found_by_name():
    assert TABLE.column("image") == [MIDDLE, BROKEN, HIGH, NONE]


@pytest.mark.parametrize("ask", [lambda: TABLE.column("imge"), lambda: TABLE.sorted("imge")], ids=["column", "sorted"])
def test_a_wrong_column_is_named_with_the_nearest(ask):
    with pytest.raises(InputError, match="expected a column of the table, got 'imge'; the nearest are image"):
        ask()


def test_each_error_is_told_once():
    other = Failure("InputError: no")
    table = ResultTable(["method", "a", "b"], [["x", BROKEN, BROKEN], ["y", 1.0, other], ["z", BROKEN, 2.0]])
    assert table.failures == [("x", BROKEN.text), ("y", other.text), ("z", BROKEN.text)]
    assert ResultTable(["a"], [["x"]]).failures == []


def test_the_transpose_has_a_row_for_each_column():
    found = TABLE.transposed()
    assert found.header == ["", "b", "Broken", "A", "dead"]
    assert found.rows[0] == ["image", MIDDLE, BROKEN, HIGH, NONE]
    assert names(found) == ["image", "edges"]
    assert found.legend == TABLE.legend
    assert [list(row) for row in found.transposed().rows] == [list(row) for row in TABLE.rows]


def test_the_transpose_tells_columns_of_one_name_apart():
    table = ResultTable(["method", "method", "b"], [["method", 1.0, 0.25], ["b", 0.25, 1.0]])
    assert table.transposed().rows == [["method", 1.0, 0.25], ["b", 0.25, 1.0]]


# ------------------------------------------------------------------------------------ what is shown


def test_a_table_is_printed_in_columns_with_its_legend_and_errors():
    assert str(TABLE).splitlines() == [
        "method  image                         edges",
        "b       0.50 (0.40 to 0.60)           0.25",
        "Broken  RuleError                     RuleError",
        "A       0.90 (0.80 to 1.00), 9 of 10  nan",
        "dead    undefined                     2",
        "",
        "image: is it the image?",
        "Broken: RuleError: no rule for 'gelu': name one",
    ]


def test_a_table_without_legend_ends_with_its_rows():
    assert str(ResultTable(["a", "b"], [["x", 0.12345], ["y", 1e-7]])).splitlines() == ["a  b", "x  0.123", "y  1e-07"]


def many(columns):
    header = ["method", *(f"a wide column {number:03}" for number in range(columns))]
    return ResultTable(header, [["one", *map(float, range(columns))], ["two", *map(float, range(columns))]])


def test_a_table_too_wide_for_a_terminal_is_printed_on_its_side():
    wide = many(20)
    assert str(wide) == str(wide.transposed())
    assert str(wide).splitlines()[1].split() == ["a", "wide", "column", "000", "0", "0"]
    assert str(many(3)).splitlines()[0].startswith("method  a wide column 000  a wide")


def test_a_table_is_not_turned_where_that_makes_it_wider():
    rows = [[f"method {number}", *map(float, range(9))] for number in range(30)]
    wide = ResultTable(["method", *(f"a wide column {number}" for number in range(9))], rows)
    assert max(map(len, str(wide).splitlines())) > WIDEST
    assert str(wide).splitlines()[1].split() == ["method", "0", *map(str, range(9))]


def test_long_names_of_columns_are_broken():
    long = ResultTable(["method", "a name of a column that is longer than any number"], [["one", 1.0]])
    assert str(long).splitlines() == [
        "method  a name of a column that",
        "        is longer than any",
        "        number",
        "one     1",
    ]


def test_errors_of_a_turned_table_are_still_by_method():
    wide = ResultTable(many(20).header, [["one", *([BROKEN] * 20)]])
    assert str(wide).splitlines()[-1] == f"one: {BROKEN.text}"


def test_an_empty_table_is_its_header():
    assert str(ResultTable(["a", "b"], [])) == "a  b"
    assert ResultTable(["a", "b"], []).to_markdown().splitlines()[0].split() == ["|", "a", "|", "b", "|"]


def test_wide_cells_are_measured_too():
    table = ResultTable(["m", *"abcd"], [["one", *([HIGH] * 4)]])
    assert max(map(len, str(table.transposed()).splitlines())) < WIDEST
    assert max(map(len, str(table).splitlines())) <= WIDEST


def test_markdown_escapes_what_divides_cells():
    table = ResultTable(["method", "other class, |map|"], [["a|\nb", MIDDLE], ["c", BROKEN]])
    assert table.to_markdown().splitlines() == [
        "| method   | other class, \\|map\\|   |",
        "|----------|------------------------|",
        "| a\\| b    | 0.50 (0.40 to 0.60)    |",
        "| c        | RuleError              |",
    ]


@pytest.mark.parametrize("name", ["007", "1e5", "1_000", "nan", "None", "true", "-0"])
def test_a_name_is_not_read_as_a_number(name):
    table = ResultTable(["method", name], [[name, MIDDLE]])
    assert str(table).splitlines()[1].split()[0] == name
    assert table.to_markdown().splitlines()[2].split()[1] == name
    page = Cells(table._repr_html_())
    assert page.found["th"] == ["method", name, name]


class Cells(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found, self.tags = {}, []
        self.feed(page)
        self.found = {tag: [text.strip() for text in texts] for tag, texts in self.found.items()}

    def handle_starttag(self, tag, attrs):
        if tag == "br":
            self.found[self.tags[-1]].append("")
            return
        self.tags.append(tag)
        self.found.setdefault(tag, []).append("")

    def handle_data(self, data):
        self.found[self.tags[-1]][-1] += data


def test_a_notebook_gets_html_and_nothing_in_it_is_markup():
    failed = Failure("RuleError: no <b>rule</b>")
    table = ResultTable(
        ["method", "<b>"],
        [["<script>alert(1)</script>", MIDDLE], ["a & b", failed]],
        {"<b>": "<i>what</i>"},
        ["a & b <i>is</i> noted"],
    )
    page = Cells(table._repr_html_())
    assert page.found["th"] == ["method", "<b>", "<script>alert(1)</script>", "a & b"]
    assert page.found["td"] == ["0.50 (0.40 to 0.60)", "RuleError"]
    assert page.found["p"] == ["<b>: <i>what</i>", "a & b: RuleError: no <b>rule</b>", "a & b <i>is</i> noted"]
    assert len(page.found["tr"]) == 3
    assert not {"script", "b", "i"} & set(page.tags)


# ----------------------------------------------------------------------------------------- pandas


def test_pandas_gets_means():
    pytest.importorskip("pandas")
    frame = TABLE.to_pandas()
    assert list(frame.columns) == TABLE.header
    assert list(frame["method"]) == ["b", "Broken", "A", "dead"]
    first, _, last, dead = frame["image"]
    assert (first, last) == (0.5, 0.9)
    assert math.isnan(dead)
    numbers = ResultTable(["m", "n"], [["a", MIDDLE], ["b", 1.0]]).to_pandas()["n"]
    assert numbers.dtype == float
    assert numbers.mean() == 0.75


def test_pandas_gets_the_text_of_errors():
    pytest.importorskip("pandas")
    assert TABLE.to_pandas()["image"][1] == BROKEN.text


def test_without_pandas_only_to_pandas_fails(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert str(TABLE)
    assert TABLE.to_markdown()
    with pytest.raises(InputError, match="expected pandas to be installed, got no such package; pip install pandas"):
        TABLE.to_pandas()
