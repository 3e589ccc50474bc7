import dataclasses
import functools
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import wait_for

import vaept
import vaept.companion.claims
from vaept.companion import book, cli, codepaths, commands, machines, profiles
from vaept.companion.cli import main
from vaept.companion.profiles import profile
from vaept.companion.study import Study
from vaept.perturbation.fields import Field
from vaept.perturbation.potentials import SCHEDULES
from vaept.vae import fitting
from vaept.vae.ensemble import Ensemble
from vaept.vae.model import LIKELIHOODS

QUICK = ["--seeds", "2", "--epochs", "2", "--hidden", "8", "--jobs", "1"]


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    "command", [[], ["check"], ["reproduce"], ["report"], ["train"], ["verify"], ["publish"], ["spread"], ["figures"]]
)
def test_help_explains_every_option(command):
    shown = call(*command, "--help")
    assert shown.exit_code == 0 and "Usage:" in shown.output
    if command:
        options = [option for parameter in main.commands[command[0]].params for option in parameter.opts]
        assert options and all(option in shown.output or option.upper() in shown.output for option in options)


def test_help_needs_none_of_the_libraries_that_take_long_to_import():
    code = "import sys; from vaept.companion.cli import main; "
    code += "[command.get_help(main.make_context('vaept', [name])) for name, command in main.commands.items()]; "
    code += "print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "click" in shown and not {"torch", "sklearn", "matplotlib", "scipy", "numpy"} & set(shown)


def test_what_the_options_name_is_what_there_is():
    assert (*commands.FIELDS,) == cli.FIELDS and (*SCHEDULES,) == cli.SCHEDULES and LIKELIHOODS == cli.LIKELIHOODS
    assert all(callable(getattr(commands, name)) for name in main.commands)


def test_version():
    assert vaept.__version__ in call("--version").output


def test_train_saves_an_ensemble_and_prints_its_numbers(tmp_path):
    path = tmp_path / "e.safetensors"
    shown = call("train", *QUICK, "--output", path)
    assert shown.exit_code == 0, shown.output
    assert "seed 1: −ELBO" in shown.output and "coordinate agreement" in shown.output
    assert len(Ensemble.load(path).members) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["e.safetensors"]


def test_train_in_a_field_saves_the_field_too(tmp_path):
    path = tmp_path / "e.safetensors"
    shown = call("train", *QUICK, "--field", "principal", "--coupling", 2, "--output", path)
    assert shown.exit_code == 0, shown.output
    trained, field = Ensemble.load(path), Field.load(tmp_path / "e.field.safetensors")
    assert trained.settings.potential == "dipole" and trained.settings.schedule.switch_off
    assert field.values.shape == (1438, 2)
    shown = call("train", *QUICK, "--coupling", 2, "--output", path)
    assert shown.exit_code == 1 and "--coupling 2 needs --field" in shown.output


