import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from vaept.companion import report
from vaept.companion.cli import main
from vaept.errors import InputError
from vaept.vae.consensus import GROUPS

ANGLE = 0.5
TURN = np.array([[np.cos(ANGLE), -np.sin(ANGLE)], [np.sin(ANGLE), np.cos(ANGLE)]])


@pytest.fixture
def paths(rng, tmp_path):
    labels = rng.integers(3, size=120)
    mu = 3 * rng.standard_normal((3, 2))[labels] + rng.standard_normal((120, 2))
    for name, own in (("a<b>", mu), ("b", mu @ TURN)):
        np.savez(tmp_path / f"{name}.npz", mu=own, logvar=np.full(mu.shape, -3.0), y=labels)
    return [tmp_path / "a<b>.npz", tmp_path / "b.npz"]


def test_the_report_is_a_page_without_network_and_a_json(paths, tmp_path):
    field = tmp_path / "field.npy"
    np.save(field, np.load(paths[0])["mu"])
    call = ["report", *map(str, paths), "--orient", str(field), "--jobs", "1", "--output", str(tmp_path / "out")]
    shown = CliRunner().invoke(main, call)
    assert shown.exit_code == 0, shown.output
    assert "group: rotation" in shown.output
    text = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert not re.search("https?:|<script|<link", text) and len(text) < 3e6
    assert report.MEANING["rotation"][0] in text and "a&lt;b&gt;.npz" in text and "a<b>" not in text
    assert all(source.startswith("data:image/png") for source in re.findall("src='([^']*)'", text))
    found = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    kinds = {
        "runs": list,
        "notes": list,
        "group": str,
        "n": int,
        "d": list,
        "examples_used": dict,
        "pairs": list,
        "noise": list,
        "inactive": list,
        "coordinates": dict,
        "neighbours": dict,
        "partitions": dict,
        "spectra": list,
        "probe": dict,
        "consensus": dict,
        "oriented": dict,
    }
    assert {name: type(value) for name, value in found.items()} == kinds
    assert found["group"] == "rotation" in GROUPS and found["pairs"][0]["r2"]["rotation"] > 0.999
    assert found["oriented"]["after"] > found["oriented"]["before"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "oriented_a<b>.npz",
        "oriented_b.npz",
        "report.html",
        "report.json",
    ]


def test_a_smaller_group_that_nearly_explains_is_said():
    pair = {"r2": {"same": 0.1, "signed permutation": 0.7, "rotation": 0.988, "linear": 0.989, "smooth": 0.993}}
    words = report.nearly({"group": "smooth", "pairs": [pair, pair]})
    assert "a rotation explains nearly all: 98.8% of the variance in every pair, against 99.3%" in words
    poor = {"r2": pair["r2"] | {"rotation": 0.8, "linear": 0.8}}
    assert report.nearly({"group": "smooth", "pairs": [pair, poor]}) == ""
    assert report.nearly({"group": "none", "pairs": [pair]}) == ""
    assert report.nearly({"group": "same", "pairs": [pair]}) == ""


def test_how_much_more_a_group_explains_is_said_in_numbers():
    pairs = [{"r2": {"rotation": 0.5, "linear": each, "smooth": 0.99}} for each in (0.96, 0.98)]
    words = report.explained({"group": "smooth", "pairs": pairs})
    assert words == "Explained variance of held-out examples, R², by group: linear 0.97, smooth 0.99."
    assert report.explained({"group": "rotation", "pairs": pairs}).endswith("by group: rotation 0.50.")
    assert report.explained({"group": "none", "pairs": pairs}) == ""
    assert "8% (smooth)" in report.RULE and "3.5 standard errors" in report.RULE


def test_directions_that_are_hardly_used_are_told(rng):
    consensus = {"shares": [0.9, 0.08, 0.02], "agreement": [0.97, 0.9, 0.5]}
    words = report.directions({"group": "smooth", "consensus": consensus})
    assert "2 of 3 directions carry 98% of the variance; along the first the runs agree to r = 0.97" in words
    assert words.startswith("Hardly used: 1 of 3 directions.") and words.endswith("along the last to 0.50.")
    one = {"shares": [1.0], "agreement": [0.97]}
    words = report.directions({"group": "same", "consensus": one})
    assert "1 of 1 directions carries 100%" in words and "Hardly" not in words
    assert report.directions({"group": "same", "consensus": None}) == ""
    mu = rng.standard_normal((60, 2)) * (5, 0.1)
    found = report._consensus(report.align([mu, mu @ TURN]))
    assert found["shares"][0] > 0.99 and found["agreement"][0] > 0.999


def test_every_group_has_its_meaning():
    assert tuple(report.MEANING) == GROUPS and all(len(words) == 3 for words in report.MEANING.values())


def test_runs_of_other_dimension_and_few_examples_have_a_page(rng, tmp_path):
    mu = rng.standard_normal((50, 2))
    np.save(tmp_path / "a.npy", mu)
    np.save(tmp_path / "b.npy", mu @ rng.standard_normal((2, 3)))
    found = report.make([tmp_path / "a.npy", tmp_path / "b.npy"], tmp_path / "out", jobs=1)
    assert found["group"] == "linear" and found["consensus"] is None and found["probe"] is None
    assert "do not say how noisy they are" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_what_cannot_be_reported(paths, tmp_path, rng):
    with pytest.raises(InputError, match="One run cannot be compared"):
        report.make(paths[:1], tmp_path / "out")
    np.save(tmp_path / "field.npy", rng.standard_normal((7, 2)))
    shown = CliRunner().invoke(main, ["report", *map(str, paths), "--labels", str(tmp_path / "none.txt")])
    assert shown.exit_code == 1 and "There is no file" in shown.output
