"""Work for several members at once, in processes that have one thread each, end with their parent and leave nothing.

A process is started when it is needed and kept for the next call. It talks to its parent through its standard input and
output alone: there are no temporary files, no shared memory and no locks that a kill could leave behind, and a process
whose parent is gone reads the end of its input and stops at once, in the middle of whatever it does.
"""

import atexit
import contextlib
import hashlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
import uuid
from pathlib import Path

import filelock
import joblib
import torch
from threadpoolctl import threadpool_limits

from vaept import arguments
from vaept.errors import InputError, VaeptError

_cluster = None  # the client of the Dask cluster that work is given to, inside `on_cluster`
CONNECTING = 30  # seconds
LOST = 10  # how often a call may lose its worker before it is given up
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMEXPR")}
START = "import sys; sys.path[:] = {path!r}; from vaept.processes import _serve; _serve()"
# Runs a piece of Python that ends when its parent does: the parent holds the other end of standard input.
GUARD = """import os, threading
def _watch():
    os.read(0, 1)
    os._exit(1)
threading.Thread(target=_watch, daemon=True).start()
"""


class ProcessError(VaeptError, RuntimeError):
    """A process that ended before its work was done."""


@contextlib.contextmanager
def plain_torch():
    """Torch as it is in a new process, whatever the caller has set: single precision, gradients, the CPU."""
    dtype, inference = torch.get_default_dtype(), torch.is_inference_mode_enabled()
    elsewhere, cast = torch.get_default_device().type != "cpu", torch.is_autocast_enabled("cpu")
    torch.set_default_dtype(torch.float32)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False) if inference else contextlib.nullcontext())
            stack.enter_context(torch.device("cpu") if elsewhere else contextlib.nullcontext())
            stack.enter_context(torch.autocast("cpu", enabled=False) if cast else contextlib.nullcontext())
            stack.enter_context(torch.enable_grad())
            yield
    finally:
        torch.set_default_dtype(dtype)


@contextlib.contextmanager
def one_thread():
    """Hold torch, OpenMP and the linear algebra to one thread, on which equal arguments give equal bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1), plain_torch():
            yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def lock(path, *, wait=False):
    """Hold a place, so that no other process of this package writes there meanwhile.

    Parameters
    ----------
    path : Path
        A file that stands for the place; it is there only while somebody holds it.
    wait : bool
        Whether to wait for another holder to finish.

    Raises
    ------
    InputError
        If another process holds it and `wait` is false.
    """
    held = filelock.FileLock(path)
    try:
        held.acquire(timeout=0)
    except filelock.Timeout as error:
        if not wait:
            raise InputError(
                f"Another process is at work in {path.parent}. Wait until it has ended, or choose another place."
            ) from error
        print(f"Waiting for another process that makes {path.stem.strip('.')} …", file=sys.stderr, flush=True)
        held.acquire()
    try:
        yield
    finally:
        # The library looks whether the file that it holds is still there, so that this cannot split those who wait.
        path.unlink(missing_ok=True)
        held.release()


def cores() -> "int":
    """How many calls run at once: processors that this process may use, or the workers of the cluster."""
    return joblib.cpu_count() if _cluster is None else len(_cluster.scheduler_info(n_workers=-1)["workers"])


@contextlib.contextmanager
def on_cluster(address):
    """Let a Dask cluster do the work that would go to processes; its results are the same, bit for bit.

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
    global _cluster
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
        _cluster = client
        try:
            yield client
        finally:
            _cluster = None


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


def in_processes(function, calls, *, jobs, note=lambda number, value: None):
    """Call a function with each of several lists of arguments.

    Parameters
    ----------
    function : callable
        Of a module that a new process can import. If it has a parameter `note`, it gets a function of one argument
        that reports progress.
    calls : sequence of sequence
        Arguments, which can be pickled.
    jobs : int
        Processes; with one, everything happens in this process.
    note : callable
        Called here with (number of the call, what it reported).

    Yields
    ------
    number, result
        In the order in which calls end.

    Raises
    ------
    ProcessError
        If a process is killed. Whatever else a call raises is raised here too; the other calls are given up.
    """
    calls = list(calls)
    if _cluster is not None and calls:
        yield from _by_cluster(function, calls, note)
        return
    jobs = min(jobs, len(calls))
    if jobs <= 1:
        for number, call in enumerate(calls):
            with one_thread():
                result = _call(function, call, lambda value, number=number: note(number, value))
            yield number, result
        return
    waiting, events = queue.SimpleQueue(), queue.SimpleQueue()
    for item in enumerate(calls):
        waiting.put(item)
    workers = [_Worker.idle() for _ in range(jobs)]
    for worker in workers:
        worker.start(function, waiting, events)
    left, whole = len(calls), False
    try:
        while left:
            kind, number, value = events.get()
            if kind == "note":
                note(number, value)
            elif kind == "error":
                raise value
            else:
                left -= 1
                yield number, value
        whole = True
    finally:
        for worker in workers:
            worker.release(reusable=whole)


def _sent(argument):
    """An argument on all workers of the cluster; it is sent again if one of them is lost meanwhile."""
    for _ in range(LOST):
        with contextlib.suppress(OSError):  # of which a closed connection is one
            return _cluster.scatter(argument, broadcast=True, hash=False)
        time.sleep(1)
    return _cluster.scatter(argument, broadcast=True, hash=False)


