import dataclasses
import json
import os
import signal
import subprocess
import sys

import msgspec
import numpy as np
import pytest
import torch
from scipy.stats import t as student

from vaept.companion import codepaths, machines
from vaept.companion import ledger as ledger_of
from vaept.companion.codepaths import CODE_PATHS, Unusable, ask, measure
from vaept.companion.ledger import MEMBERS, MOVED, SAME, WITHIN, changes, ledger
from vaept.companion.machines import Found, Machines, Run, machines_of, spread, table
from vaept.companion.profiles import profile
from vaept.companion.study import Study
from vaept.errors import DamagedFileError, InputError
from vaept.files import read_json, write_json
from vaept.processes import ProcessError
from vaept.vae.agreement import Estimate

GOOD = {"OPENBLAS_CORETYPE": "Haswell", "ATEN_CPU_CAPABILITY": "default"}


def a_run(entries, path, shift=0.0, met=None, **other):
    """A run that gave what a ledger has, each mean shifted by a multiple of its size."""
    checks = {}
    for each in entries:
        for id, check in each.ids():
            value = dataclasses.replace(check.value, mean=check.value.mean * (1 + shift))
            checks[id] = Found(check.words, value, str(check.threshold), check.met if met is None else met(id, check))
    plain = {"environment": {}, "precision": "float32", "kernels": ["some"], "rounding": path, "machine": "a machine"}
    plain |= {"created": "today", "versions": {"torch": "2"}, "code": "this", "checks": checks}
    return Run(path=path, **plain | other)


def some(entries, *runs):
    return Machines("test", "digits", "abc", tuple(a_run(entries, f"path {k}", each) for k, each in enumerate(runs)))


@pytest.fixture
def few(entries, monkeypatch):
    """The two claims that are checked fastest, and their entries."""
    kept = ("C4", "C5")
    monkeypatch.setattr(ledger_of, "CLAIMS", [claim for claim in ledger_of.CLAIMS if claim.id in kept])
    return [each for each in entries if each.claim.id in kept]


@pytest.fixture
def stamped(records):
    return dataclasses.replace(records, provenance={"data_checksum": "abc"})


def test_a_verdict_against_another_threshold_does_not_count(few, stamped):
    id, check = few[0].ids()[0]
    run = a_run(few, "path", met=lambda *_: not check.met)
    undecided = ledger(stamped, Machines("test", "digits", "abc", (run,)))[0].checks[0]
    run.checks[id] = dataclasses.replace(run.checks[id], threshold="at least something else")
    decided = ledger(stamped, Machines("test", "digits", "abc", (run,)))[0].checks[0]
    assert undecided.verdict == "undecided" and decided.verdict != "undecided"


def test_the_interval_is_the_prediction_interval_of_students_t():
    means = np.array([1.0, 2.0, 4.0, 5.0])
    low, high = spread(means, 3.0)
    half = student(3).ppf(0.995) * means.std(ddof=1) * np.sqrt(1.25)
    assert low == pytest.approx(3 - half) and high == pytest.approx(3 + half)
    assert high == pytest.approx(3 + 5.8409 * np.sqrt(10 / 3) * 1.1180, rel=1e-4)  # from a printed table


def test_the_interval_holds_99_percent_of_further_runs(rng):
    held = 0
    for _ in range(4000):
        *runs, further = rng.standard_normal(6)
        low, high = spread(runs, np.mean(runs))
        held += low <= further <= high
    assert 0.985 < held / 4000 < 0.995


def test_the_interval_holds_every_run_and_the_published_number():
    assert spread([1.0, 1.1, 1.2], 50.0)[1] == 50 and spread([1.0, 1.1, 1.2], -50.0)[0] == -50
    many = [0.0, *(1 + 1e-6 * np.arange(500))]
    assert spread(many, 1.0)[0] == 0


