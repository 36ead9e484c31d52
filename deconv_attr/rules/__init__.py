"""What is known of each PyTorch operation, and how a signal goes back through it: tables and pure functions."""

from .backward import ADJOINT, GRADIENT_RULE, GUIDE, PASS_THROUGH, RECTIFY, SCALE, Forward, Rule, unpooling
from .kinds import Kind
from .operations import OPERATIONS, register_operation
from .switches import Switches
from .tables import DECONVNET, DESALINET, GRADIENT, GUIDED_BACKPROP, TABLES, Table

__all__ = [
    "ADJOINT",
    "DECONVNET",
    "DESALINET",
    "GRADIENT",
    "GRADIENT_RULE",
    "GUIDE",
    "GUIDED_BACKPROP",
    "OPERATIONS",
    "PASS_THROUGH",
    "RECTIFY",
    "SCALE",
    "TABLES",
    "Forward",
    "Kind",
    "Rule",
    "Switches",
    "Table",
    "register_operation",
    "unpooling",
]
