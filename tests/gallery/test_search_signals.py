"""Signals that end a process while it searches: a checkpoint is kept, however long ago the last one was."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from searching import same
from test_search_file import Pixels, make_net, parts

from deconv_attr import Strongest, strongest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals")

# In one process, because importing torch is what takes time: it forks one child for each case, and prints how it ended.
DRIVER = """
import json, os, signal, sys, time, traceback, warnings
import torch
from pathlib import Path
from test_search_file import Pixels, make_net
from deconv_attr import strongest
from deconv_attr.gallery.search import archive
from deconv_attr.gallery.search.checkpoints import Checkpoints

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning, "__main__")  # its own forks
torch.set_num_threads(1)
root = Path(sys.argv[1])

def search(name, **options):
    # by default no checkpoint is due
    strongest(make_net(), file=root / name / "top.npz", **{"checkpoint_every": 1e9, **options})

def when(number, act):  # image 64 is one of the fourth block of 17
    return Pixels(when={number: act})

def received(name, number):
    search(name, data=when(64, lambda: signal.raise_signal(number)))

def caught(name):
    def swallow():
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:
            pass
    search(name, data=when(64, swallow))

def forked(name):
    def fork():
        child = os.fork()
        if not child:
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                os._exit(9)
        assert os.waitpid(child, 0)[1] == signal.SIGTERM
    search(name, data=when(64, fork))

def own_handler(name):
    seen = []
    signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
    search(name, data=when(64, lambda: signal.raise_signal(signal.SIGTERM)))
    assert seen == [1]

def writing(name, which, data=None, **options):
    write, count = archive.atomic_write, []
    def interrupted(path, save):
        count.append(1)
        def signalled(file):
            if len(count) == which:
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGHUP)
            save(file)
        write(path, signalled)
    archive.atomic_write = interrupted
    search(name, data=data or Pixels(), **options)

def put_back(name):
    search(name, data=Pixels())
    assert signal.getsignal(signal.SIGTERM) is signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    os.kill(os.getpid(), signal.SIGHUP)

def workers(name):
    main, seen, keep = os.getpid(), root / name / "seen", Checkpoints.keep
    def kept(self, found):
        keep(self, found)
        seen.write_text("x" * int(found.searched.sum()))
    def wait():  # in a worker, until the blocks before have been searched; then the main process waits for this one
        while os.getpid() != main and os.getppid() == main:
            time.sleep(0.05)
            if seen.exists() and seen.stat().st_size == 51:
                os.kill(main, signal.SIGTERM)
    Checkpoints.keep = kept
    search(name, data=when(64, wait), workers=1)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # what nohup starts ignores it
CASES = {
    "SIGTERM": lambda name: received(name, signal.SIGTERM),
    "SIGHUP": lambda name: received(name, signal.SIGHUP),
    "SIGINT": lambda name: received(name, signal.SIGINT),
    "caught": caught,
    "forked": forked,
    "own handler": own_handler,
    "in a checkpoint": lambda name: writing(name, 3, checkpoint_every=0),
    "in the last checkpoint": lambda name: writing(name, 1, when(64, lambda: 1 / 0)),
    "in the result": lambda name: writing(name, 1),
    "put back": put_back,
    "workers": workers,
}
ends = {}
for name, case in CASES.items():
    (root / name).mkdir()
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2) if name == "SIGINT" else None
        try:
            case(name)
            os._exit(0)
        except KeyboardInterrupt:
            os._exit(130)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    ends[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(ends))
"""


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    root = tmp_path_factory.mktemp("signals")
    run = subprocess.run(
        [sys.executable, "-c", DRIVER, str(root)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    return root, json.loads(run.stdout), run.stderr


@pytest.fixture(scope="module")
def whole():
    return strongest(make_net(), Pixels())


@pytest.mark.parametrize(
    ("case", "code", "searched"),
    [
        ("SIGTERM", -signal.SIGTERM, 51),  # three blocks of 17 are complete
        ("SIGHUP", -signal.SIGHUP, 51),
        ("SIGINT", 130, 51),
        ("caught", -signal.SIGTERM, 51),
        ("in a checkpoint", -signal.SIGTERM, 51),
        ("in the last checkpoint", -signal.SIGTERM, 51),
        ("workers", -signal.SIGTERM, 51),
    ],
)
def test_a_checkpoint_is_kept_and_the_process_ends_as_ever(driven, whole, case, code, searched):
    root, ends, errors = driven
    assert ends[case] == code, errors
    file = root / case / "top.npz"
    assert not file.exists()
    assert Strongest.load(f"{file}.part0").searched.sum() == searched
    assert same(strongest(make_net(), Pixels(), file=file, resume=True), whole)


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("forked", 0),  # only the child has ended
        ("own handler", 0),
        ("in the result", -signal.SIGTERM),
        ("put back", -signal.SIGHUP),
    ],
)
def test_the_result_is_complete(driven, whole, case, code):
    root, ends, errors = driven
    assert ends[case] == code, errors
    file = root / case / "top.npz"
    assert same(Strongest.load(file), whole)
    assert parts(file) == []


def test_in_another_thread_no_handler_is_set(whole, tmp_path):
    found = []
    thread = threading.Thread(target=lambda: found.append(strongest(make_net(), Pixels(), file=tmp_path / "top.npz")))
    thread.start()
    thread.join()
    assert same(found[0], whole)


def test_nothing_is_said_of_a_signal(driven):
    assert driven[2] == ""