def test_equal_numbers_count_once_and_three_are_needed():
    assert spread([1.0, 2.0, 4.0, 4.0, 4.0, np.nan], 2.0) == spread([1.0, 2.0, 4.0], 2.0)
    assert spread([1.0, 2.0, 2.0, np.nan], 1.0) is None and spread([], 1.0) is None
    assert spread([1.0, 2.0, 4.0], np.nan) is not None


def test_same_within_and_moved(entries):
    found = some(entries, 0.01, -0.01, 0.03)
    half = student(2).ppf(0.995) * np.std([0.01, -0.01, 0.03], ddof=1) * np.sqrt(4 / 3)
    words = "agreement of raw coordinates, d = 2"
    for shift, verdict in ((0, SAME), (5e-7, SAME), (0.02, WITHIN), (half, WITHIN), (half + 0.02, MOVED), (-1, MOVED)):
        fresh = [
            dataclasses.replace(
                each,
                checks=tuple(
                    dataclasses.replace(c, value=dataclasses.replace(c.value, mean=c.value.mean * (1 + shift)))
                    for c in each.checks
                ),
            )
            for each in entries
        ]
        change = next(
            change
            for change in changes(fresh, entries, found)
            if change.id.startswith("C4") and change.quantity == words
        )
        assert change.verdict == verdict and change.moved == (verdict == MOVED)
        assert change.spread[0] <= change.published.mean <= change.spread[1]


def test_without_three_runs_the_interval_over_members_is_used(entries):
    near = [dataclasses.replace(each, checks=tuple(map(_to_the_end, each.checks))) for each in entries]
    for found in (None, some(entries, 0.01, 0.02)):
        assert {change.verdict for change in changes(near, entries, found)} == {SAME, MEMBERS}
        assert all(change.spread is None for change in changes(near, entries, found))


def _to_the_end(check):
    return dataclasses.replace(
        check, value=dataclasses.replace(check.value, mean=np.fmax(check.value.mean, check.value.high))
    )


def test_what_is_not_a_number_on_one_side_has_moved(entries):
    found, nothing = some(entries, 0.01, -0.01, 0.03), Estimate(np.nan, np.nan, np.nan)
    lost = [
        dataclasses.replace(each, checks=tuple(dataclasses.replace(c, value=nothing) for c in each.checks))
        for each in entries
    ]
    assert {change.verdict for change in changes(lost, entries, found)} == {MOVED}
    assert {change.verdict for change in changes(entries, lost, found)} == {MOVED}
    assert {change.verdict for change in changes(lost, lost, found)} == {SAME}


def test_a_check_in_which_machines_differ_is_undecided(stamped, few):
    id, check = few[0].ids()[0]
    assert check.holds
    one = a_run(few, "odd one out", met=lambda other, check: check.met and other != id)
    filled = ledger(stamped, Machines("test", "digits", "abc", (a_run(few, "as here"), one)))
    verdicts, before = ([c.verdict for c in each[0].checks] for each in (filled, few))
    assert verdicts == ["undecided", *before[1:]] and before[0] == "holds"
    held = few[0].tests
    assert filled[0].count == f"{sum(c.holds for c in held) - 1} of {len(held)} tests hold, 1 undecided"
    assert filled[0].verdict != few[0].verdict and not filled[0].checks[0].holds
    assert [each.verdict for each in filled[1:]] == [each.verdict for each in few[1:]]


def test_a_check_that_holds_elsewhere_only_is_undecided_too(stamped, few):
    failing = next((id, each) for each in few for id, check in each.ids() if not check.met)
    one = a_run(few, "better", met=lambda other, check: True)
    filled = ledger(stamped, Machines("test", "digits", "abc", (one,)))
    found = {id: check.verdict for each in filled for id, check in each.ids()}
    assert found[failing[0]] == "undecided" and "fails" not in found.values()


