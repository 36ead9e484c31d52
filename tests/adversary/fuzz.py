"""Feed the parsers of foreign text and bytes for a while: ``python tests/adversary/fuzz.py --minutes 10``.

Each target gets an equal share of the time, with random examples, in a process of its own, so that a crash is seen and
memory is measured by target. A finding is printed with its example. ``tests/adversary/test_fuzz.py`` does a little of
this in the suite.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "support"))

from fuzzing import FOLDER, TARGETS, limited_memory, outcome
from hypothesis import HealthCheck, Phase, given, seed, settings


def peak():
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fuzz(name, seconds):
    """Feed one target, and return the figures."""
    target = TARGETS[name]
    kinds, findings, slowest = Counter(), [], (0.0, "")
    begin = time.monotonic()

    def feed(example):
        nonlocal slowest
        before = time.monotonic()
        if before - begin >= seconds:
            return
        try:
            kinds[outcome(target, example)] += 1
        except Exception:
            kinds["FINDING"] += 1
            findings.append(f"{traceback.format_exc()[-1500:]}\nof {example!r:.3000}")
        slowest = max(slowest, (time.monotonic() - before, f"{example!r:.200}"))

    after_first = None
    with limited_memory():
        while time.monotonic() - begin < seconds:
            run = settings(
                max_examples=100,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate],
            )(given(target.examples)(feed))
            seed(random.SystemRandom().getrandbits(64))(run)()
            if after_first is None:
                after_first = peak()  # the first round loads what is loaded once
    return {
        "kinds": kinds,
        "findings": findings[:3],
        "slowest": slowest,
        "growth": peak() - (after_first or peak()),
        "peak": peak(),
    }


def main():
    """Feed all targets, or print the figures of one as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--target", choices=TARGETS)
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.json:
        print(json.dumps(fuzz(options.target, options.minutes * 60)), flush=True)
        FOLDER.cleanup()
        os._exit(0)  # hypothesis remembers much, which Python would free piece by piece
    names = [options.target] if options.target else list(TARGETS)
    failed = False
    print(
        f"{'target':24}{'inputs':>9}{'accepted':>10}{'refused':>9}{'kinds':>7}{'slowest':>10}{'growth':>9}{'peak':>9}"
    )
    for name in names:
        share = options.minutes / len(names)
        command = [sys.executable, __file__, "--json", "--target", name, "--minutes", str(share)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=share * 60 + 600)
        if run.returncode:
            print(f"{name:24} ended with {run.returncode}:\n{run.stderr[-3000:]}", flush=True)
            failed = True
            continue
        found = json.loads(run.stdout.splitlines()[-1])
        kinds = Counter(found["kinds"])
        inputs, accepted, findings = kinds.total(), kinds.pop("accepted", 0), kinds.pop("FINDING", 0)
        print(
            f"{name:24}{inputs:9}{accepted:10}{kinds.total():9}{len(kinds):7}{found['slowest'][0]:8.2f} s"
            f"{found['growth']:6.0f} MB{found['peak']:6.0f} MB",
            flush=True,
        )
        if findings:
            print(f"  {findings} findings:", *found["findings"], sep="\n", flush=True)
        failed |= bool(findings)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
