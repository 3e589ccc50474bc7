"""The work of members on a Dask cluster: a real one on this machine, two workers in processes of their own."""

import os
import signal
import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from distributed import CancelledError, LocalCluster

from vaept import cluster
from vaept.cluster import Cluster, on_cluster
from vaept.companion.cli import main
from vaept.datasets import from_arrays
from vaept.errors import InputError, TrainingError
from vaept.processes import ProcessError, cores, elsewhere, in_processes
from vaept.vae.ensemble import Ensemble
from vaept.vae.fitting import fit

pytestmark = pytest.mark.slow
SETTINGS = {"latent_dim": 2, "seeds": range(4), "hidden": [16], "batch_size": 32, "progress": False}


def two_workers():
    return LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0")


@pytest.fixture(scope="module")
def address():
    with two_workers() as workers:
        yield workers.scheduler_address


@pytest.fixture
def own_address():
    """Of a cluster for one test, which may kill a worker: Dask does not always start another one for it."""
    with two_workers() as workers:
        yield workers.scheduler_address


@pytest.fixture(scope="module")
def images():
    return from_arrays(np.random.default_rng(0).random((200, 12), dtype=np.float32))


def same(first, second):
    return all(
        torch.equal(a, b)
        for one, other in zip(first.members, second.members, strict=True)
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


def told(x, note):
    note(x / 2)
    return x * x, os.getpid(), torch.get_num_threads()


def refuses(x):
    if x == 2:
        raise TrainingError("two is refused")


def waits(folder, note):
    """Says who it is, and ends once somebody was killed."""
    note(os.getpid())
    while not (folder / "killed").exists():
        time.sleep(0.02)
    return os.getpid()


def test_calls_go_to_the_workers_and_say_how_far_they_are(address):
    notes = {}
    with on_cluster(address):
        assert cores() == 2
        found = dict(in_processes(told, [(x,) for x in range(6)], jobs=1, note=notes.setdefault))
    assert {number: value for number, (value, *_) in found.items()} == {x: x * x for x in range(6)}
    assert os.getpid() not in {pid for _, pid, _ in found.values()} and {n for *_, n in found.values()} == {1}
    assert notes == {x: x / 2 for x in range(6)}


def test_a_cluster_trains_the_same_members(address, images):
    here = fit(images, epochs=3, **SETTINGS)
    with on_cluster(address):
        there = fit(images, epochs=3, **SETTINGS)
    assert same(here, there) and np.array_equal(here.history.elbo, there.history.elbo)


def test_what_a_call_raises_is_raised_here(address):
    with on_cluster(address), pytest.raises(TrainingError, match="two is refused"):
        list(in_processes(refuses, [(x,) for x in range(4)], jobs=2))


def test_a_worker_that_is_killed_loses_nothing(own_address, tmp_path):
    seen = []

    def note(number, pid):
        seen.append(pid)
        if len(seen) == 1:
            os.kill(pid, signal.SIGKILL)
            (tmp_path / "killed").touch()

    with on_cluster(own_address):
        found = dict(in_processes(waits, [(tmp_path,), (tmp_path,)], jobs=2, note=note))
    assert set(found) == {0, 1} and seen[0] not in found.values() and len(seen) == 3


def test_what_all_calls_share_is_sent_again_if_a_worker_is_lost_meanwhile(monkeypatch):
    class Client:
        left = 2

        def scatter(self, argument, **how):
            if self.left:
                self.left -= 1
                raise OSError("Stream is closed")
            return [argument]

    monkeypatch.setattr(cluster.time, "sleep", lambda seconds: None)
    workers = Cluster(Client())
    assert workers._sent("images") == ["images"]
    workers.client.left = 100
    with pytest.raises(OSError, match="closed"):
        workers._sent("images")


class Forgetful:
    """A client whose cluster computes at once, and forgets so many calls before."""

    def __init__(self, times):
        self.times, self.sent = times, 0

    def scatter(self, argument, **how):
        self.sent += 1
        return argument

    def submit(self, function, *arguments, **how):
        future = Future()
        if self.times:
            self.times -= 1
            future.set_exception(CancelledError("already forgotten"))
        else:
            future.set_result(arguments[0](*arguments[3:]))
        return future

    def subscribe_topic(self, topic, handler):
        pass

    def unsubscribe_topic(self, topic):
        pass

    def cancel(self, futures, force):
        pass


def test_what_the_scheduler_forgets_is_sent_again():
    shared, client = np.arange(3), Forgetful(2)
    calls = [(shared, number) for number in range(3)]
    with elsewhere(Cluster(client)):
        assert dict(in_processes(np.add, calls, jobs=2)).keys() == {0, 1, 2} and client.sent == 3
    with elsewhere(Cluster(Forgetful(100))), pytest.raises(ProcessError, match="lost again and again"):
        dict(in_processes(np.add, calls, jobs=2))


def test_a_training_whose_worker_is_killed_gives_the_same_members(own_address, images, tmp_path):
    here = fit(images, epochs=200, **SETTINGS)
    with on_cluster(own_address) as client:
        pids = list(client.run(os.getpid).values())
        threading.Timer(0.5, os.kill, [pids[0], signal.SIGKILL]).start()
        there = fit(images, epochs=200, checkpoint=tmp_path / "members", **SETTINGS)
    assert same(here, there)


def test_who_cannot_be_used_is_refused():
    with pytest.raises(InputError, match="No Dask scheduler answers"), on_cluster("nobody"):
        pass
    wrong = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0")
    with wrong, pytest.raises(InputError, match="each with one thread"), on_cluster(wrong.scheduler_address):
        pass


def test_the_command_trains_on_a_cluster(address, tmp_path):
    def trained(name, *more):
        words = ["train", "--data", "digits", "--latent-dim", "2", "--epochs", "1", "--seeds", "2", "--hidden", "8"]
        result = CliRunner().invoke(main, [*words, "--output", str(tmp_path / name), *more])
        assert result.exit_code == 0, result.output
        return Ensemble.load(tmp_path / name)

    assert same(trained("here.safetensors"), trained("there.safetensors", "--scheduler", address))
