"""Modules that are imported late leave the filters of warnings as they are; one of them is imported in silence."""

import sys
import warnings

import pytest

from deconv_attr.evidence import late_imports

NOISY = """
import warnings
warnings.filterwarnings("ignore", "a filter of its own")
warnings.warn("advice")
"""


@pytest.fixture
def noisy(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "noisy.py").write_text(NOISY)
    yield "noisy"
    sys.modules.pop("noisy", None)


def test_the_filters_stay(noisy):
    before = list(warnings.filters)
    assert late_imports._imported(noisy, silently=True) is sys.modules["noisy"]
    assert list(warnings.filters) == before
    assert late_imports._imported(noisy) is sys.modules["noisy"]


def test_advice_is_given_where_it_is_not_silenced(noisy):
    before = list(warnings.filters)
    with pytest.raises(UserWarning, match="advice"):  # an error, in this suite
        late_imports._imported(noisy)
    assert list(warnings.filters) == before


def test_they_are_what_is_imported_by_name():
    import scipy.stats
    import tqdm.auto

    assert late_imports.scipy_stats() is scipy.stats
    assert late_imports.tqdm_auto() is tqdm.auto