def test_ids_are_unique_and_do_not_hang_on_numbers(records, few):
    ids = [id for each in few for id, _ in each.ids()]
    assert len(set(ids)) == len(ids)
    series = {d: dataclasses.replace(each, values=each.values * 7) for d, each in records.aftermath.items()}
    losses = {key: dataclasses.replace(arm, minus_elbo=arm.minus_elbo + 1) for key, arm in records.arms.items()}
    other = ledger(dataclasses.replace(records, arms=losses, aftermath=series))
    assert [id for each in other for id, _ in each.ids()] == ids
    words = [[check.quantity for each in filled for check in each.checks] for filled in (few, other)]
    assert words[0] != words[1]


def test_machines_come_back(entries, tmp_path):
    found = some(entries, 0.0, 0.1)
    found.save(tmp_path / "machines.json")
    again = Machines.load(tmp_path / "machines.json")
    assert [run.path for run in again.runs] == ["path 0", "path 1"]
    for id in found.runs[0].checks:
        assert np.array_equal(again.means(id), found.means(id), equal_nan=True) and again.met(id) == found.met(id)


def test_machines_are_used_for_the_same_data_only(entries, stamped, tmp_path):
    assert machines_of(stamped, tmp_path) is None
    (tmp_path / "test").mkdir()
    some(entries, 0.0).save(tmp_path / "test" / "machines.json")
    assert len(machines_of(stamped, tmp_path).runs) == 1
    for other in ({"data": "mnist"}, {"provenance": {"data_checksum": "other"}}, {"provenance": {}}):
        assert machines_of(dataclasses.replace(stamped, **other), tmp_path) is None


DAMAGES = {
    "required field `precision` - at `\\$.runs": lambda plain: plain["runs"][0].pop("precision"),
    "Expected `array`, got `object` - at `\\$.runs`": lambda plain: plain.update(runs={}),
    "Expected `str`, got `int` - at `\\$.data`": lambda plain: plain.update(data=3),
    "Expected `bool`, got `str`": lambda plain: first_check(plain).update(met="yes"),
    "Expected `float`, got `str`": lambda plain: first_check(plain)["value"].update(mean="0.9"),
    "required field `low`": lambda plain: first_check(plain)["value"].pop("low"),
    "a run has no checks": lambda plain: plain["runs"][0].update(checks={}),
    "have the same rounding": lambda plain: plain["runs"].append(plain["runs"][0]),
}


def first_check(plain):
    return next(iter(plain["runs"][0]["checks"].values()))


@pytest.mark.parametrize("words", DAMAGES)
def test_a_file_that_cannot_be_is_refused_by_name(words, entries, tmp_path):
    path = tmp_path / "machines.json"
    some(entries, 0.0, 0.1).save(path)
    plain = read_json(path, "machines")
    DAMAGES[words](plain)
    write_json(path, "machines", plain)
    with pytest.raises(DamagedFileError, match=words) as caught:
        Machines.load(path)
    assert str(path) in str(caught.value)


def test_an_altered_file_is_refused_by_name(entries, stamped, tmp_path):
    (tmp_path / "test").mkdir()
    path = tmp_path / "test" / "machines.json"
    some(entries, 0.0).save(path)
    path.write_text(path.read_text("utf-8").replace('"met": true', '"met": false', 1), "utf-8")
    with pytest.raises(DamagedFileError, match=r"machines\.json is damaged"):
        machines_of(stamped, tmp_path)


@pytest.fixture
def fake(entries, monkeypatch):
    """Processes that answer at once: paths with an environment of more than one variable round alike."""
    asked = []

    def answer(task, environment):
        asked.append((task["do"], task.get("name")))
        kernel = sorted(environment)[0] if environment else "none"
        if environment.get("OPENBLAS_CORETYPE") == "SkylakeX":
            raise Unusable("its process was ended by signal SIGILL")
        found = {"kernels": [kernel], "rounding": kernel}
        if task["do"] == "probe":
            return found
        plain = dataclasses.asdict(a_run(entries, "x", precision=task["precision"]))
        return {"run": plain | found, "data": ["digits", "abc"]}

    monkeypatch.setattr(codepaths, "ask", answer)
    monkeypatch.setattr(machines, "today", lambda: "this")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    return asked


