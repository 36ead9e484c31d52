"""The command among models that print, exit and raise anything, on disks that are full, without a home or a display."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deconv_attr.cli import main
from deconv_attr.visualize import files

NETS = """
import sys
import torch
from torch import nn

class Failure(BaseException):
    "One that is no Exception."

class Mute(Exception):
    def __str__(self): raise RuntimeError("no words")

ERRORS = {
    "exits": SystemExit(0), "exits_with_a_word": SystemExit("bye"), "fails": Failure("at all"), "mute": Mute(),
    "lines": RuntimeError("first\\nsecond \\x1b[2J"), "long": ValueError("x" * 10**6), "deep": RecursionError("deep"),
    "memory": MemoryError(), "stops": StopIteration(), "generator": GeneratorExit(),
    "reads": FileNotFoundError(2, "No", "a"),
    "unicode": ValueError("caf\\udce9"), "steers": ValueError("\\x1b[31mred\\x07\\r"),
}

class Net(nn.Module):
    def __init__(self, error=None):
        super().__init__()
        self.conv, self.relu, self.linear = nn.Conv2d(3, 4, 5, 4), nn.ReLU(), nn.Linear(4, 3)
        self.error = error

    def forward(self, x):
        if self.error is not None and x.device.type != "meta":
            raise self.error
        return self.linear(self.relu(self.conv(x)).mean((2, 3)))

def plain(): return Net()
for name, error in ERRORS.items():
    globals()["forward_" + name] = lambda error=error: Net(error)
def interrupted(): return Net(KeyboardInterrupt())

class Prints(Net):
    def forward(self, x):
        print("caf\\u00e9 \\u732b \\udce9")
        return super().forward(x)
def prints(): return Prints()

class Closes(Net):
    def forward(self, x):
        sys.stdout.close()
        return super().forward(x)
