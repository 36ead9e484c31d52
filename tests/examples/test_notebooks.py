"""The notebooks run, and what is kept in them is what comes out; as pages they have descriptions and whole tables."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from trained import WEIGHTS, torch_home

pytest.importorskip("nbclient", reason="needs nbclient and ipykernel: pip install nbclient ipykernel")
pytest.importorskip("ipykernel", reason="needs nbclient and ipykernel: pip install nbclient ipykernel")

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
LARGEST = 1.5e6  # bytes
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def outputs(notebook):
    return [each for cell in notebook.cells for each in cell.get("outputs", [])]


def words(text):
    """A text without its numbers, which differ by machine in their last digits."""
    return re.sub(r"[-+]?[\d.,]*\d(e[-+]\d+)?%?", "#", text)


def shown(notebook):
    """What stands below each cell: printed lines without their numbers, kinds of pictures, tables, descriptions."""
    found = []
    for cell in notebook.cells:
        own = [each for each in cell.get("outputs", []) if each.get("name") != "stderr"]
        printed = [line.split() for line in words("".join(each.get("text", "") for each in own)).splitlines()]
        rich = [each for each in own if "data" in each]
        found.append((printed, [sorted(each["data"]) for each in rich], [page(each) for each in rich], alts(own)))
    return found


def page(output):
    return words(output["data"].get("text/html", ""))


def alts(some):
    return [each["metadata"]["image/png"]["alt"] for each in some if "image/png" in each.get("data", {})]


def executed(path, folder):
    """The notebook after a run in a folder with the photographs alone."""
    (folder / "photographs").symlink_to(EXAMPLES / "photographs")
    again = read(path)
    for cell in again.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    NotebookClient(again, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    return again


def test_the_listing_tells_the_order():
    assert [path.name[:2] for path in NOTEBOOKS] == ["1_", "2_", "3_", "4_"]


@pytest.mark.slow
@every_notebook
def test_a_notebook_runs_and_shows_what_is_kept_in_it(path, tmp_path, monkeypatch):
    # Threads that wait for a core of another test's spin: five minutes instead of one.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TORCH_HOME", str(torch_home(tmp_path / "torch")))
    folder = tmp_path / "here"
    folder.mkdir()
    found, kept = shown(executed(path, folder)), shown(read(path))
    if "squeezenet" in path.read_text() and not WEIGHTS.is_file():  # random weights know no cat
        found, kept = ([kinds for _, kinds, _, _ in each] for each in (found, kept))
    assert found == kept
    assert [file.name for file in folder.iterdir()] == ["photographs"]


@every_notebook
def test_a_notebook_is_kept_whole_and_small(path):
    notebook = read(path)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, 1 + len(cells)))
    assert not [each for each in outputs(notebook) if each.output_type == "error" or each.get("name") == "stderr"]
    assert path.stat().st_size < LARGEST


@every_notebook
def test_a_notebook_says_nothing_of_the_machine_it_was_made_on(path):
    assert not re.search(r"/(opt|home|root|tmp|work|usr|Users)/", path.read_text())


@every_notebook
def test_a_notebook_links_to_what_is_there(path):
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (EXAMPLES / target).exists(), target


def test_without_internet_one_sentence_says_what_to_get_and_where_to_put_it(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    (path,) = EXAMPLES.glob("2_*.ipynb")
    imports, loading, *_ = (cell.source for cell in read(path).cells if cell.cell_type == "code")
    names = {}
    exec("\n".join(line for line in imports.splitlines() if not line.startswith(("%", "warnings."))), names)
    with pytest.raises(OSError, match=rf"^cannot download https://\S+\.pth \(no route\): .* {tmp_path}/hub/check\w+$"):
        exec(loading, names)


# ------------------------------------------------------------------------------------------ as pages


class Elements(HTMLParser):
    """The descriptions of a page's images, the lengths of the rows of its tables, and its text outside of code."""

    def __init__(self, text):
        super().__init__()
        self.images, self.tables, self.texts, self._inside = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes).get("alt"))
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append(0)
        elif tag in ("td", "th"):
            self.tables[-1][-1] += 1
        if tag in ("pre", "code", "style", "script"):
            self._inside.append(tag)

    def handle_endtag(self, tag):
        if tag in ("pre", "code", "style", "script"):
            assert self._inside.pop() == tag

    def handle_data(self, data):
        if not self._inside:
            self.texts.append(data)


@pytest.fixture(scope="module")
def exporter():
    nbconvert = pytest.importorskip("nbconvert", reason="needs nbconvert: pip install nbconvert")
    return nbconvert.HTMLExporter(template_name="classic")  # nbviewer's; the newer one drops descriptions


@every_notebook
def test_every_image_of_the_page_has_a_description_of_its_own(path, exporter):
    elements = Elements(exporter.from_filename(str(path))[0])
    assert elements.images == alts(outputs(read(path)))
    assert len({*elements.images}) == len(elements.images) > 0
    assert all(len(each) > 40 for each in elements.images)


@every_notebook
def test_tables_of_the_page_are_tables(path, exporter):
    elements = Elements(exporter.from_filename(str(path))[0])
    tables = [each for each in outputs(read(path)) if "text/html" in each.get("data", {})]
    written = [cell for cell in read(path).cells if cell.cell_type == "markdown" and "|---" in cell.source]
    assert len(elements.tables) == len(tables) + len(written) > 0
    for rows in elements.tables:
        assert len(rows) > 1
        assert len({*rows}) == 1, rows
    assert not [text for text in elements.texts if re.search(r"\|\s*-{3}|\S \| \S", text)]
