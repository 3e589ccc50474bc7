"""Work in processes: results, errors, and what is left when somebody is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_info

from vaept import processes
from vaept.errors import InputError
from vaept.processes import ProcessError, in_processes, lock, one_thread, plain_torch, run_python


def square(x, note):
    note(x / 2)
    return x * x


def plain(x):
    print("printed where results travel")
    return x, os.getpid()


def fails(x):
    if x == 3:
        raise InputError("three is refused")
    return x


def dies(x):
    os.kill(os.getpid(), signal.SIGKILL)


def waits(folder, number):
    (Path(folder) / f"{number}-{os.getpid()}").touch()
    while True:
        time.sleep(0.05)


def threads():
    return torch.get_num_threads(), [each["num_threads"] for each in threadpool_info()]


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_and_notes(jobs):
    notes = {}
    found = dict(in_processes(square, [(x,) for x in range(7)], jobs=jobs, note=notes.__setitem__))
    assert found == {x: x * x for x in range(7)} and notes == {x: x / 2 for x in range(7)}
    assert list(in_processes(square, [], jobs=jobs)) == []


def test_work_that_a_process_cannot_read_is_an_error(monkeypatch):
    """A function that only this process has, such as one of a notebook."""

    def odd(x):
        return x

    odd.__module__, odd.__qualname__ = "__main__", "odd"
    monkeypatch.setattr(sys.modules["__main__"], "odd", odd, raising=False)
    with pytest.raises(ProcessError, match="cannot take the work: AttributeError"):
        list(in_processes(odd, [(x,) for x in range(3)], jobs=2))
    assert dict(in_processes(square, [(2,)], jobs=2)) == {0: 4}


def test_processes_are_kept_and_printing_does_no_harm():
    first = {pid for _, (_, pid) in in_processes(plain, [(x,) for x in range(6)], jobs=2)}
    again = {pid for _, (_, pid) in in_processes(plain, [(x,) for x in range(6)], jobs=2)}
    assert os.getpid() not in first and len(first | again) <= 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_errors_come_back(jobs):
    with pytest.raises(InputError, match="three is refused"):
        list(in_processes(fails, [(x,) for x in range(6)], jobs=jobs))
    assert len(dict(in_processes(fails, [(0,), (1,)], jobs=jobs))) == 2


def test_a_killed_process_is_one_sentence():
    with pytest.raises(ProcessError, match=r"ended by signal SIGKILL\. The system does so when memory is short"):
        list(in_processes(dies, [(0,), (1,)], jobs=2))


def test_what_cannot_be_handed_over_is_an_error():
    with pytest.raises(Exception, match="pickle"):
        list(in_processes(square, [(lambda: 1,), (2,)], jobs=2))


def test_one_thread_everywhere():
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1 and all(each["num_threads"] == 1 for each in threadpool_info())
    assert torch.get_num_threads() == before
    for _, (own, others) in in_processes(threads, [(), ()], jobs=2):
        assert own == 1 and set(others) <= {1}


def alive(pid):
    """Whether a process runs; one that has ended but was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
@pytest.mark.parametrize("how", ["workers", "python"])
def test_nothing_outlives_its_parent(how, tmp_path):
    start = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_processes import waits\n"
    if how == "workers":
        call = f"list(in_processes(waits, [({str(tmp_path)!r}, k) for k in range(2)], jobs=2))"
    else:
        call = f"run_python({start + 'waits(*sys.argv[1:])'!r}, [{str(tmp_path)!r}, '0'])"
    code = start + "from vaept.processes import in_processes, run_python\n" + call
    parent = subprocess.Popen([sys.executable, "-c", code])
    wanted = 2 if how == "workers" else 1
    while len(list(tmp_path.iterdir())) < wanted:
        assert parent.poll() is None, "the parent ended before its children had begun"
        time.sleep(0.05)
    children = [int(path.name.partition("-")[2]) for path in tmp_path.iterdir()]
    assert all(alive(pid) for pid in children)
    parent.kill()
    parent.wait()
    while any(alive(pid) for pid in children):  # they read the end of their input and stop
        time.sleep(0.05)


def test_an_abandoned_call_ends_its_processes(tmp_path):
    calls = in_processes(waits, [(str(tmp_path), k) for k in range(2)], jobs=2)
    with pytest.raises(ZeroDivisionError):

        def note(number, value):
            raise ZeroDivisionError

        for _ in in_processes(square, [(1,), (2,)], jobs=2, note=note):
            pass
    calls.close()
    assert not processes._Worker.kept or all(worker.process.poll() is None for worker in processes._Worker.kept)


def test_run_python_gives_output_and_status():
    done = run_python("import sys; print(sys.argv[1]); print('e', file=sys.stderr); sys.exit(3)", ["ä"])
    assert (done.returncode, done.stdout, done.stderr) == (3, "ä\n", "e\n")


def test_a_lock_is_for_one_and_leaves_nothing(tmp_path):
    path = tmp_path / ".lock"
    with lock(path):
        start = f"from pathlib import Path; from vaept.processes import lock; path = Path({str(path)!r})\n"
        other = subprocess.run([sys.executable, "-c", start + "with lock(path): pass"], capture_output=True, text=True)
        assert other.returncode and "Another process is at work in" in other.stderr
        command = [sys.executable, "-c", start + "with lock(path, wait=True): pass"]
        waiting = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert "Waiting for another process" in waiting.stderr.readline()
    assert waiting.wait() == 0 and not list(tmp_path.iterdir())
    waiting.stderr.close()


def _state():
    return torch.zeros(1).dtype, torch.zeros(1).is_inference(), torch.is_grad_enabled(), torch.zeros(1).device.type


def test_torch_is_as_in_a_new_process_whatever_the_caller_has_set():
    usual = _state()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.device("meta"):
            with plain_torch():
                assert _state() == usual == (torch.float32, False, True, "cpu")
            assert _state() == (torch.float64, True, False, "meta")
            [(_, found)] = in_processes(_state, [()], jobs=1)
            assert found == usual
    finally:
        torch.set_default_dtype(torch.float32)
