"""One thread and 2 GB for each of several test processes, so that they share the machine; and all tests packed."""

import gc
import os
import sys
from contextlib import suppress
from ctypes import CDLL

import pytest
import torch
from old_torch import why_skipped

from deconv_attr.engine import forward_pass, saved_tensors

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start

MOST_MEMORY = 2000  # MB of a test process
peaks = {}  # in MB, of the test processes that have ended


def pytest_addoption(parser):
    parser.addoption("--pack-everywhere", action="store_true", help="pack small tensors, too, as else only large ones")


def pytest_configure(config):
    if config.getoption("--pack-everywhere"):
        forward_pass.LARGE = saved_tensors._CHANNELS_LAST = 0


def pytest_runtest_setup(item):
    if reason := why_skipped(item.nodeid):
        pytest.skip(reason)


def pytest_collection_finish():
    """Let the garbage collector pass over what collecting made: else it seldom runs in full, and networks pile up."""
    gc.freeze()
    gc.collect()


def pytest_sessionfinish(session):
    gc.unfreeze()
    if hasattr(session.config, "workeroutput") and sys.platform == "linux":
        from resource import RUSAGE_SELF, getrusage

        session.config.workeroutput["peak"] = getrusage(RUSAGE_SELF).ru_maxrss * 1024 // 10**6
    if any(peak > MOST_MEMORY for peak in peaks.values()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    peaks[node.gateway.id] = getattr(node, "workeroutput", {}).get("peak", 0)


def pytest_terminal_summary(terminalreporter):
    for worker, peak in peaks.items():
        terminalreporter.write_line(f"{worker} took {peak} of at most {MOST_MEMORY} MB", red=peak > MOST_MEMORY)


@pytest.fixture(scope="module", autouse=True)
def freed_memory_is_given_back():
    """Give freed memory back to the system, which glibc keeps in pieces; else it adds up over the modules of tests."""
    yield
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):  # where there is no glibc
        CDLL(None).malloc_trim(0)


@pytest.fixture
def pack_everywhere(monkeypatch):
    """Pack what autograd keeps of small tensors, too."""
    monkeypatch.setattr(forward_pass, "LARGE", 0)
    monkeypatch.setattr(saved_tensors, "_CHANNELS_LAST", 0)


@pytest.fixture
def autograds_own(monkeypatch):
    """Return a function that runs another with nothing packed."""

    def run(function):
        with monkeypatch.context() as patch:
            init = forward_pass.ForwardPass.__init__

            def plain(self, *args, **kwargs):
                init(self, *args, **{**kwargs, "narrow": False, "pack": False})

            patch.setattr(forward_pass.ForwardPass, "__init__", plain)
            return function()

    return run