def test_a_processor_without_units_for_bfloat16_trains_in_float32(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False}, raising=False)
    lines, mixed = [], dataclasses.replace(profile("quick"), precision="bfloat16")
    found = measure(mixed, ["this machine", "bfloat16"], store=tmp_path, results=tmp_path, report=lines.append)
    assert [(run.path, run.precision) for run in found.runs] == [("this machine", "float32")]
    assert "bfloat16: left out, this processor cannot run it (it has no units for bfloat16)" in lines


def test_paths_are_measured_once_and_useless_ones_left_out(fake, tmp_path):
    lines, where = [], {"store": tmp_path / "runs", "results": tmp_path / "quick"}
    found = measure(profile("quick"), list(CODE_PATHS), **where, report=lines.append)
    assert [run.path for run in found.runs] == ["this machine", "haswell", "bfloat16"]
    assert found.runs[2].precision == "bfloat16" and found.runs[1].environment["OPENBLAS_CORETYPE"] == "Haswell"
    text = "\n".join(lines)
    assert "skylake: left out, this processor cannot run it" in text and "SIGILL" in text
    assert "zen: left out, it gives the numbers of a run that is there (by the path 'haswell')" in text
    assert "float32: left out" in text
    del fake[:]
    again = measure(profile("quick"), list(CODE_PATHS), **where)
    assert {do for do, _ in fake} == {"probe"} and [run.path for run in again.runs] == [run.path for run in found.runs]


def test_a_finished_path_is_kept_when_the_next_one_fails(fake, tmp_path, monkeypatch):
    answer = codepaths.ask

    def failing(task, environment):
        if task.get("name") == "bfloat16":
            raise ProcessError("the disk burns")
        return answer(task, environment)

    monkeypatch.setattr(codepaths, "ask", failing)
    with pytest.raises(ProcessError, match="burns"):
        measure(profile("quick"), ["this machine", "bfloat16"], store=tmp_path, results=tmp_path / "quick")
    assert [run.path for run in Machines.load(tmp_path / "quick" / "machines.json").runs] == ["this machine"]


def test_runs_of_other_code_or_data_are_replaced(fake, entries, tmp_path, monkeypatch):
    where, lines = {"store": tmp_path, "results": tmp_path}, []
    measure(profile("quick"), ["this machine", "bfloat16"], **where)
    monkeypatch.setattr(machines, "today", lambda: "that")
    found = measure(profile("quick"), ["haswell"], **where, report=lines.append)
    assert [run.path for run in found.runs] == ["haswell"] and not found.outdated
    assert "replaced: this machine, bfloat16" in lines[-1]
    dataclasses.replace(found, data="others").save(tmp_path / "machines.json")
    found = measure(profile("quick"), ["this machine"], **where, report=lines.append)
    assert [run.path for run in found.runs] == ["this machine"] and "had other data" in lines[-1]


def test_unknown_paths(tmp_path):
    for names in (["abacus"], []):
        with pytest.raises(InputError, match="choose of this machine, skylake"):
            measure(profile("quick"), names, store=tmp_path, results=tmp_path)


def test_the_table_has_every_check(entries):
    text = table(some(entries, -0.5, 0.0, 0.5), entries)
    id, check = entries[0].ids()[0]
    line = next(line for line in text.splitlines() if line.startswith(id))
    for factor in (0.5, 1, 1.5):
        assert f"{check.value.mean * factor:.5g}" in line
    assert "3 of 3, published yes" in line and len(text.splitlines()) == 1 + sum(len(e.checks) for e in entries)
    assert "published yes" not in table(some(entries, 0.0), [])


