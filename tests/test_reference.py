"""The API reference: every public name is documented, its signature can be read, and what the guides show runs."""

import ast
import inspect
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

import deconv_attr

ROOT = Path(__file__).parents[1]
CHAPTERS = ("errors", "rules", "engine", "attribution", "units", "visualize", "gallery", "evidence", "demo", "cli")
GUIDES = {"deconv_attr": deconv_attr, **{name: import_module(f"deconv_attr.{name}") for name in CHAPTERS}}
PUBLIC = {
    f"{chapter}.{name}": getattr(GUIDES[chapter], name) for chapter in CHAPTERS for name in GUIDES[chapter].__all__
}


def is_ours(thing):
    return getattr(thing, "__module__", "").split(".")[0] == "deconv_attr"


def members_of(kind):
    """The methods and properties that a class defines, and those of its private bases."""
    found = {}
    for base in reversed([base for base in kind.__mro__ if is_ours(base)]):
        found.update({name: member for name, member in vars(base).items() if not name.startswith("_")})
    return found


def callables():
    """Everything public that can be called: functions, classes and their methods."""
    for name, thing in PUBLIC.items():
        if not is_ours(thing) or not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        yield name, thing
        if inspect.isclass(thing):
            for member, value in members_of(thing).items():
                function = getattr(value, "__func__", value)
                if inspect.isfunction(inspect.unwrap(function)):
                    yield f"{name}.{member}", function


CALLABLES = dict(callables())
PROPERTIES = {
    f"{name}.{member}": value
    for name, thing in PUBLIC.items()
    if inspect.isclass(thing) and is_ours(thing)
    for member, value in members_of(thing).items()
    if hasattr(value, "fget") or type(value).__name__ == "cached_property"
}
CONSTANTS = [name for name, thing in PUBLIC.items() if not (inspect.isclass(thing) or inspect.isfunction(thing))]
CATCH_ALL = {
    "visualize.Figure.savefig": "matplotlib's own arguments",
    "attribution.ScoredModel.forward": "the arguments of the model inside",
    "attribution.ScoredModel.named_modules": "torch's own arguments",
}


@cache
def constant_docstrings(chapter):
    """The docstrings below the assignments of a chapter, by name."""
    found = {}
    home = Path(GUIDES[chapter].__file__)
    for file in home.parent.rglob("*.py") if home.name == "__init__.py" else [home]:
        body = ast.parse(file.read_text()).body
        for statement, after in pairwise(body):
            targets = getattr(statement, "targets", [getattr(statement, "target", None)])
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                found.update({target.id: after.value.value for target in targets if isinstance(target, ast.Name)})
    return found


def has_first_sentence(text):
    first = text.split("\n\n")[0]
    return "\n" not in first and first[0].isupper() and first.endswith(".")


@pytest.mark.parametrize("name", CALLABLES)
def test_everything_that_can_be_called_is_documented(name):
    assert has_first_sentence(inspect.getdoc(CALLABLES[name]) or "-")


@pytest.mark.parametrize("name", PROPERTIES)
def test_every_property_is_documented(name):
    assert has_first_sentence(inspect.getdoc(PROPERTIES[name]) or "-")


@pytest.mark.parametrize("name", CONSTANTS)
def test_every_constant_is_documented(name):
    chapter, _, constant = name.partition(".")
    assert has_first_sentence(constant_docstrings(chapter).get(constant, "-"))


def parameters_of(thing):
    """The parameters that are ours: not those of an enum, or of an exception or a figure that takes any."""
    if inspect.isclass(thing) and not any("__init__" in vars(base) for base in thing.__mro__ if is_ours(base)):
        return {}
    return inspect.signature(thing).parameters


@pytest.mark.parametrize("name", CALLABLES)
def test_every_parameter_is_named_in_the_docstring(name):
    """Of a class also in that of the base whose constructor it has."""
    thing = CALLABLES[name]
    homes = [base for base in thing.__mro__ if is_ours(base)] if inspect.isclass(thing) else [thing]
    text = "\n".join(inspect.getdoc(home) or "" for home in homes)
    unnamed = {each for each in parameters_of(thing) if not re.search(rf"\b{each}\b", text)}
    assert unnamed <= {"self", "cls"}