def test_train_on_own_data_with_one_member(tmp_path, rng):
    np.savez(tmp_path / "mine.npz", x=rng.random((80, 5)))
    shown = call("train", *QUICK, "--seeds", 1, "--data", tmp_path / "mine.npz", "--output", tmp_path / "e")
    assert shown.exit_code == 0, shown.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--latent-dim", "0"], "latent_dim must be an integer from 1 to 10000; it is 0"),
        (["--seeds", "0"], "seeds is empty"),
        (["--hidden", "8,x"], "--hidden needs integers"),
        (["--data", "nowhere.npz"], "There is no file nowhere.npz"),
        (["--data", "letters"], "Unknown data set"),
        (["--device", "abacus"], "does not exist here"),
    ],
)
def test_train_errors_are_one_sentence(arguments, message, tmp_path):
    shown = call("train", *QUICK, "--output", tmp_path / "e", *arguments)
    assert shown.exit_code == 1 and message in shown.output and "Traceback" not in shown.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "1000000000"], "seeds has more than 10000 entries"),
        (["--seeds", "1e3"], "not a valid integer"),
        (["--epochs", "0"], "epochs must be an integer from 1"),
        (["--epochs", "100000000000"], "epochs must be an integer from 1"),
        (["--latent-dim", "9" * 30], "latent_dim must be an integer from 1"),
        (["--hidden", "0"], "hidden[0] must be an integer from 1"),
        (["--hidden", "9" * 8], "GiB that may be used here"),
        (["--batch-size", "0"], "batch_size must be an integer from 1"),
        (["--learning-rate", "nan"], "learning_rate must be a finite number"),
        (["--learning-rate", "-1"], "learning_rate must be a finite number"),
        (["--field", "neighbour", "--coupling", "nan"], "coupling"),
        (["--field", "neighbour", "--coupling", "-1"], "coupling"),
        (["--field", "neighbour", "--device", "abacus"], "does not exist here"),
        (["--field", "rotation"], "not one of"),
        (["--jobs", "0"], "not in the range"),
        (["--data", "."], "A folder is no data set"),
        (["--data", ""], "A folder is no data set"),
        (["--output", "."], "is a directory"),
    ],
)
def test_train_refuses_before_anything_is_made(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fitting, "train", None)
    monkeypatch.setattr(commands, "FIELDS", dict.fromkeys(cli.FIELDS))
    shown = call("train", *QUICK, "--output", "e", *arguments)
    assert shown.exit_code in (1, 2) and message in shown.output and "Traceback" not in shown.output
    assert isinstance(shown.exception, SystemExit)


def test_train_to_a_folder_is_refused_and_to_a_relative_file_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    shown = call("train", *QUICK, "--output", "folder")
    assert shown.exit_code == 2 and "'folder' is a directory" in shown.output
    assert call("train", *QUICK, "--output", "e.safetensors").exit_code == 0 and (tmp_path / "e.safetensors").is_file()


ODD = {
    "small$<b>": lambda rng: {"x": rng.random((60, 6)), "y": np.where(rng.random(60) < 0.5, -3, 10**12)},
    "one": lambda rng: {"x": rng.random((60, 1, 8, 8)), "y": np.full(60, 7)},
    "bits": lambda rng: {"x": rng.integers(0, 2, (60, 30)).astype(np.uint8)},
    "many": lambda rng: {"x": rng.random((120, 5)), "y": np.arange(120)},
    "flat": lambda rng: {"x": np.full((60, 5), 0.5)},
    "pairs": lambda rng: {"x": rng.random((60, 2))},
    "few": lambda rng: {"x": rng.random((59, 5))},
    "strings": lambda rng: {"x": rng.random((60, 5)), "y": np.array(["a", "b"] * 30)},
}


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        (
            "small$<b>",
            0,
            ["48 training and 12 test images of 6", "2 classes", "-3 (", "1000000000000 (", "call the data"],
        ),
        (
            "small$<b>",
            0,
            ["Left out: outliers. A share of 0.05 of 12 images is 1", "Left out: filters.", "can be made"],
        ),
        (
            "one",
            0,
            ["of 8 × 8 values", "Sides of 1 were dropped", "1 class,", "Left out: classifier.", "of one class, 7"],
        ),
        (
            "bits",
            0,
            ["taken as 0 and 1", "0 and 1 alone", "No classes.", "Left out: generation. The data have no classes."],
        ),
        (
            "many",
            0,
            ["120 classes", "and 100 more", "of them have no test images", "Figures name 20", "Left out: clustering."],
        ),
        ("flat", 1, ["1 different", "5 of 5 are the same", "too few directions", "asks for 4 coordinates"]),
        ("pairs", 1, ["vary in 2 directions only"]),
        ("few", 1, ["59 images; at least 60"]),
        ("strings", 1, ["must hold 60 integers"]),
    ],
)
def test_check_says_what_the_data_are_and_what_is_left_out(tmp_path, rng, name, status, words):
    np.savez(tmp_path / f"{name}.npz", **ODD[name](rng))
    shown = call("check", tmp_path / f"{name}.npz", "--profile", "quick")
    assert shown.exit_code == status and not [each for each in words if each not in shown.output], shown.output
    assert "Traceback" not in shown.output and ("can be made" in shown.output) == (status == 0)


