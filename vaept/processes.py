"""Work for several members at once, in processes that have one thread each, end with their parent and leave nothing.

A process is started when it is needed and kept for the next call. It talks to its parent through its standard input and
output alone: there are no temporary files, no shared memory and no locks that a kill could leave behind, and a process
whose parent is gone reads the end of its input and stops at once, in the middle of whatever it does.
"""

import atexit
import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import traceback

import filelock
import joblib
import torch
from threadpoolctl import threadpool_limits

from vaept.errors import InputError, VaeptError

_elsewhere = None  # who does the work instead, inside `elsewhere`
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


@contextlib.contextmanager
def elsewhere(workers):
    """Let somebody else do the work that would go to processes.

    Parameters
    ----------
    workers
        Has `cores()` and `in_processes(function, calls, note)`, which do as those of this module.
    """
    global _elsewhere
    before, _elsewhere = _elsewhere, workers
    try:
        yield
    finally:
        _elsewhere = before


def cores() -> "int":
    """How many calls run at once: processors that this process may use, or what does the work instead."""
    return joblib.cpu_count() if _elsewhere is None else _elsewhere.cores()


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
    if _elsewhere is not None and calls:
        yield from _elsewhere.in_processes(function, calls, note)
        return
    jobs = min(jobs, len(calls))
    if jobs <= 1:
        for number, given in enumerate(calls):
            with one_thread():
                result = call(function, given, lambda value, number=number: note(number, value))
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
                    number, given = waiting.get_nowait()
                except queue.Empty:
                    return
                pickle.dump((function, given), self.process.stdin)
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


def call(function, given, note):
    """Call a function with these arguments, and with `note` if it has such a parameter."""
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
            send("result", call(function, given, lambda value: send("note", value)))
        except BrokenPipeError:
            os._exit(1)
        except Exception as error:
            error.add_note("In a process of its own:\n" + traceback.format_exc())
            try:
                pickle.loads(pickle.dumps(error))
            except Exception:
                error = RuntimeError("".join(traceback.format_exception(error)))
            send("error", error)
