"""Runs a model under a table of rules, or without values: the only chapter that touches a model."""

from .coverage import Call, Coverage

__all__ = ["Call", "Coverage"]
