"""The notebook runs, and what is kept in it is what comes out."""

import re
from pathlib import Path

import pytest

pytest.importorskip("nbclient", reason="needs nbclient and ipykernel: pip install nbclient ipykernel")
pytest.importorskip("ipykernel", reason="needs nbclient and ipykernel: pip install nbclient ipykernel")

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "story.ipynb"


def shown(notebook):
    """What stands below each cell: how printed lines begin, for numbers differ by machine, and kinds of pictures."""
    found = []
    for cell in notebook.cells:
        outputs = [each for each in cell.get("outputs", []) if each.get("name") != "stderr"]
        printed = "".join(each["text"] for each in outputs if each["output_type"] == "stream")
        pictures = [sorted(each["data"]) for each in outputs if each["output_type"] == "execute_result"]
        found.append(([re.split(r"[\d.]", line)[0] for line in printed.splitlines()], pictures))
    return found


def test_the_notebook_runs_and_shows_what_is_kept_in_it(tmp_path, monkeypatch):
    # Threads that wait for a core of another test's spin: five minutes instead of one.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    kept = nbformat.read(NOTEBOOK, as_version=4)
    again = nbformat.from_dict(kept)
    for cell in again.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    NotebookClient(again, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert shown(again) == shown(kept)
    assert [pictures for _, pictures in shown(kept) if pictures] == [[["image/png", "text/plain"]]] * 4
    assert not list(tmp_path.iterdir())


def test_the_notebook_says_nothing_of_the_machine_it_was_made_on():
    text = NOTEBOOK.read_text()
    assert not re.search(r"/(opt|home|root|tmp|work|usr)/", text)
