"""One thread for each of several test processes, so that they do not fight for the cores; and all tests packed."""

import gc
import os

import pytest
import torch

from deconv_attr.engine import forward_pass, saved_tensors

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start


def pytest_addoption(parser):
    parser.addoption("--pack-everywhere", action="store_true", help="pack small tensors, too, as else only large ones")


def pytest_configure(config):
    if config.getoption("--pack-everywhere"):
        forward_pass.LARGE = saved_tensors._CHANNELS_LAST = 0


def pytest_collection_finish():
    """Let the garbage collector pass over what collecting made: else it seldom runs in full, and networks pile up."""
    gc.freeze()
    gc.collect()


def pytest_sessionfinish():
    gc.unfreeze()


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
