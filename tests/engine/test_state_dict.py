"""Checkpoints as training scripts leave them, and what is no checkpoint."""

import argparse
import builtins
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from deconv_attr.engine.state_dict import load_into, read_state_dict
from deconv_attr.engine.weights_file import read_weights
from deconv_attr.errors import InputError


def net(seed):
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    return nn.Sequential(layers, nn.ReLU()).eval()


TRAINED = net(1)
STATE = TRAINED.state_dict()
OTHER = net(2).state_dict()
MOMENTS = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}


def under(prefix, state=STATE):
    return {prefix + name: value for name, value in state.items()}


def holds_exactly(model, state=STATE):
    loaded = model.state_dict()
    return len(loaded) == len(state) and all(
        torch.equal(one, other) for one, other in zip(loaded.values(), state.values(), strict=True)
    )


FILES = {  # what is in the file; what is said of it
    "bare": (STATE, ""),
    "state_dict": ({"state_dict": STATE, "epoch": 3, "optimizer": MOMENTS}, "its 'state_dict'"),
    "model": ({"model": STATE, "best": torch.tensor(0.9), "optimizer": MOMENTS}, "its 'model'"),
    "net": ({"net": STATE, "acc": 93.1}, "its 'net'"),
    "model_ema": ({"model_ema": STATE}, "its 'model_ema'"),
    "any name, if it is one": ({"generator": STATE, "epoch": 3}, "its 'generator'"),
    "first model, then its average": (
        {"model_ema": OTHER, "optimizer": MOMENTS, "model": STATE},
        "its 'model' (not its 'model_ema')",
    ),
    "nested": ({"model": {"state_dict": STATE}}, "its 'model', its 'state_dict'"),
    "torchvision's reference": (
        {"model": STATE, "args": argparse.Namespace(lr=0.1, out=Path("runs")), "epoch": 3, "optimizer": MOMENTS},
        "its 'model'",
    ),
    "numbers of numpy": (
        {"net": STATE, "best": np.float64(0.9), "seen": np.int64(5), "curve": np.ones(3, dtype=np.float32)},
        "its 'net'",
    ),
}


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize(("content", "words"), FILES.values(), ids=FILES)
def test_the_weights_in_a_file_are_found(content, words, old, tmp_path):
    path = str(tmp_path / "weights.pt")
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    state, said = read_weights(path)
    assert said == words
    model = net(0)
    assert load_into(model, state, path, "net") == ""
    assert holds_exactly(model)


def lightning():
    """What a LightningModule that holds a model and a loss with weights saves."""
    return {**under("model."), "criterion.weight": torch.ones(2)}


NAMES = {  # the names in the file; what is said of it
    "DataParallel": (nn.DataParallel(TRAINED).state_dict(), "without 'module.' before its names"),
    "Lightning": (under("model."), "without 'model.' before its names"),
    "net": (under("net."), "without 'net.' before its names"),
    "torch.compile": (torch.compile(TRAINED).state_dict(), "without the wrappers in its names"),
    "both, in this order": (under("model.module."), "without 'model.module.' before its names"),
    "compiled in Lightning": (
        under("model._orig_mod."),
        "without 'model.' before its names, without the wrappers in its names",
    ),
    "compiled in part": (
        {name.replace("0.", "0._orig_mod.", 1): value for name, value in STATE.items()},
        "without the wrappers in its names",
    ),
    "any attribute that holds all": (under("encoder."), "without 'encoder.' before its names"),
    "beside a loss's weights": (lightning(), "without 'model.' before its names, without its criterion.weight"),
    "an average": (
        AveragedModel(TRAINED).state_dict(),
        "without 'module.' before its names, without its n_averaged",
    ),
    "without the counters": (
        {name: value for name, value in under("module.").items() if "num_batches" not in name},
        "without 'module.' before its names",
    ),
}