def closes(): return Closes()
def made_exits(): sys.exit(0)
def made_fails(): raise Failure("at all")
"""
ERRORS = {
    "exits": "SystemExit: 0",
    "exits_with_a_word": "SystemExit: bye",
    "fails": "Failure: at all",
    "mute": "Mute",
    "lines": "RuntimeError: first",
    "long": f"ValueError: {'x' * 500} ...",
    "deep": "RecursionError: deep",
    "memory": "MemoryError",
    "stops": "StopIteration",
    "generator": "GeneratorExit",
    "reads": "FileNotFoundError: [Errno 2] No: 'a'",
    "unicode": r"ValueError: caf\xe9",
    "steers": r"ValueError: \x1b[31mred\x07",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with nets, and a folder of photographs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hostile_nets.py").write_text(NETS)
    (tmp_path / "exits.py").write_text("import sys; sys.exit(0)")
    (tmp_path / "fails.py").write_text("class E(BaseException): pass\nraise E('at all')")
    (tmp_path / "photographs").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for name in ("a.png", "photographs/b.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    yield tmp_path
    for name in ("hostile_nets", "exits", "fails"):
        sys.modules.pop(name, None)


COMMANDS = {
    "layers": "layers --size 24 --model hostile_nets:{}",
    "compare": "compare --size 24 --image a.png --model hostile_nets:{}",
    "page": "compare --checks zero-maps --size 24 --image a.png --model hostile_nets:{}",
    "project": "project --size 24 --image a.png --layer relu --map 0 --model hostile_nets:{}",
    "gallery": "gallery --size 24 --images photographs --model hostile_nets:{}",
}


def files_of(folder):
    return sorted(str(path) for path in folder.rglob("*") if "__pycache__" not in path.parts and path.is_file())


def one_sentence(capsys, command, statuses=(1, 2)):
    """Run a command that fails, and return what it says."""
    before = files_of(Path())
    status = main(command.split() if isinstance(command, str) else command)
    printed = capsys.readouterr()
    assert status in statuses
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert printed.err[:-1].isprintable()
    assert "wrote" not in printed.out
    assert files_of(Path()) == before
    return status, printed.err[len("error: ") : -1]


# Models


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("command", ["compare", "project", "gallery"])
def test_whatever_a_forward_pass_raises_is_one_sentence(here, capsys, command, error):
    status, said = one_sentence(capsys, COMMANDS[command].format(f"forward_{error}"))
    assert ERRORS[error] in said
    if status == 1:
        assert said.endswith(", in forward)")
        assert "hostile_nets.py, line " in said


@pytest.mark.parametrize(
    "model", ["hostile_nets:made_exits", "hostile_nets:made_fails", "exits:net", "fails:net", "hostile_nets:forward"]
)
def test_whatever_a_factory_or_its_module_does_is_one_sentence(here, capsys, model):
    one_sentence(capsys, f"layers --model {model}")


@pytest.mark.parametrize("command", ["compare", "project", "gallery"])
def test_ctrl_c_is_130_and_silent(here, capsys, command):
    before = files_of(here)
    assert main(COMMANDS[command].format("interrupted").split()) == 130
    assert capsys.readouterr().err == ""
    assert files_of(here) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_model_may_print_what_the_terminal_cannot_show(here, capfd, monkeypatch, command):
    with open(here / "printed.txt", "w", encoding="ascii") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        assert main(COMMANDS[command].format("prints").split()) == 0
        assert terminal.errors == "strict"  # as it was
    assert "caf\\xe9 \\u732b \\udce9\n" in (here / "printed.txt").read_text() or command == "layers"


def test_a_model_may_close_stdout(here, capsys, monkeypatch):
    with open(here / "printed.txt", "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        assert main(COMMANDS["compare"].format("closes").split()) == 1
    assert capsys.readouterr().err == "error: cannot write to stdout: I/O operation on closed file.\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_what_was_said_and_not_written_is_an_error(here, capsys, monkeypatch):
    with open("/dev/full", "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        assert main(COMMANDS["layers"].format("plain").split()) == 1
    assert capsys.readouterr().err == "error: cannot write to stdout: No space left on device\n"


def test_the_whole_traceback_is_shown_on_request(here, capsys):
    assert main(["--traceback", *COMMANDS["compare"].format("forward_fails").split()]) == 1
    said = capsys.readouterr().err
    assert "Traceback (most recent call last)" in said
    assert "raise self.error" in said
    assert main(["--traceback", *COMMANDS["compare"].format("forward_lines").split()]) == 2  # an error that we name
    said = capsys.readouterr().err
    assert "raise self.error" in said
    assert said.splitlines()[-1].startswith("error: hostile_nets:forward_lines on an input")


# Places


WRITING = {
    "picture": ("compare", "out.png"),
    "page": ("page", "out.html"),
    "vector": ("project", "out.pdf"),
    "gallery": ("gallery", "out"),
}


@pytest.mark.parametrize("kind", WRITING)
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO], ids=errno.errorcode.get)
def test_a_disk_that_fails_midway_is_one_sentence_and_leaves_the_old_file(here, capsys, monkeypatch, kind, error):
    """Every write fails after its first bytes."""
    command, output = WRITING[kind]
    if kind != "gallery":
        (here / output).write_text("old")
    opened = Path.open

    class Failing:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, content):
            self.file.write(bytes(content)[:10])
            raise OSError(error, os.strerror(error))

    def open_failing(path, mode="r", *given, **options):
        file = opened(path, mode, *given, **options)
        return Failing(file) if path.name.endswith(".unfinished") else file

    monkeypatch.setattr(Path, "open", open_failing)
    if kind == "gallery":
        assert main([*COMMANDS[command].format("plain").split(), "--output", output]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert not [path for path in files_of(here) if path.endswith((".html", ".unfinished"))]
    else:
        _, said = one_sentence(capsys, [*COMMANDS[command].format("plain").split(), "--output", output])
        assert (here / output).read_text() == "old"
    assert f"cannot write {output}" in said
    assert os.strerror(error) in said


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder in which nobody can write")
@pytest.mark.parametrize("kind", WRITING)
def test_a_place_where_nothing_can_be_written_is_told_before_any_work(here, capsys, kind, monkeypatch):
    command, output = WRITING[kind]
    arguments = [*COMMANDS[command].format("forward_fails").split(), "--output", f"/proc/self/{output}"]
    _, said = one_sentence(capsys, arguments, statuses=[2])
    assert said.startswith(f"cannot write /proc/self/{output}: ")


def test_the_name_of_a_file_may_be_as_long_as_the_system_allows(here, capsys):
    name = "x" * 251 + ".png"  # 255 bytes; that of the unfinished file would be longer
    assert main([*COMMANDS["compare"].format("plain").split(), "--output", name]) == 0
    assert (here / name).exists()
    capsys.readouterr()
    one_sentence(capsys, [*COMMANDS["compare"].format("plain").split(), "--output", "x" + name], statuses=[2])


def test_unfinished_files_have_names_of_their_own(tmp_path):
    names = {files.unfinished(tmp_path / name).name for name in ("a.png", "b.png", "x" * 251 + ".png", "y" * 255)}
    assert len(names) == 4
    assert all(len(name.encode()) <= 255 for name in names)
    assert len(files.unfinished(tmp_path / ("é" * 127)).name.encode()) <= 255


# The process: its environment, its streams


def command_line(*arguments, shell="", **environment):
    """Run the command in a process of its own, with an environment that has nothing else."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "SYSTEMROOT", "TEMP") if name in os.environ}
    kept["PYTHONPATH"] = os.pathsep.join([str(Path(main.__globals__["__file__"]).parents[2]), *sys.path])
    command = [sys.executable, "-m", "deconv_attr", *arguments]
    if shell:
        command = ["sh", "-c", f'"$@" {shell}', "sh", *command]
    return subprocess.run(command, env=kept | environment, capture_output=True, timeout=300)


