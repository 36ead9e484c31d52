"""The tables of rules: nobody changes them, and they join with dicts as dicts do."""

import pytest

from deconv_attr import TABLES, Kind
from deconv_attr.rules import RECTIFY

OTHER = {Kind.LINEAR: RECTIFY, "hardshrink": RECTIFY}
each_table = pytest.mark.parametrize("table", TABLES.values(), ids=repr)


@each_table
def test_a_table_joins_with_a_dict_on_either_side(table):
    assert table | OTHER == {**table, **OTHER}
    assert OTHER | table == {**OTHER, **table}


@each_table
def test_a_copy_of_a_table_is_the_callers_own(table):
    before = dict(table)
    own = table.copy()
    assert own == before
    own[Kind.LINEAR] = None
    assert table == before


@each_table
def test_a_table_cannot_be_changed(table):
    with pytest.raises(TypeError, match="does not support item assignment"):
        table[Kind.LINEAR] = RECTIFY