@pytest.mark.parametrize(("state", "words"), NAMES.values(), ids=NAMES)
def test_names_that_a_wrapper_made_different_are_matched(state, words):
    model = net(0)
    assert load_into(model, state, "w.pt", "net") == words
    assert holds_exactly(model)


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile], ids=["DataParallel", "torch.compile"])
@pytest.mark.parametrize("state", [STATE, under("module."), under("_orig_mod.")], ids=["bare", "module.", "_orig_mod."])
def test_a_wrapped_model_is_given_the_weights_of_the_bare_one(wrap, state):
    model = wrap(net(0))
    load_into(model, state, "w.pt", "net")
    assert holds_exactly(model)


def test_names_of_the_model_s_own_that_look_like_a_wrapper_s_are_its_names():
    model = nn.ModuleDict({"model": nn.Linear(2, 2), "net": nn.Linear(2, 2)})
    state = {name: value + 1 for name, value in model.state_dict().items()}
    assert load_into(model, state, "w.pt", "net") == ""
    assert holds_exactly(model, state)


MISFITS = {  # what is in the file; the part of it that the error names
    "one of two parts that fit": (
        nn.Linear(2, 3),
        nn.Sequential(nn.Linear(2, 3), nn.Linear(2, 3)).state_dict(),
        "2 missing (weight, bias); 4 unexpected (0.weight, 0.bias, 1.weight, ...)",
    ),
    "a part of Lightning's model": (
        TRAINED,
        {name: value for name, value in lightning().items() if "bias" not in name},
        "do not fit net: 3 missing (0.0.bias, 0.1.bias, 0.4.bias); 1 unexpected (criterion.weight)",
    ),
    "two that a wrapper's name tells apart": (
        nn.ModuleDict({"a": nn.Linear(2, 2)}),
        {f"{prefix}a.{name}": torch.ones(2) for prefix in ("net.", "net._orig_mod.") for name in ("weight", "bias")},
        "2 missing (a.weight, a.bias); 4 unexpected (net.a.weight, ",
    ),
    "numbers for names": (nn.Linear(2, 2), {0: torch.ones(2, 2), 1: torch.ones(2)}, "2 missing (weight, bias)"),
    "an entry too many under the prefix": (TRAINED, {**under("module."), "module.9.x": torch.ones(1)}, "(9.x)"),
    "an entry too few under the prefix": (
        TRAINED,
        {name: value for name, value in under("module.").items() if name != "module.0.0.bias"},
        "do not fit net: 1 missing (0.0.bias)",
    ),
    "another shape under the prefix": (
        TRAINED,
        under("module.") | {"module.0.4.bias": torch.ones(3)},
        "1 of another shape (0.4.bias: expected (2,), got (3,))",
    ),
}


@pytest.mark.parametrize(("model", "state", "message"), MISFITS.values(), ids=MISFITS)
def test_weights_that_do_not_fit_under_any_prefix_are_named_and_change_nothing(model, state, message):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_into(model, state, "w.pt", "net")
    assert str(caught.value).startswith("the weights in w.pt do not fit net: ")
    assert message in str(caught.value)
    assert holds_exactly(model, before)


def test_of_several_state_dicts_under_unknown_names_none_is_guessed(tmp_path):
    torch.save({"generator": STATE, "discriminator": OTHER}, tmp_path / "gan.pt")
    with pytest.raises(InputError, match=r"expected one state dict in .*gan\.pt, got 'generator', 'discriminator'; "):
        read_state_dict(str(tmp_path / "gan.pt"))


class Settings:
    """A class of the user's own beside the weights."""


