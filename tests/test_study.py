import dataclasses
import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vaept import study
from vaept.errors import InputError
from vaept.study import RunStore, Study, imported_modules, open_study, profile, profiles, source_hash


@pytest.fixture
def tiny(tmp_path):
    """A study of a few epochs, in a store of its own."""
    small = dataclasses.replace(
        profile("quick"), latent_dims=(2,), members=2, epochs=2, likelihood_images=5, importance_samples=3
    )
    return Study(small, RunStore(tmp_path / "runs"), jobs=1)


def test_profiles_are_those_that_the_readme_names():
    assert list(profiles()) == ["quick", "digits", "mnist"]
    assert profile("digits").members == profile("mnist").members == 10
    assert profile("mnist").latent_dims == (2, 8) and profile("digits").dataset == "digits"


def test_unknown_profile_names_the_known():
    with pytest.raises(InputError, match='"fast": choose one of quick, digits, mnist'):
        open_study("fast")


def test_a_result_is_made_once(tmp_path):
    store, made = RunStore(tmp_path), []

    def make(folder):
        made.append(folder)
        (folder / "value").write_text("1")

    first = store.obtain("thing", {"a": 1, "b": [2, 3]}, make)
    assert store.obtain("thing", {"b": (2, 3), "a": 1}, make) == first and len(made) == 1
    assert store.obtain("thing", {"a": 2}, make) != first and len(made) == 2
    assert store.obtain("other", {"a": 1, "b": [2, 3]}, make) != first
    assert (first / "value").read_text() == "1"


def test_provenance_says_what_made_it(tmp_path):
    folder = RunStore(tmp_path).obtain("thing", {"a": 1}, lambda folder: None)
    record = json.loads((folder / "provenance.json").read_text())
    assert record["request"] == {"a": 1} and record["kind"] == "thing" and record["key"] in folder.name
    assert {"python", "torch", "numpy", "vaept"} <= record["versions"].keys() and record["seconds"] >= 0


def test_an_interrupted_result_does_not_appear_and_goes_on_in_its_folder(tmp_path):
    store = RunStore(tmp_path)

    def interrupted(folder):
        (folder / "half").write_text("kept")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.obtain("thing", {}, interrupted)
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    folder = store.obtain("thing", {}, lambda folder: (folder / "rest").write_text("new"))
    assert (folder / "half").read_text() == "kept" and (folder / "rest").exists()


def test_two_askers_at_once_get_one_result(tmp_path):
    made = []

    def make(folder):
        made.append(folder)
        time.sleep(0.3)
        (folder / "value").write_text("1")

    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(lambda _: RunStore(tmp_path).obtain("thing", {}, make), range(3)))
    assert len(made) == len(folders) == 1 and (folders.pop() / "value").exists()


def test_unwritable_store(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        RunStore(tmp_path / "file" / "runs")


def test_imports_are_found():
    source = "import torch\nfrom vaept import figures, __version__\nfrom vaept.study import open_study\n"
    assert imported_modules(source) == {"figures", "study"}


def test_source_hash_follows_imports(tmp_path, monkeypatch):
    (tmp_path / "upper.py").write_text("from vaept.lower import f\n")
    (tmp_path / "lower.py").write_text("def f(): ...\n")
    (tmp_path / "apart.py").write_text("")
    monkeypatch.setattr(study, "PACKAGE", tmp_path)
    hashes = []
    for name, text in [("apart", "x = 1"), ("lower", "def f(): return 1"), ("upper", "from vaept.lower import f as g")]:
        (tmp_path / f"{name}.py").write_text(text)
        source_hash.cache_clear()
        hashes.append(source_hash("upper"))
    source_hash.cache_clear()
    assert len(set(hashes)) == 3
    assert source_hash("upper") == hashes[-1]


def test_figures_do_not_retrain():
    source = (study.PACKAGE / "training.py").read_text("utf-8")
    assert "figures" not in imported_modules(source) and "study" not in imported_modules(source)


def test_a_study_trains_and_measures_once(tiny, monkeypatch):
    first = tiny.evaluation(2)
    assert first.mean.shape == (2, 359, 2) and first.exact.shape == (2, 5)
    names = sorted(path.name.split("-")[0] for path in tiny.store.root.iterdir() if path.is_dir())
    assert names == ["ensemble", "evaluation"]
    assert sorted(path.name for path in tiny.ensemble_folder(2).iterdir()) == [
        "ensemble.safetensors",
        "provenance.json",
    ]

    monkeypatch.setattr(study, "fit", None)
    monkeypatch.setattr(study, "evaluate", None)
    again = Study(tiny.profile, tiny.store, jobs=1)
    assert np.array_equal(again.evaluation(2).mean, first.mean)
    assert "profile quick, data digits, d = 2, run" in again.label(2)


def test_other_settings_or_data_are_other_runs(tiny, tmp_path, rng):
    folders = {tiny.ensemble_folder(2)}
    folders.add(Study(dataclasses.replace(tiny.profile, epochs=1), tiny.store, jobs=1).ensemble_folder(2))
    np.savez(tmp_path / "mine.npz", x=rng.random((60, 6)))
    mine = Study(dataclasses.replace(tiny.profile, dataset=str(tmp_path / "mine.npz")), tiny.store, jobs=1)
    folders.add(mine.ensemble_folder(2))
    assert len(folders) == 3 and mine.dataset.name == "mine"


def test_a_study_continues_interrupted_training(tiny, monkeypatch):
    real = study.fit

    def interrupted(*args, **kwargs):
        real(*args, **(kwargs | {"seeds": [0]}))
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tiny.ensemble(2)
    partial = next(tiny.store.root.glob(".ensemble-*.partial"))
    assert (partial / "members" / "member-0.safetensors").exists()
    monkeypatch.setattr(study, "fit", real)
    assert len(tiny.ensemble(2).members) == 2 and not partial.exists()


def test_store_can_be_chosen_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("VAEPT_STORE", str(tmp_path / "elsewhere"))
    assert open_study("quick").store.root == tmp_path / "elsewhere"
