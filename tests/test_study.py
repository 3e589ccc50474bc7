import dataclasses

import numpy as np
import pytest

from vaept import study
from vaept.profiles import profile
from vaept.store import RunStore
from vaept.study import Study, open_study


@pytest.fixture
def tiny(tmp_path):
    """A study of a few epochs, in a store of its own."""
    small = dataclasses.replace(
        profile("quick"), latent_dims=(2,), members=2, epochs=2, likelihood_images=5, importance_samples=3
    )
    return Study(small, RunStore(tmp_path / "runs"), jobs=1)


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