def _by_cluster(function, calls, note):
    """`in_processes` on the cluster. What all calls share is sent once; a call that lost its worker is made again.

    It is so too if the scheduler forgot it, because what it needs was lost with a worker.
    """
    from distributed import CancelledError, KilledWorker

    events, topic = queue.SimpleQueue(), f"vaept-{uuid.uuid4()}"
    _cluster.subscribe_topic(topic, lambda event: events.put(("note", *pickle.loads(event[1]))))
    alike = [
        place
        for place, argument in enumerate(calls[0])
        if not isinstance(argument, str | int | float | None) and all(call[place] is argument for call in calls)
    ]
    shared, futures, forgotten = {place: _sent(calls[0][place]) for place in alike}, [], 0

    def submit(number):
        given = [shared.get(place, argument) for place, argument in enumerate(calls[number])]
        futures.append(_cluster.submit(_on_worker, function, number, topic, *given, pure=False, retries=LOST))
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
                    shared |= {place: _sent(calls[0][place]) for place in alike}
                    submit(number)
                    continue
                raise ProcessError(
                    "Workers of the cluster were lost again and again with the same member. The same call continues."
                ) from error
            left -= 1
            yield number, result
    finally:
        _cluster.cancel(futures, force=True)
        _cluster.unsubscribe_topic(topic)


def _on_worker(function, number, topic, *given):
    from distributed import get_worker

    with one_thread():
        return _call(function, given, lambda value: get_worker().log_event(topic, pickle.dumps((number, value))))


def run_python(code, argv, **kwargs):
    """Run Python code in a process of its own, as `subprocess.run` does, but so that it ends with this one.

    Parameters
    ----------
    code : str
    argv : sequence of str
        Become its sys.argv[1:].
    kwargs
        As for `subprocess.Popen`; output is captured as text.

    Returns
    -------
    subprocess.CompletedProcess
    """
    process = subprocess.Popen(
        [sys.executable, "-c", GUARD + code, *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        **kwargs,
    )
    parts = {}
    # Not communicate(), which would close the input and so end the process.
    readers = [
        threading.Thread(target=lambda name=name: parts.update({name: getattr(process, name).read()}))
        for name in ("stdout", "stderr")
    ]
    try:
        for reader in readers:
            reader.start()
        process.wait()
    finally:
        process.kill()
        process.wait()
        for reader in readers:
            reader.join()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
    return subprocess.CompletedProcess(code, process.returncode, parts["stdout"], parts["stderr"])


class _Worker:
    """A process and the pipes to it."""

    kept: list["_Worker"] = []  # noqa: RUF012

    def __init__(self):
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-c", START.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | ONE_THREAD,
        )

    @classmethod
    def idle(cls):
        """A process that waits for work, started if there is none."""
        while cls.kept:
            worker = cls.kept.pop()
            if worker.owner == os.getpid() and worker.process.poll() is None:
                return worker
            worker.release(reusable=False)
        return cls()

    def start(self, function, waiting, events):
        """Hand over calls until none waits, in a thread."""
        self.thread = threading.Thread(target=self._work, args=(function, waiting, events), daemon=True)
        self.thread.start()

    def _work(self, function, waiting, events):
        number = None
        try:
            while True:
                try:
                    number, call = waiting.get_nowait()
                except queue.Empty:
                    return
                pickle.dump((function, call), self.process.stdin)
                self.process.stdin.flush()
                kind = "note"
                while kind == "note":
                    kind, value = pickle.load(self.process.stdout)
                    events.put((kind, number, value))
                if kind == "error":
                    return
        except (OSError, EOFError, pickle.UnpicklingError, ValueError):
            events.put(("error", number, self._death()))
        except BaseException as error:  # such as arguments that cannot be pickled
            events.put(("error", number, error))

    def _death(self):
        status = self.process.wait()
        cause = f"was ended by signal {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        advice = " The system does so when memory is short: close other programs or use fewer jobs." * (status == -9)
        return ProcessError(f"A process that worked for a member {cause}.{advice} The same call continues the work.")

    def release(self, *, reusable):
        """Keep the process for later, or end it."""
        if reusable:
            self.kept.append(self)
            return
        self.process.kill()
        self.process.wait()
        self.thread.join()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()


@atexit.register
def _end():
    while _Worker.kept:
        _Worker.kept.pop().release(reusable=False)


def _call(function, given, note):
    takes_note = "note" in function.__code__.co_varnames[: function.__code__.co_argcount]
    return function(*given, note=note) if takes_note else function(*given)


def _serve():
    """The main loop of a process: calls come in, results go out, until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's business, which then ends this process
    source, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anybody prints must not get between the messages
    torch.set_num_threads(1)
    tasks, lock = queue.SimpleQueue(), threading.Lock()

    def send(kind, value):
        with lock:
            pickle.dump((kind, value), out)
            out.flush()

    def listen():
        while True:
            try:
                tasks.put(pickle.load(source))
            except EOFError:
                os._exit(0)
            except Exception as error:  # the rest of such a message cannot be told from the next one
                send(
                    "error",
                    ProcessError(f"A process of its own cannot take the work: {type(error).__name__}: {error}."),
                )
                os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        function, given = tasks.get()
        try:
            send("result", _call(function, given, lambda value: send("note", value)))
        except BrokenPipeError:
            os._exit(1)
        except Exception as error:
            error.add_note("In a process of its own:\n" + traceback.format_exc())
            try:
                pickle.loads(pickle.dumps(error))
            except Exception:
                error = RuntimeError("".join(traceback.format_exception(error)))
            send("error", error)