@pytest.mark.parametrize("command", ["reproduce", "publish", "spread", "verify"])
def test_every_command_looks_at_the_data_before_the_first_epoch(command, tmp_path, monkeypatch):
    np.savez(tmp_path / "flat.npz", x=np.full((60, 5), 0.5))
    flat = dataclasses.replace(profile("quick"), dataset=str(tmp_path / "flat.npz"))
    monkeypatch.setattr(profiles, "profile", lambda name: flat)
    monkeypatch.setattr(fitting, "train", None)
    monkeypatch.setattr(codepaths, "ask", None)
    where = ["--output", tmp_path / "book"] if command == "reproduce" else ["--results", tmp_path / "results"]
    shown = call(command, "--profile", "quick", "--store", tmp_path / "runs", *where)
    assert shown.exit_code == 1 and "too few directions" in shown.output, shown.output


def test_a_folder_is_never_taken_for_data_of_another_profile(tmp_path):
    (tmp_path / "mnist").mkdir()
    for profile_name, folder in (("quick", tmp_path), ("digits", tmp_path), ("mnist", tmp_path / "mnist")):
        shown = call("reproduce", "--profile", profile_name, "--data", folder, "--store", tmp_path / "runs")
        assert shown.exit_code == 1 and "is a folder" in shown.output, shown.output
    assert not list((tmp_path / "runs").glob("*")) if (tmp_path / "runs").exists() else True


def test_the_folder_of_a_book_must_hold_nothing_else(tmp_path):
    shown = call("reproduce", "--profile", "quick", "--store", tmp_path / "runs", "--output", tmp_path)
    assert shown.exit_code == 1 and "cannot be built in" in shown.output and "Give another folder" in shown.output


def test_a_relative_output_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = []
    monkeypatch.setattr(commands, "_check_output", lambda output, root, study: found.append(output) or sys.exit(3))
    shown = call("reproduce", "--profile", "quick", "--store", "runs", "--output", "my book")
    assert shown.exit_code == 3 and found == [tmp_path.resolve() / "my book"]