FUNCTIONS = {name: thing for name, thing in CALLABLES.items() if not inspect.isclass(thing)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_a_function_returns_is_described(name):
    """In a section, or in its first sentence."""
    text = inspect.getdoc(FUNCTIONS[name])
    returned = inspect.signature(FUNCTIONS[name]).return_annotation
    in_first = re.match(r"(Return|Yield|Whether)\b|.* return ", text.splitlines()[0])
    assert returned in ("None", inspect.Signature.empty) or in_first or "\nReturns\n" in text or "\nYields\n" in text


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_that_a_function_raises_itself_are_described(name):
    function = inspect.unwrap(FUNCTIONS[name])
    raises = is_ours(function) and re.search(r"^ +raise \w", inspect.getsource(function), re.MULTILINE)
    assert not raises or "\nRaises\n" in inspect.getdoc(function)


@pytest.mark.parametrize("name", CALLABLES)
def test_every_signature_can_be_read(name):
    signature = ", ".join(map(str, parameters_of(CALLABLES[name]).values()))
    assert "mappingproxy" not in signature
    assert " at 0x" not in signature
    assert str(ROOT) not in signature
    assert ("**" in signature) == (name in CATCH_ALL)


@pytest.mark.parametrize("name", CALLABLES)
def test_no_source_is_lost_among_the_parameters(name):
    """A line below a section belongs to that section, so a source behind one is a section, too."""
    text = inspect.getdoc(CALLABLES[name])
    assert "\n---" not in text.partition("\nSource: ")[0] or "\nSource: " not in text


# --------------------------------------------------------------------------------------------------- guides


def blocks():
    for chapter, module in GUIDES.items():
        for number, block in enumerate(re.findall(r"^```python\n(.*?)^```$", module.__doc__, re.DOTALL | re.MULTILINE)):
            yield pytest.param(block, id=f"{chapter}-{number}")


@pytest.mark.parametrize("block", list(blocks()))
def test_the_code_of_the_guides_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "guide", "exec"), {})


@pytest.mark.parametrize("name", sorted({*GUIDES} - {"engine", "errors", "cli"}))
def test_a_chapter_for_users_has_an_example(name):
    assert "```python" in GUIDES[name].__doc__


def test_the_front_page_names_every_chapter():
    assert {*re.findall(r"^\| `deconv_attr\.(\w+)`", deconv_attr.__doc__, re.MULTILINE)} == {*CHAPTERS}


@pytest.mark.parametrize("guide", GUIDES)
def test_the_classes_and_constants_that_a_guide_names_are_public(guide):
    known = {name.partition(".")[2] for name in PUBLIC}
    text = re.sub(r"^```.*?^```$", "", GUIDES[guide].__doc__, flags=re.DOTALL | re.MULTILINE)
    named = set(re.findall(r"`([A-Z]\w+)[`.(]", text))
    assert named - known <= {"NoiseTunnel", "Saliency"}  # Captum's


# ---------------------------------------------------------------------------------------------------- pages


class Page(HTMLParser):
    """The ids of a page, its links, and its words."""

    def __init__(self, file):
        super().__init__()
        self.ids, self.links, self.words = set(), [], []
        self.feed(file.read_text())

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids.add(given.get("id"))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])

    def handle_data(self, data):
        self.words.append(data)


@pytest.mark.skipif(find_spec("pdoc") is None, reason="pdoc is not installed: pip install -e '.[docs]'")
def test_the_reference_is_built_without_a_word_and_its_links_lead_somewhere(tmp_path):
    command = [sys.executable, "-W", "error", str(ROOT / ".ci/reference/build.py"), str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    pages = {file: Page(file) for file in tmp_path.rglob("*.html") if file.name != "index.html"}
    assert {str(file.relative_to(tmp_path)) for file in pages} == {
        "deconv_attr.html",
        *(f"deconv_attr/{chapter}.html" for chapter in CHAPTERS),
    }
    for file, page in pages.items():
        for link in page.links:
            path, _, anchor = link.partition("#")
            if "://" not in path:
                target = (file.parent / path).resolve() if path else file
                assert anchor in {"", *pages[target].ids}, (file.name, link)
        text = "".join(page.words)
        for broken in ("mappingproxy", " at 0x", ":class:", ":func:", "====", "|---|", str(ROOT)):
            assert broken not in text, (file.name, broken)
    for name in PUBLIC:
        chapter, _, public = name.partition(".")
        assert public in pages[tmp_path / f"deconv_attr/{chapter}.html"].ids
