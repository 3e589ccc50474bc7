"""The work of members on a Dask cluster instead of processes of this machine; its results are the same, bit for bit."""

import contextlib
import hashlib
import pickle
import queue
import time
import uuid
from pathlib import Path

from vaept import arguments
from vaept.errors import InputError
from vaept.processes import ProcessError, call, elsewhere, one_thread

CONNECTING = 30  # seconds
LOST = 10  # how often a call may lose its worker before it is given up


@contextlib.contextmanager
def on_cluster(address):
    """Let a Dask cluster do the work that would go to processes.

    Workers need one thread each, this very code, and the folders of this machine under the same paths.

    Parameters
    ----------
    address : str
        Of the scheduler, such as "tcp://10.0.0.1:8786".

    Raises
    ------
    InputError
        If nobody answers there, or the workers are not like that.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError("A cluster needs Dask: install the extra `cluster`, pip install 'vaept[cluster]'.") from error
    try:
        client = Client(arguments.instance(address, "scheduler", str), timeout=CONNECTING, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"No Dask scheduler answers at {address!r}. Start one with `dask scheduler`.") from error
    with client:
        with contextlib.suppress(TimeoutError):  # that there is none is said below
            client.wait_for_workers(1, timeout=CONNECTING)
        _check_workers(client, address)
        with elsewhere(Cluster(client)):
            yield client


def _check_workers(client, address):
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    if not workers or any(worker["nthreads"] != 1 for worker in workers):
        raise InputError(
            f"The cluster at {address} has workers with {sorted({worker['nthreads'] for worker in workers})} threads; "
            f"it needs at least one, each with one thread: `dask worker {address} --nthreads 1`."
        )
    here = _code()
    try:
        others = {where for where, code in client.run(_code).items() if code != here}
    except ImportError as error:
        raise InputError(f"A worker of {address} has no vaept: {error}. Install this version there.") from error
    if others:
        raise InputError(
            f"The workers {', '.join(sorted(others))} have another version of vaept; install this one there."
        )


def _code():
    """A checksum of this package's code, as it is where this runs."""
    return hashlib.sha256(b"".join(p.read_bytes() for p in sorted(Path(__file__).parent.rglob("*.py")))).hexdigest()


class Cluster:
    """Workers of a Dask cluster, for `vaept.processes.elsewhere`."""

    def __init__(self, client):
        self.client = client

    def cores(self):
        """How many workers there are."""
        return len(self.client.scheduler_info(n_workers=-1)["workers"])

    def in_processes(self, function, calls, note):
        """`vaept.processes.in_processes`. What all calls share is sent once; a call that lost its worker is made again.

        It is so too if the scheduler forgot it, because what it needs was lost with a worker.
        """
        from distributed import CancelledError, KilledWorker

        events, topic = queue.SimpleQueue(), f"vaept-{uuid.uuid4()}"
        self.client.subscribe_topic(topic, lambda event: events.put(("note", *pickle.loads(event[1]))))
        alike = [
            place
            for place, argument in enumerate(calls[0])
            if not isinstance(argument, str | int | float | None) and all(each[place] is argument for each in calls)
        ]
        shared, futures, forgotten = {place: self._sent(calls[0][place]) for place in alike}, [], 0

        def submit(number):
            given = [shared.get(place, argument) for place, argument in enumerate(calls[number])]
            futures.append(self.client.submit(_on_worker, function, number, topic, *given, pure=False, retries=LOST))
            futures[-1].add_done_callback(lambda future: events.put(("end", number, future)))

        try:
            for number in range(len(calls)):
                submit(number)
            left = len(calls)
            while left:
                kind, number, value = events.get()
                if kind == "note":
                    note(number, value)
                    continue
                try:
                    result = value.result()
                except (CancelledError, KilledWorker) as error:
                    forgotten += 1
                    if isinstance(error, CancelledError) and forgotten <= LOST:
                        shared |= {place: self._sent(calls[0][place]) for place in alike}
                        submit(number)
                        continue
                    raise ProcessError(
                        "Workers of the cluster were lost again and again with the same member. The same call "
                        "continues."
                    ) from error
                left -= 1
                yield number, result
        finally:
            self.client.cancel(futures, force=True)
            self.client.unsubscribe_topic(topic)

    def _sent(self, argument):
        """An argument on one of the workers, from which others take it; sent again if that is lost meanwhile.

        Not on all of them at once: Dask would try for ever to copy it to one that is gone.
        """
        for _ in range(LOST):
            with contextlib.suppress(OSError):  # of which a closed connection is one
                return self.client.scatter(argument, hash=False)
            time.sleep(1)
        return self.client.scatter(argument, hash=False)


def _on_worker(function, number, topic, *given):
    from distributed import get_worker

    with one_thread():
        return call(function, given, lambda value: get_worker().log_event(topic, pickle.dumps((number, value))))
