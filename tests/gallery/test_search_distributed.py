"""A search by several processes under torchrun."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch.distributed
from searching import same
from test_search_file import Pixels, arrays, interrupt, make_net, parts

from deconv_attr import Strongest, strongest

needs_gloo = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(), reason="torch without gloo"
)
pytestmark = [needs_gloo, pytest.mark.slow]

START = """
import os, signal, sys, time
import torch
import torch.distributed as dist
from test_search_file import Pixels, make_net
from deconv_attr import strongest
from deconv_attr.gallery.search import is_first
rank, file = int(os.environ["RANK"]), sys.argv[1]
torch.set_num_threads(1)
"""
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone")


def torchrun(script, *arguments, processes=2):
    path = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", START + textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(
        [*TORCHRUN, f"--nproc-per-node={processes}", "--no-python", *command],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def file(tmp_path):
    return tmp_path / "top.npz"


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    file = tmp_path_factory.mktemp("alone") / "top.npz"
    return strongest(make_net(), Pixels(), file=file), arrays(file)


def test_two_processes_find_what_one_finds(file, alone):
    done = torchrun(
        """
        read = []
        data = Pixels(when={n: lambda n=n: read.append(n) for n in range(200)})
        found = strongest(make_net(), data, file=file, checkpoint_every=0)
        assert os.path.exists(file) and len(os.listdir(os.path.dirname(file))) == 1
        total = float(found["3"].values.sum())
        line = f"rank {rank} {is_first()} {len(read)} {total} {not dist.is_initialized()}\\n"
        os.write(1, line.encode())  # at once: the other may be speaking too
        strongest(make_net(), Pixels(), k=2)  # once more in the same processes
        """,
        file,
    )
    assert done.returncode == 0, done.stderr
    total = float(alone[0]["3"].values.sum())
    lines = sorted(done.stdout.splitlines())
    counts = [int(line.split()[3]) for line in lines]
    assert lines == [f"rank {n} {n == 0} {counts[n]} {total} True" for n in (0, 1)]
    assert sum(counts) == 200 + 2 * 33  # each image once, but for the first and the fingerprints'
    assert arrays(file) == alone[1]


@pytest.fixture(scope="module")
def own_group(tmp_path_factory):
    """Return a folder with the files of two searches in one group of the user's own."""
    folder = tmp_path_factory.mktemp("own")
    done = torchrun(
        """
        from torch.utils.data import DataLoader, DistributedSampler
        dist.init_process_group("gloo")
        data = Pixels()
        strongest(make_net(), data, file=file + "/whole.npz")
        assert dist.is_initialized()
        dist.barrier()
        strongest(make_net(), DataLoader(data, 8, sampler=DistributedSampler(data)), file=file + "/parts.npz")
        dist.destroy_process_group()
        """,
        folder,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_in_a_group_of_the_users_own(own_group, alone):
    assert arrays(own_group / "whole.npz") == alone[1]


def test_a_sampler_that_gives_each_process_a_part(own_group, alone):
    assert arrays(own_group / "parts.npz") == alone[1]


def test_who_is_told_to_end_keeps_what_was_found(file):
    done = torchrun(
        """
        wait = {n: lambda: time.sleep(0.1) for n in range(64, 96)}
        data = Pixels(when=wait if rank == 0 else {130: lambda: time.sleep(1) or os._exit(3)})
        strongest(make_net(), data, file=file, checkpoint_every=1e9)
        """,
        file,
    )
    assert done.returncode != 0
    assert "Terminated" not in done.stderr
    assert Strongest.load(file.parent / "top.npz.part0").searched.sum() >= 51


def test_a_single_process_under_torchrun(file, alone):
    done = torchrun("strongest(make_net(), Pixels(), file=file)", file, processes=1)
    assert done.returncode == 0, done.stderr
    assert arrays(file) == alone[1]


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", ""),
        ("raise KeyError('broken image')", "KeyError: 'broken image'"),
    ],
)
def test_a_process_that_dies_ends_the_run(file, alone, end, said):
    done = torchrun(
        f"""
        def die():
            {end}
        wait = {{n: lambda: time.sleep(0.1) for n in range(64, 96)}}  # the other is still at it
        data = Pixels(when=wait if rank == 0 else {{170: die}})
        strongest(make_net(), data, file=file, checkpoint_every=0)
        """,
        file,
    )
    assert done.returncode != 0
    assert said in done.stderr
    assert "Terminated" not in done.stderr  # of the process that torchrun ends there is nothing to say
    assert not file.exists()
    assert parts(file) == ["top.npz.part0", "top.npz.part1"]
    resumed = strongest(make_net(), Pixels(), file=file, resume=True)  # by one process
    assert same(resumed, alone[0])
    assert arrays(file) == alone[1]
    assert parts(file) == []


def test_the_others_notice_who_is_gone_at_the_end(file):
    done = torchrun(
        """
        from deconv_attr.errors import SearchError
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # nobody says so
        data = Pixels(when={170: lambda: os._exit(3)} if rank else {})
        try:
            strongest(make_net(), data, file=file, checkpoint_every=0)
        except SearchError as error:
            print(error, flush=True)
        """,
        file,
    )
    assert "another process of the search ended before its share was done" in done.stdout
    assert parts(file) == ["top.npz.part0", "top.npz.part1"]


def test_two_processes_go_on_from_one_and_one_from_two(file, alone):
    with pytest.raises(KeyboardInterrupt):
        strongest(make_net(), Pixels(when={133: interrupt}), file=file)
    done = torchrun(
        """
        data = Pixels(when={199: lambda: os._exit(3)})
        strongest(make_net(), data, file=file, resume=True, checkpoint_every=0)
        """,
        file,
    )
    assert done.returncode != 0
    assert all(Strongest.load(file.parent / part).searched[:119].all() for part in parts(file))
    done = torchrun("strongest(make_net(), Pixels(), file=file, resume=True)", file, processes=3)
    assert done.returncode == 0, done.stderr
    assert arrays(file) == alone[1]
    assert parts(file) == []
