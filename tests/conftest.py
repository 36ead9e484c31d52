"""One thread for each of several test processes, so that they do not fight for the cores."""

import os

import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)
