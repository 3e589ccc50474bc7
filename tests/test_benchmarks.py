"""The example in another trainer: what the book shows of it, what it measured, and that it runs."""

import importlib
import json
import math
import re
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
import torch
from click.testing import CliRunner

from vaept.companion import benchmarks
from vaept.vae import VAE

ROOT = Path(__file__).parents[1]


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("pythae_field")


def test_chapter_shows_the_class_as_it_runs_in_few_lines():
    source = (ROOT / "benchmarks" / "field_for_pythae.py").read_text("utf-8")
    shown = source[source.index("from ") :].strip()
    notebook = nbformat.read(ROOT / "notebooks" / "08_your_own_data.ipynb", 4)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert re.findall(r"^```python\n(from pythae.*?)\n```$", prose, re.MULTILINE | re.DOTALL) == [shown]
    lines = shown[shown.index("class ") :].splitlines()
    assert len(lines) < 15 and max(map(len, lines)) <= 78


def test_results_have_all_arms_of_both_trainers():
    found = json.loads((ROOT / "benchmarks" / "results" / "pythae_field.json").read_text("utf-8"))
    assert {"data", "data_checksum", "members", "epochs", "settings", "machine", "versions", "commit"} < found.keys()
    assert found["versions"].keys() >= {"vaept", "pythae", "torch"} and re.fullmatch("[0-9a-f]{10}", found["commit"])
    arms = [(row["d"], row["trainer"], row["arm"]) for row in found["rows"]]
    kinds = {"pythae": ("plain", "field"), "vaept": ("plain", "field", "first layer")}
    assert set(arms) == {(d, who, arm) for d in (2, 4) for who, own in kinds.items() for arm in own}
    assert len(arms) == 10 and [recipe["d"] for recipe in found["recipes"]] == [2, 4]
    for row in found["rows"]:
        assert len(row["minus_elbo"]) == found["members"] and all(map(math.isfinite, row["minus_elbo"]))
        for measure in ("coordinates", "signed_permutation", "orthogonal"):
            assert -1 <= row[measure]["low"] <= row[measure]["mean"] <= row[measure]["high"] <= 1 + 1e-9


def rows(field):
    """A table of results in which members agree to this in the field."""
    arms = {"plain": 0.1, "field": field, "first layer": 0.1}
    return [
        {
            "trainer": trainer,
            "arm": arm,
            "d": d,
            "coordinates": {"mean": mean, "low": mean - 0.02, "high": mean + 0.01},
            "minus_elbo": [25.0, 25.5, 26.0 - (arm == "field") + (trainer == "vaept" and arm == "plain")],
        }
        for d in (2, 4)
        for trainer in ("pythae", "vaept")
        for arm, mean in arms.items()
        if (trainer, arm) != ("pythae", "first layer")
    ]


@pytest.mark.parametrize(("field", "told"), [(0.98, "In pythae too"), (0.11, "do not agree better")])
def test_the_sentence_below_the_table_follows_the_results(monkeypatch, field, told):
    recipes = [{"d": 2, "field": "principal", "coupling": 3.0}]
    found = {"data": "digits", "members": 3, "epochs": 7, "recipes": recipes, "rows": rows(field)}
    monkeypatch.setattr(benchmarks, "results", lambda name: found)
    *lines, _, below, _, weights = benchmarks.other_trainer().splitlines()
    assert "pythae, in nats, is 0.33 at d = 2" in weights and "as in pythae, 0.00 at d = 2, 0.00 at d = 4." in weights
    assert "gain more than the field" not in weights
    assert len(lines) == 12 and lines[2] == "| d = 2, pythae, no field | 0.100 [0.080, 0.110] | 25.50 [25.00, 26.00] |"
    assert "−0.33 [−1.00, 0.00] at d = 4" in below
    assert told in below and "3 seeds, 7 epochs; principal field, λ = 3, at d = 2" in below


def test_a_copy_without_the_results_says_so(monkeypatch):
    monkeypatch.setattr(benchmarks, "CHECKOUT", None)
    assert "was not measured" in benchmarks.other_trainer()
    monkeypatch.setattr(benchmarks, "CHECKOUT", ROOT / "nowhere")
    assert "was not measured" in benchmarks.other_trainer()


def test_times_are_told_beside_their_peers_where_all_were_measured(monkeypatch):
    seconds = {"vaept, float32": 2.0, "tutorials' loop": 3.0, "pythae": 4.0, "the matrix products alone": 1.0}
    measured = {f"member-epoch, {name}, s": [own - 0.1, own, own + 0.1] for name, own in seconds.items()}
    without = {name: values for name, values in measured.items() if "products" not in name}
    monkeypatch.setattr(benchmarks, "results", lambda name: {"one": measured, "other": without})
    told = str(benchmarks.times())
    assert "one: pythae takes 2.0 times as long as vaept, the tutorials' loop 1.5 times. 50% of" in told
    assert "would be 4.0 times as fast as pythae" in told and "other: pythae" not in told
    assert "| one | `member-epoch, pythae, s` | 4 | 3.9 to 4.1 | 3 |" in told


def test_without_pythae_the_command_says_what_to_install(benchmark, monkeypatch):
    assert "--epochs" in CliRunner().invoke(benchmark.main, ["--help"]).output

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(benchmark.metadata, "version", missing)
    result = CliRunner().invoke(benchmark.main, [])
    assert result.exit_code == 1 and "pip install -r benchmarks/requirements.txt" in result.output


def test_members_start_with_a_first_layer_as_pytorch_draws_it_and_all_else_as_before(benchmark, digits):
    how = {"latent_dim": 2, "epochs": 1, "hidden": 16, "jobs": 1, "progress": False}
    first, second = benchmark.with_first_layer_of_pytorch(digits, seeds=range(2), **how).members
    plain = VAE(64, 2, 16)
    plain.initialise(torch.Generator().manual_seed(1))
    same = {name: bool((value == plain.get_parameter(name)).all()) for name, value in second.named_parameters()}
    assert [name for name, value in same.items() if not value] == ["decoder.0.weight", "decoder.0.bias"]
    assert (second.decoder[0].bias != 0).all() and (first.decoder[0].bias != second.decoder[0].bias).all()


@pytest.mark.filterwarnings("ignore")  # of pythae
def test_pythae_trains_in_the_field(benchmark, digits):
    pytest.importorskip("pythae")
    from vaept import pca_field
    from vaept.perturbation import Schedule
    from vaept.vae import Recipe

    recipe = Recipe(pca_field(digits.train, 2), 3.0, Schedule(0.1, 0.2, 0.9), (), ())
    found = []
    for own in (recipe, None):
        model = benchmark.pythae_trained(digits, 2, 0, 2, own)
        latents, loss = benchmark.pythae_measured(model, digits.test)
        assert latents.shape == (len(digits.test), 2) and math.isfinite(loss)
        found.append(latents)
    u = recipe.field.transform(digits.test)
    pulled, free = (abs((z * u).mean(axis=0) / (z.std(axis=0) * u.std(axis=0))) for z in found)
    assert (pulled > 0.9).all() and (pulled > free).any()
