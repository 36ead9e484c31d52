"""One thread for each of several test processes, so that they do not fight for the cores; and a second way back."""

import os

import pytest
import torch



if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption("--autograds-own", action="store_true", help="run with autograd's own backward, nothing lean")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--autograds-own"):
        pass
        for item in items:
            if item.get_closest_marker("lean"):
                item.add_marker(pytest.mark.skip(reason="of what is lean"))
