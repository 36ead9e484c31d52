"""What is known of each PyTorch operation, and how a signal goes back through it: tables and pure functions."""

from .backward import Forward, Rule
from .kinds import Kind
from .operations import OPERATIONS, register_operation
from .switches import Switches
from .tables import DECONVNET, DESALINET, GRADIENT, GUIDED_BACKPROP, TABLES, Table

__all__ = [
    "DECONVNET",
    "DESALINET",
    "GRADIENT",
    "GUIDED_BACKPROP",
    "OPERATIONS",
    "TABLES",
    "Forward",
    "Kind",
    "Rule",
    "Switches",
    "Table",
    "register_operation",
]
