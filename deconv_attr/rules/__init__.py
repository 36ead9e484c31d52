"""What is known of each PyTorch operation, and how a signal goes back through it: tables and pure functions."""

from .operations import Kind
from .switches import Switches
from .tables import DECONVNET, DESALINET, GRADIENT, GUIDED_BACKPROP, Rule, Table

__all__ = ["DECONVNET", "DESALINET", "GRADIENT", "GUIDED_BACKPROP", "Kind", "Rule", "Switches", "Table"]