class Code:
    """What runs a program when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('the file ran a program')",))


SAVES = r"torch\.save\(model\.state_dict\(\), FILE\)"


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TRAINED, rf"got a whole pickled model \(torch\.nn\.modules\.container\.Sequential\), .* {SAVES}"),
        ({"model": TRAINED}, rf"got a whole pickled model \(torch\.nn\.modules\.container\.Sequential\), .* {SAVES}"),
        ({"model": STATE, "cfg": Settings()}, rf"got an object of [\w.]+Settings; save the state_dict alone: {SAVES}"),
        ({"model": STATE, "code": Code()}, rf"got an object of [\w.]*exec; save the state_dict alone: {SAVES}"),
    ],
    ids=["a model", "a model in a dict", "settings", "a program"],
)
def test_objects_that_are_no_tensors_are_refused_with_what_to_save(content, message, old, tmp_path):
    torch.save(content, tmp_path / "whole.pt", _use_new_zipfile_serialization=not old)
    with pytest.raises(InputError, match=message) as caught:
        read_state_dict(str(tmp_path / "whole.pt"))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_torchscript_archive_is_named_with_what_to_save(tmp_path):
    path = str(tmp_path / "script.pt")
    torch.jit.save(torch.jit.trace(TRAINED, torch.ones(1, 3, 8, 8)), path)
    with pytest.raises(InputError, match=r"a TorchScript archive; save its state_dict: torch\.save\(torch\.jit\.load"):
        read_state_dict(path)
    torch.save(torch.jit.load(path).state_dict(), path)  # as the sentence says
    model = net(0)
    load_into(model, read_state_dict(path), path, "net")
    assert holds_exactly(model)


def test_an_archive_of_torch_export_as_torch_2_6_wrote_it_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "program.pt2", "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
    with pytest.raises(InputError, match=r"got an archive of torch\.export; save its state_dict: "):
        read_state_dict(str(tmp_path / "program.pt2"))


def test_an_archive_of_torch_export_is_named_with_what_to_save(tmp_path):
    path = str(tmp_path / "program.pt2")
    torch.export.save(torch.export.export(TRAINED, (torch.ones(1, 3, 8, 8),)), path)
    with pytest.raises(InputError, match=r"got an archive of torch\.export; save its state_dict: "):
        read_state_dict(path)
    torch.save(torch.export.load(path).state_dict, path)  # as the sentence says
    model = net(0)
    load_into(model, read_state_dict(path), path, "net")
    assert holds_exactly(model)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_safetensors_are_read(prefix, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    path = str(tmp_path / "weights.safetensors")
    safetensors.save_file({name: value.clone() for name, value in under(prefix).items()}, path)
    model = net(0)
    load_into(model, read_state_dict(path), path, "net")
    assert all(torch.equal(value, STATE[name]) for name, value in model.state_dict().items())


def test_what_is_no_safetensors_is_one_sentence(tmp_path):
    pytest.importorskip("safetensors")
    torch.save(STATE, tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match=r"expected a file of safetensors at .*, got SafetensorError: ") as caught:
        read_state_dict(str(tmp_path / "weights.safetensors"))
    assert "\n" not in str(caught.value)


def test_without_safetensors_it_is_said_how_to_have_it(tmp_path, monkeypatch):
    (tmp_path / "weights.safetensors").write_bytes(b"")
    real = builtins.__import__

    def missing(name, *given, **options):
        if name.startswith("safetensors"):
            raise ModuleNotFoundError("No module named 'safetensors'")
        return real(name, *given, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=r"expected the package safetensors to read .*; pip install safetensors"):
        read_state_dict(str(tmp_path / "weights.safetensors"))


def test_reading_leaves_torch_s_list_of_trusted_classes_as_it_was(tmp_path):
    torch.save({"net": STATE, "args": argparse.Namespace(lr=0.1)}, tmp_path / "w.pt")
    before = {*torch.serialization.get_safe_globals()}
    read_state_dict(str(tmp_path / "w.pt"))
    assert {*torch.serialization.get_safe_globals()} == before
    with pytest.raises(pickle.UnpicklingError, match=r"argparse\.Namespace"):
        torch.load(tmp_path / "w.pt", weights_only=True)
