"""The house: what the package's listing, its names and its imports promise."""

import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import deconv_attr

FOLDER = Path(deconv_attr.__file__).parent


def in_a_fresh_process(program):
    """The lines that a program prints in a process of its own."""
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return run.stdout.split()


def packages():
    yield deconv_attr
    for module in pkgutil.walk_packages(deconv_attr.__path__, "deconv_attr."):
        if module.ispkg:
            yield import_module(module.name)


def test_the_listing_has_ten_entries():
    entries = {path.name for path in FOLDER.iterdir() if not path.name.startswith("_")} - {"py.typed", "README.md"}
    assert entries == {
        *("errors.py", "rules", "engine", "attribution", "units", "visualize", "gallery", "evidence", "demo", "cli")
    }


def test_tests_mirror_the_chapters():
    chapters = {path.name for path in FOLDER.iterdir() if path.is_dir() and not path.name.startswith("_")}
    folders = {path.name for path in Path(__file__).parent.iterdir() if path.is_dir() and not path.name.startswith("_")}
    assert folders == {*chapters, "support", "examples", "benchmarks", "peers", "adversary"}


@pytest.mark.parametrize("package", list(packages()), ids=lambda package: package.__name__)
def test_no_name_is_a_function_and_a_module_at_once(package):
    modules = [name for _, name, _ in pkgutil.iter_modules(package.__path__) if name != "__main__"]
    for name in modules:
        import_module(f"{package.__name__}.{name}")
    assert [name for name in modules if not isinstance(getattr(package, name), ModuleType)] == []


@pytest.mark.parametrize("package", list(packages()), ids=lambda package: package.__name__)
def test_all_that_is_promised_is_there(package):
    assert [name for name in getattr(package, "__all__", []) if not hasattr(package, name)] == []


def test_the_package_alone_imports_nothing():
    program = (
        "import deconv_attr, sys; print(*[name for name in sys.modules if 'deconv_attr.' in name or name == 'torch'])"
    )
    assert in_a_fresh_process(program) == []


def test_the_rules_import_no_other_chapter():
    program = "import deconv_attr.rules, sys; print(*[name for name in sys.modules if name.startswith('deconv_attr.')])"
    loaded = {name.split(".")[1] for name in in_a_fresh_process(program)}
    assert loaded == {"errors", "rules"}


def test_the_captum_classes_import_neither_figures_nor_evidence():
    program = (
        "from deconv_attr import ZFDeconv, NeuronZFDeconv, LayerZFDeconv, coverage\n"
        "import sys; print(*[name for name in sys.modules if name.startswith('deconv_attr.')])"
    )
    loaded = {name.split(".")[1] for name in in_a_fresh_process(program)}
    assert loaded == {"errors", "rules", "engine", "attribution"}


def test_every_public_name_is_listed_and_imports():
    assert {*deconv_attr.__all__} <= {*dir(deconv_attr)}
    for name in deconv_attr.__all__:
        assert getattr(deconv_attr, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'ZFdeconv'"):
        _ = deconv_attr.ZFdeconv
