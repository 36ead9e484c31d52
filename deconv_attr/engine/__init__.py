"""Runs a model under a table of rules, or without values: the only chapter that touches a model."""