@pytest.mark.slow
def test_a_process_reports_the_kernels_that_its_environment_chose(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")  # of the user; a path sets its own
    task = {"do": "probe", "precision": "float32"}
    plain, plain_again, other = (ask(task, environment) for environment in ({}, {}, GOOD))
    assert plain == plain_again
    assert plain["kernels"][-1].startswith("torch ") and other["kernels"][-1] == "torch DEFAULT"
    blas = [name for name in other["kernels"] if name.startswith("openblas")]
    if any(name.endswith(("SkylakeX", "Haswell", "Zen")) for name in plain["kernels"]):
        assert blas and all(name.endswith("Haswell") for name in blas)
    assert not any(name.endswith("Nehalem") for name in plain["kernels"])
    if plain["kernels"] != other["kernels"]:
        assert plain["rounding"] != other["rounding"]


def test_a_process_that_dies_or_fails_says_how(monkeypatch, capfd):
    task = {"do": "probe", "precision": "float32"}
    monkeypatch.setattr(codepaths, "CHILD", "import os; os.kill(os.getpid(), 4)")
    with pytest.raises(Unusable, match="SIGILL"):
        ask(task, {})
    monkeypatch.setattr(
        codepaths, "CHILD", "import os, sys; sys.stderr.write('the reason'); sys.stderr.flush(); os._exit(3)"
    )
    with pytest.raises(ProcessError, match="status 3"):
        ask(task, {})
    assert "the reason" in capfd.readouterr().err
    monkeypatch.setattr(codepaths, "CHILD", """import os; print('{{"error": "no data"}}', flush=True); os._exit(0)""")
    with pytest.raises(InputError, match="no data"):
        ask(task, {})


def test_an_error_of_the_study_comes_back_as_a_sentence(tmp_path):
    task = {"do": "study", "precision": "float32", "profile": "huge", "name": "x", "store": str(tmp_path), "jobs": 1}
    with pytest.raises(InputError, match='Unknown profile "huge"'):
        ask(task, {})


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_process_ends_with_its_parent(tmp_path):
    """The parent is killed while its child sleeps: the child's end closes the pipe that both could write to."""
    child = "import sys; print('up', file=sys.stderr, flush=True); import time; time.sleep(1000)"
    code = f"from vaept.companion import codepaths; codepaths.CHILD = {child!r}; codepaths.ask({{}}, {{}})"
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    with parent:
        said = parent.stderr.readline()
        parent.send_signal(signal.SIGKILL)
        assert said == "up\n" and parent.stderr.read() == ""  # returns when nobody holds the pipe any more


def test_a_study_is_carried_out_in_the_precision_asked_for(stamped, few, tmp_path, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(Study, "ensemble_folder", lambda study, run: None)
    monkeypatch.setattr(Study, "evaluation_folder", lambda study, run: seen.append(study.profile.precision))
    monkeypatch.setattr(Study, "measure_folders", lambda study, run: {})
    for name in ("baselines_folder", "interchange"):
        monkeypatch.setattr(Study, name, lambda study, *what: None)
    monkeypatch.setattr(
        Study,
        "records",
        lambda study: dataclasses.replace(
            stamped, provenance=stamped.provenance | {"machine": "m", "versions": {"torch": "2"}}
        ),
    )
    task = {"profile": "quick", "precision": "bfloat16", "name": "odd", "store": str(tmp_path), "jobs": 1}
    found = json.loads(json.dumps(codepaths.carry_out(task, {"kernels": ["k"], "rounding": "r"})))
    assert set(seen) == {"bfloat16"} and found["data"] == ["digits", "abc"]
    assert f"odd: {len(seen)} of {len(seen)}: " in capsys.readouterr().err
    run = msgspec.convert(found["run"] | {"path": "odd", "environment": {}, "code": "c"}, Run)
    assert {id: (each.quantity, each.met) for id, each in run.checks.items()} == {
        id: (check.words, check.met) for each in few for id, check in each.ids()
    }
