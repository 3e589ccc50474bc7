"""The same study under several code paths of one's libraries, so that one machine can stand in for several.

The libraries choose their kernels by the processor; kernels round differently, and training amplifies that. Environment
variables, which the libraries read when they are loaded, choose kernels of other processors; training in the other
precision is one more path. Each path is carried out in a process and a store of its own. A path that would round as
another one does gives the same numbers, says nothing new, and is left out.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime

import msgspec
import numpy as np
import scipy.linalg
import torch
from threadpoolctl import threadpool_info

from vaept.companion import machines, profiles
from vaept.companion.ledger import ledger
from vaept.companion.machines import FILE, Found, Machines, Run
from vaept.companion.study import open_study
from vaept.errors import InputError, VaeptError
from vaept.processes import GUARD, ONE_THREAD, ProcessError, one_thread
from vaept.vae.ensemble import usable_precision

CODE_PATHS = profiles.code_paths()
CHILD = "import sys; sys.path[:] = {path!r}; from vaept.companion.codepaths import serve; serve()"


def kernels(precision="float32"):
    """What the libraries of this process calculate with.

    Parameters
    ----------
    precision : str
        That of the training to come; in float32 kernels for bfloat16 do not matter.

    Returns
    -------
    names : list of str
        Each linear algebra library with its kernels, and the capability that torch found or was told.
    rounding : str
        A hash of products, decompositions and functions of fixed numbers: equal if no kernel rounds differently.
    """
    with one_thread():
        rounding = _rounding(precision)
    libraries = [each for each in threadpool_info() if each["user_api"] == "blas"]
    names = sorted(f"{each['internal_api']} {each['version']} {each.get('architecture', '')}" for each in libraries)
    return [*names, f"torch {torch.backends.cpu.get_cpu_capability()}"], rounding


def _rounding(precision):
    generator = np.random.default_rng(0)
    a, b, square = (generator.standard_normal(shape) for shape in ((257, 300), (300, 129), (64, 64)))
    found = [a @ b, a.astype(np.float32) @ b.astype(np.float32), np.exp(a), a.sum(axis=1), np.linalg.svd(square)[0]]
    found += [scipy.linalg.eigh(square + square.T)[1], scipy.linalg.solve(square, b[:64])]
    x, y, small = (torch.tensor(each, dtype=torch.float32) for each in (a, b, square))
    functional, images = torch.nn.functional, small.reshape(4, 16, 8, 8)
    found += [x @ y, functional.linear(x, y.T.contiguous(), y[0]), x.exp(), functional.softplus(x), x.sum(1)]
    found += [small @ small, functional.conv2d(images, x[:8, :144].reshape(8, 16, 3, 3)), x.double() @ y.double()]
    found += [torch.log_softmax(x, 1)]
    if precision == "bfloat16":
        found += [(x.bfloat16() @ y.bfloat16()).float(), functional.linear(x.bfloat16(), y.T.bfloat16()).float()]
    return hashlib.sha256(b"".join(np.asarray(each).tobytes() for each in found)).hexdigest()[:16]


def measure(profile, names, *, store, results, jobs=None, report=lambda line: None):
    """Carry a profile out under code paths; each that ends is written to `machines.json` at once.

    Parameters
    ----------
    profile : vaept.companion.profiles.Profile
    names : sequence of str
        Keys of `CODE_PATHS`.
    store, results : Path
        Where every path keeps its results, in a folder of its own; and where `machines.json` is.
    jobs : int, optional
        Processes; one per core if not given.
    report : callable
        Called with a line for each path.

    Returns
    -------
    Machines, or None
        Also with the runs that were there already, from the same code; None if there is no run at all.

    Raises
    ------
    InputError
        If a path is unknown, or if the study cannot be carried out, as without its data.
    DamagedFileError, ProcessError
        If `machines.json` is damaged, or a process ends with an error.
    """
    unknown = [name for name in names if name not in CODE_PATHS]
    if unknown or not names:
        raise InputError(f"Unknown code path {', '.join(unknown) or '(none)'}: choose of {', '.join(CODE_PATHS)}.")
    path, code = results / FILE, machines.today()
    kept = Machines.load(path) if path.is_file() else None
    for name in names:
        environment = dict(CODE_PATHS[name])
        precision = environment.pop("precision", usable_precision(profile.precision))
        asked = {"profile": profile.name, "precision": precision, "jobs": jobs}
        try:
            if usable_precision(precision) != precision:
                raise Unusable(f"it has no units for {precision}")
            found = ask({"do": "probe"} | asked, environment)
            way = (found["rounding"], asked["precision"], code)
            if same := [run.path for run in (kept.runs if kept else ()) if run.way == way]:
                report(f"{name}: left out, it gives the numbers of a run that is there (by the path {same[0]!r}).")
                continue
            report(f"{name}: {', '.join(found['kernels'])}; {asked['precision']}")
            folder = store / f"spread-{name.replace(' ', '-')}-{found['rounding']}"
            given = ask({"do": "study", "name": name, "store": str(folder)} | asked, environment)
        except Unusable as error:
            report(f"{name}: left out, this processor cannot run it ({error})")
            continue
        run = msgspec.convert(given["run"] | {"path": name, "environment": environment, "code": code}, Run)
        kept = _merged(kept, Machines(profile.name, *given["data"]), run, report)
        results.mkdir(parents=True, exist_ok=True)
        kept.save(path)
    return kept


def _merged(old, new, run, report):
    """The runs of an older file, if they had the same code and data, with one more."""
    if old is not None and replace(old, runs=()) != new:
        report("The runs in machines.json had other data and are replaced.")
        old = None
    merged = (old or new).with_run(run)
    dropped = [other.path for other in (old.runs if old else ()) if other.code != run.code]
    if dropped:
        report(f"Runs of an earlier version of the code are replaced: {', '.join(dropped)}.")
    return merged


class Unusable(ProcessError):
    """A code path whose process was ended by a signal, as one is that uses instructions the processor lacks."""


def ask(task, environment):
    """Have a process do something, with what it says passed through to the terminal.

    Parameters
    ----------
    task : dict
        JSON values: "do" is "probe" (then nothing is trained) or "study", "precision" is that of the training; for a
        study also "name", which begins its lines, "profile", "store" and "jobs".
    environment : dict from str to str
        Variables that the process gets, and of those in `CODE_PATHS` no other.

    Returns
    -------
    dict
        "kernels" and "rounding" as of `kernels`; or "run", which is a `Run` as JSON has it, and "data".

    Raises
    ------
    Unusable
        If the process is ended by a signal.
    InputError, ProcessError
        If it ends with an error of the package's own, or with another one.
    """
    kept = {name: value for name, value in os.environ.items() if all(name not in path for path in CODE_PATHS.values())}
    command = [sys.executable, "-c", GUARD + CHILD.format(path=sys.path), json.dumps(task)]
    how = {"env": kept | ONE_THREAD | environment, "text": True, "encoding": "utf-8"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **how) as process:
        try:
            answer, status = process.stdout.read(), process.wait()
        finally:
            process.kill()
    if status < 0:
        raise Unusable(f"its process was ended by signal {signal.Signals(-status).name}")
    if status:
        raise ProcessError(f"A process that carried out a study ended with status {status}; its last lines say why.")
    found = json.loads(answer)
    if "error" in found:
        raise InputError(found["error"])
    return found


def serve():
    """What such a process does: the task in its argument, the answer to its output, which nothing else may use."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's business, which then ends this process
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    task = json.loads(sys.argv[1])
    answer = dict(zip(("kernels", "rounding"), kernels(task["precision"]), strict=True))
    if task["do"] == "study":
        try:
            answer = carry_out(task, answer)
        except VaeptError as error:
            answer = {"error": str(error)}
    with out:
        json.dump(answer, out)


def carry_out(task, found):
    """Carry out a study in this process, whose "kernels" and "rounding" are given; task and answer as for `ask`."""
    study = open_study(task["profile"], store=task["store"], jobs=task["jobs"])
    # What is compared beside the arms takes longer than all the rest, and says less about machines.
    study = replace(study, profile=replace(study.profile.without_comparisons(), precision=task["precision"]))
    study.carry_out(lambda line: print(f"{task['name']}: {line}", file=sys.stderr, flush=True))
    records = study.records()
    checks = {id: asdict(Found.of(check)) for each in ledger(records) for id, check in each.ids()}
    made = found | {"precision": task["precision"], "checks": checks}
    made |= {key: records.provenance[key] for key in ("machine", "versions")}
    made["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    return {"run": made, "data": [records.data, records.provenance["data_checksum"]]}