def test_no_home_no_display_an_ascii_terminal_of_ten_columns(here):
    name = b"caf\xe9 \x1b[2J\n.png"
    try:
        Path(os.fsdecode(name)).write_bytes(Path("a.png").read_bytes())
    except OSError:
        pytest.skip("a file system that does not take any bytes as a name")
    run = command_line(
        *["compare", "--model", "hostile_nets:prints", "--size", "24", "--image", os.fsdecode(name)],
        **{"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:strict"},
        **{"COLUMNS": "10", "LINES": "3", "TERM": "dumb", "MPLBACKEND": "tkagg"},
    )
    assert b"Traceback" not in run.stderr
    assert run.returncode == 0
    assert rb"image 0  caf\xe9 \x1b[2J\x0a.png" in run.stdout
    assert (here / "compare.png").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell of Unix")
@pytest.mark.parametrize(("shell", "status"), [(">&- 2>&-", 0), ("2>/dev/full", 2)], ids=["closed", "stderr is full"])
def test_streams_that_are_closed_or_full_change_no_status(here, shell, status):
    model = "hostile_nets:gone" if status == 2 else "hostile_nets:plain"
    if "/dev/full" in shell and not Path("/dev/full").exists():
        pytest.skip("no device that is always full")
    run = command_line("layers", "--model", model, "--size", "24", shell=shell)
    assert run.returncode == status
    assert b"Traceback" not in run.stderr + run.stdout


def test_a_library_that_cannot_be_imported_is_one_sentence(here):
    run = command_line("layers", MPLBACKEND="no such backend")
    assert run.returncode == 1
    assert run.stderr.startswith(b"error: ValueError: ")
    assert run.stderr.count(b"\n") == 1


def test_help_and_version_need_no_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1")
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    assert "exit" in capsys.readouterr().out
