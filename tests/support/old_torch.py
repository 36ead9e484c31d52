"""What torch 2.6, the oldest that is supported, lacks or says in other words. Tests of it are skipped there."""

import torch

_OPERATIONS = "tests/rules/test_operations.py::test_"

LACKING = {
    _OPERATIONS + "a_gate_sends_the_gradient[aminmax]": "no derivative",
    _OPERATIONS + "reads_is_what_the_gradients_reach[aminmax]": "no derivative",
    _OPERATIONS + "reads_is_what_the_gradients_reach[combinations]": "no kernel without values",
    _OPERATIONS + "reads_is_what_the_gradients_reach[standard_gamma]": "no kernel without values",
    _OPERATIONS + "a_dry_run_has_the_shape_and_the_type_of_the_output[combinations]": "no kernel without values",
    _OPERATIONS + "a_dry_run_has_the_shape_and_the_type_of_the_output[standard_gamma]": "no kernel without values",
    _OPERATIONS + "arguments_have_the_names_by_which_a_call_takes_them[lstsq]": "another result each time",
    _OPERATIONS + "what_is_random_changes_from_run_to_run_and_what_is_not_does_not[lstsq]": "another result each time",
    "tests/engine/test_state_dict.py::test_an_archive_of_torch_export_is_named_with_what_to_save": "does not load",
    **{f"tests/units/test_any_model.py::test_integers_are_refused[data{n}]": "other words" for n in range(3)},
}
"""Tests, and why torch 2.6 fails them."""


def why_skipped(test: str) -> str:
    """Return why a test is skipped with this torch; empty if it is not."""
    reason = LACKING.get(test) if torch.__version__.startswith("2.6.") else None
    return f"torch 2.6: {reason}" if reason else ""