@pytest.mark.parametrize("option", ["--store", "--output"])
def test_unwritable_folder(option, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("VAEPT_STORE", str(tmp_path / "runs"))
    shown = call("reproduce", "--profile", "quick", option, tmp_path / "file" / "x")
    assert shown.exit_code == 1 and "cannot be written" in shown.output and "Traceback" not in shown.output
    assert not list((tmp_path / "runs").glob("ensemble-*")), "it should fail before any training"


def test_train_to_an_unwritable_file_fails_before_training(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(fitting, "train", None)
    shown = call("train", *QUICK, "--output", tmp_path / "file" / "e")
    assert shown.exit_code == 1 and "cannot be written" in shown.output


def test_unknown_profile():
    shown = call("reproduce", "--profile", "huge")
    assert shown.exit_code == 1 and "choose one of quick, digits, mnist" in shown.output


def test_missing_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("VAEPT_STORE", str(tmp_path))
    monkeypatch.setenv("VAEPT_DATA_DIR", str(tmp_path / "nowhere"))
    shown = call("reproduce", "--profile", "mnist")
    assert shown.exit_code == 1 and "VAEPT_DATA_DIR is set, but there is no folder" in shown.output


def test_without_the_book_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(book, "NEEDED", {"no_such_module": "no-such-project"})
    shown = call("reproduce")
    assert shown.exit_code == 1 and "needs no-such-project" in shown.output and "[book]" in shown.output


def test_outside_a_checkout_it_says_where_the_book_is(monkeypatch):
    monkeypatch.setattr(book, "CHECKOUT", None)
    shown = call("reproduce")
    assert shown.exit_code == 1 and "clone the repository" in shown.output


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_interrupted_training_says_that_it_can_be_continued(tmp_path):
    code = (
        "from vaept.companion import cli; from vaept.vae import training; training.CHECKPOINT_SECONDS = 0; cli.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", *QUICK, "--epochs", "100000", "--output", str(tmp_path / "e")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Shells start background jobs with this signal ignored, and their children inherit that.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        try:
            wait_for(tmp_path / "e.members" / "member-0.safetensors", process)
            process.send_signal(signal.SIGINT)
            _, shown = process.communicate()
        finally:
            process.kill()
    assert process.returncode == 130 and "the same command continues" in shown and "Traceback" not in shown


@pytest.fixture
def quick_ledger(monkeypatch):
    """Only the claim about the correction is checked, which takes the least time."""
    claims = [claim for claim in vaept.companion.claims.CLAIMS if claim.id == "C4"]
    monkeypatch.setattr(vaept.companion.ledger, "CLAIMS", claims)


def test_verify_prints_the_published_ledger_without_data_or_training(records, quick_ledger, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "train", None)
    records.save(tmp_path / "results" / "test")
    shown = call("verify", "--results", tmp_path / "results", "--figures", tmp_path / "figures")
    assert shown.exit_code == 0, shown.output
    assert "C4" in shown.output and "1,438 images of digits" in shown.output and "control:" in shown.output
    assert len(list((tmp_path / "figures").glob("*_test.png"))) == 8


@pytest.fixture
def carried_out(records, quick_ledger, monkeypatch):
    """The command line finds a study that was carried out before."""
    monkeypatch.setattr(Study, "carry_out", lambda study, report: None)
    monkeypatch.setattr(Study, "records", lambda study: records)


def test_publish_then_verify_published(carried_out, records, tmp_path):
    arguments = ["--results", tmp_path / "results", "--store", tmp_path / "runs", "--profile", "quick"]
    shown = call("publish", *arguments)
    assert shown.exit_code == 0 and "MB" in shown.output
    assert sorted(path.name for path in (tmp_path / "results" / "quick").iterdir()) == [
        "latents.safetensors",
        "ledger.md",
        "records.json",
        "verdicts.json",
    ]
    shown = call("verify", "--published", *arguments)
    assert shown.exit_code == 0 and "0 of 20 numbers moved" in shown.output, shown.output
    assert "spread between machines was not measured" in shown.output

    records.arms["corrected", 2].minus_elbo[:] += 5
    shown = call("verify", "--published", *arguments)
    assert shown.exit_code == 1
    moved = [line for line in shown.output.splitlines() if line.startswith("  moved")]
    assert moved and all("−ELBO" in line and "d = 2" in line for line in moved)


def spread_of(records, *shifts, **other):
    """Runs that gave what records say, with numbers shifted, for a profile "quick" with the data of the records."""
    runs = []
    for number, shift in enumerate(shifts):
        checks = {
            id: machines.Found.of(dataclasses.replace(c, value=dataclasses.replace(c.value, mean=c.value.mean + shift)))
            for each in vaept.companion.ledger.ledger(records)
            for id, c in each.ids()
        }
        plain = {"environment": {}, "precision": "float32", "kernels": [], "machine": "", "created": "", "versions": {}}
        plain |= {"code": machines.today(), "rounding": str(number), "checks": checks} | other
        runs.append(machines.Run(path=f"path {number}", **plain))
    return machines.Machines("quick", records.data, records.provenance["data_checksum"], tuple(runs))


@pytest.fixture
def quick_records(records):
    records.provenance["data_checksum"] = "abc"
    object.__setattr__(records, "profile", "quick")
    return records


def test_verify_judges_by_the_spread_between_machines(carried_out, quick_records, tmp_path):
    records, folder = quick_records, tmp_path / "results" / "quick"
    arguments = ["--results", tmp_path / "results", "--store", tmp_path / "runs", "--profile", "quick"]
    assert call("publish", *arguments).exit_code == 0
    spread_of(records, 0.0, -2.0, 2.0).save(folder / "machines.json")
    records.arms["corrected", 2].minus_elbo[:] += 5  # far outside of the interval over members
    shown = call("verify", "--published", *arguments)
    assert shown.exit_code == 0 and "0 of 20 numbers moved" in shown.output, shown.output
    within = [line for line in shown.output.splitlines() if line.startswith("  within the spread between machines")]
    assert len(within) == 1 and all("between machines −" in line or "between machines -" in line for line in within)
    assert "undecided" in shown.output  # corrected members are better in the runs and worse here
    records.arms["corrected", 2].minus_elbo[:] += 500
    shown = call("verify", "--published", *arguments)
    assert shown.exit_code == 1 and "1 of 20 numbers moved" in shown.output


def test_verify_says_what_is_undecided_and_what_is_old(quick_records, quick_ledger, tmp_path, monkeypatch):
    records, folder = quick_records, tmp_path / "quick"
    records.provenance["code"] = {"training": "a", "fields": "old"}
    records.save(folder)
    monkeypatch.setattr(commands, "code_hashes", lambda: {"training": "a", "fields": "b"})
    found = spread_of(records, 0.0, code="old")
    id = next(iter(found.runs[0].checks))
    found.runs[0].checks[id] = dataclasses.replace(found.runs[0].checks[id], met=False)
    found.save(folder / "machines.json")
    shown = call("verify", "--results", tmp_path)
    assert shown.exit_code == 0, shown.output
    assert "made by an earlier version of: fields; the run must be made again to vouch for C4." in shown.output
    assert (
        "Verdicts also from runs under other code paths: path 0" in shown.output
        and "`vaept spread` makes them again" in shown.output
    )
    assert "undecided (1 of 2)  agreement between two labs, d = 2" in shown.output
    (folder / "machines.json").write_text("{}")
    shown = call("verify", "--results", tmp_path)
    assert shown.exit_code == 1 and "machines.json" in shown.output and "Traceback" not in shown.output


def test_published_records_from_before_code_was_recorded(quick_records, quick_ledger, tmp_path):
    quick_records.save(tmp_path / "quick")
    assert "made before code was recorded" in call("verify", "--results", tmp_path).output


def test_spread_writes_machines_and_prints_every_check(quick_records, quick_ledger, tmp_path, monkeypatch):
    found = spread_of(quick_records, 0.0)
    (plain,) = dataclasses.asdict(found)["runs"]

    def ask(task, environment):
        if task["do"] == "probe":
            return {"kernels": ["some"], "rounding": str(environment)}
        return {"run": plain | {"rounding": str(environment)}, "data": [found.data, found.data_checksum]}

    monkeypatch.setattr(codepaths, "ask", ask)
    quick_records.save(tmp_path / "quick")
    arguments = ["--profile", "quick", "--results", tmp_path, "--store", tmp_path / "runs"]
    shown = call("spread", *arguments, "--paths", "this machine, haswell")
    assert shown.exit_code == 0, shown.output
    kept = machines.Machines.load(tmp_path / "quick" / "machines.json")
    assert [run.path for run in kept.runs] == ["this machine", "haswell"]
    assert all(id in shown.output for id in kept.runs[0].checks) and "0 checks undecided" in shown.output
    shown = call("spread", *arguments, "--paths", "abacus")
    assert shown.exit_code == 1 and "Unknown code path abacus" in shown.output


def test_nothing_published(tmp_path):
    shown = call("verify", "--results", tmp_path)
    assert shown.exit_code == 1 and "Nothing is published in" in shown.output
    shown = call("verify", "--published", "--results", tmp_path, "--store", tmp_path / "runs")
    assert shown.exit_code == 1 and "Nothing is published in" in shown.output
