"""What stands in several places of a release agrees: the version has one home, and the changelog follows it."""

import re
from pathlib import Path

import deconv_attr

ROOT = Path(__file__).parents[1]


def test_the_newest_entry_of_the_changelog_is_of_this_version():
    headings = re.findall(r"^## \[(.+?)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    version, date = headings[0]
    assert version == deconv_attr.__version__
    assert re.fullmatch(r"unreleased|\d{4}-\d\d-\d\d", date)


def test_the_citation_file_repeats_no_version():
    keys = re.findall(r"^([\w-]+):", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"cff-version", "title", "preferred-citation"} <= {*keys}
    assert not {"version", "date-released"} & {*keys}
