"""Kills at random moments: of the main process, of one that works for a member, of all at once. Nothing is lost."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vaept.companion.store import provenance

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for children in /proc"),
]
ROUNDS = 10
# Every Python that these tests start writes a checkpoint after each epoch.
OFTEN = "from vaept.vae import training\ntraining.CHECKPOINT_SECONDS = 0\n"
STUDY = """
import dataclasses, sys
from pathlib import Path
from vaept.companion.profiles import Run, profile
from vaept.companion.store import RunStore
from vaept.companion.study import Study
small = dataclasses.replace(profile("quick"), dataset=sys.argv[2], latent_dims=(2,), members=3, epochs=40,
                            likelihood_images=5, importance_samples=3)
study = Study(small, RunStore(Path(sys.argv[1])), jobs=2)
study.evaluation(2, "principal")
study.measure_folders(Run(2, "principal"), ["outliers"])
"""


def children(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def start(tmp_path, rng):
    """A function that starts the study in a process group of its own."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(OFTEN)
    (tmp_path / "tmp").mkdir()
    np.savez(tmp_path / "mine.npz", x=rng.random((300, 6)))
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": path, "TMPDIR": str(tmp_path / "tmp")}

    def starter(store):
        command = [sys.executable, "-c", STUDY, str(store), str(tmp_path / "mine.npz")]
        with (tmp_path / "log").open("a") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True)

    return starter


def results(store):
    return {path.name: provenance(path)["checksums"] for path in store.iterdir() if not path.name.startswith(".")}


def kill_at_random(process, moment, whom):
    """Kill somebody after a while; returns whether anybody was killed, once all children have ended."""
    until = time.monotonic() + moment
    while time.monotonic() < until and process.poll() is None:
        time.sleep(0.01)
    own = children(process.pid)
    if process.poll() is not None or (whom == "worker" and not own):
        whom = "nobody"
    elif whom == "main":
        process.kill()
    elif whom == "worker":
        os.kill(own[-1], signal.SIGKILL)
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while not all(gone(child) for child in own):
        time.sleep(0.01)
    return whom


def test_kills_at_random_moments_change_nothing(start, tmp_path):
    began = time.monotonic()
    assert start(tmp_path / "whole").wait() == 0, (tmp_path / "log").read_text()
    length, expected = time.monotonic() - began, results(tmp_path / "whole")
    assert "sitecustomize" not in (tmp_path / "log").read_text()
    assert sorted(name.partition("-")[0] for name in expected) == ["ensemble", "evaluation", "field", "measure"]

    dice, killed = random.Random(0), []
    for number in range(ROUNDS):
        process, began = start(tmp_path / "killed"), time.monotonic()
        killed.append(kill_at_random(process, dice.uniform(0, length), ("main", "worker", "group")[number % 3]))
        if killed[-1] == "nobody":  # it came too late: the next comes sooner, and to a study that has all to do
            length = min(length, time.monotonic() - began)
            shutil.rmtree(tmp_path / "killed")
    assert start(tmp_path / "killed").wait() == 0, (tmp_path / "log").read_text()
    assert results(tmp_path / "killed") == expected
    assert {path.name for path in (tmp_path / "killed").iterdir()} == expected.keys(), "locks or halves are left"
    left = [path.name for path in (tmp_path / "tmp").iterdir()]
    assert [name for name in left if not name.startswith("torchinductor")] == []  # a cache of torch, not of a run
    assert killed.count("nobody") < ROUNDS


def test_a_train_command_beside_another_is_refused_in_one_sentence(tmp_path):
    command = [
        sys.executable,
        "-c",
        "from vaept.companion.cli import main; main()",
        "train",
        "--seeds",
        "2",
        "--hidden",
        "8",
    ]
    command += ["--output", str(tmp_path / "e")]
    with (tmp_path / "log").open("w") as log:
        first = subprocess.Popen([*command, "--epochs", "100000"], stderr=log)
    try:
        while not (tmp_path / "e.members" / ".lock").exists():
            assert first.poll() is None
            time.sleep(0.05)
        second = subprocess.run([*command, "--epochs", "2"], capture_output=True, text=True)
        assert second.returncode == 1 and "Another process is at work in" in second.stderr
        assert "Traceback" not in second.stderr
        worker = children(first.pid)[0]
        os.kill(worker, signal.SIGKILL)
        assert first.wait() == 1
        said = (tmp_path / "log").read_text()
        assert "ended by signal SIGKILL" in said and "Traceback" not in said
    finally:
        first.kill()
        first.wait()
