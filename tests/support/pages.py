"""What stands in the pages of Markdown beside the code."""

import re


def rows(page: str, section: str = "") -> list[list[str]]:
    """Return the cells of the tables of a page, from a heading to the next."""
    lines = page[page.index(section) :].partition("\n## ")[0].splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line.startswith("|")]
