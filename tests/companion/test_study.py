import dataclasses
import functools

import numpy as np
import pytest

from vaept.companion import claims, study
from vaept.companion.ledger import ledger
from vaept.companion.profiles import Run, profile
from vaept.companion.records import Records
from vaept.companion.store import RunStore
from vaept.companion.study import Study, open_study
from vaept.errors import InputError
from vaept.uses import bracket, denoising, detours, paths, relaxation


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
    assert sorted(path.name for path in tiny.ensemble_folder(Run(2)).iterdir()) == [
        "ensemble.safetensors",
        "provenance.json",
    ]

    monkeypatch.setattr(study, "fit", None)
    monkeypatch.setattr(study, "evaluate", None)
    again = Study(tiny.profile, tiny.store, jobs=1)
    assert np.array_equal(again.evaluation(2).mean, first.mean)
    assert "profile quick, data digits, runs cold d = 2" in again.label(2)


def test_other_settings_or_data_are_other_runs(tiny, tmp_path, rng):
    folders = {tiny.ensemble_folder(Run(2))}
    folders.add(Study(dataclasses.replace(tiny.profile, epochs=1), tiny.store, jobs=1).ensemble_folder(Run(2)))
    np.savez(tmp_path / "mine.npz", x=rng.random((60, 6)))
    mine = Study(dataclasses.replace(tiny.profile, dataset=str(tmp_path / "mine.npz")), tiny.store, jobs=1)
    folders.add(mine.ensemble_folder(Run(2)))
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


@pytest.mark.filterwarnings("ignore:.* field:UserWarning")  # of what random images are
def test_what_the_data_do_not_allow_is_left_out_of_a_whole_study(tmp_path, rng, monkeypatch):
    """Measures are stood in for; which of them are taken, and what becomes of the ledger, is looked at."""
    np.savez(tmp_path / "odd.npz", x=rng.random((60, 6)), y=np.full(60, 10**12))
    asked = []

    def measure(checkpoints, *_, **__):
        asked.extend(checkpoints)
        return {name: found[name] for name in checkpoints}

    rows, nothing = np.ones((2, 3)), np.full(2, np.nan)
    found = {"paths": paths.Ways(np.ones(2), *[paths.Way(nothing, nothing)] * 3)}
    found["detours"], found["bracket"] = detours.Detours(nothing, nothing, nothing), bracket.Rates(rows, rows, rows)
    found["relaxation"] = relaxation.Ratios(rows, rows, np.array([1.0, 2.0]))
    found["denoising"] = denoising.Denoising(*[denoising.Quality(rows, np.nan * rows)] * 5)

    monkeypatch.setattr(study.measure, "measure", measure)
    monkeypatch.setattr(claims, "from_samples", functools.partial(claims.from_samples, degree=2))
    small = dataclasses.replace(
        profile("quick"),
        dataset=str(tmp_path / "odd.npz"),
        latent_dims=(2,),
        members=2,
        epochs=1,
        hidden=(4,),
        likelihood_images=3,
        importance_samples=3,
        couplings=(1.0,),
        couplings_dim=2,
        couplings_members=2,
        couplings_epochs=1,
        aftermath_members=2,
        aftermath=(1,),
        further_arms=(),
    )
    odd = Study(small, RunStore(tmp_path / "runs"), jobs=1)
    odd.check()
    assert set(odd.left_out) == {"classifier", "clustering", "generation", "outliers", "filters"}
    assert odd.classifier is None and odd.dataset.classes == (10**12,)
    records = odd.records()
    assert set(asked) == {"paths", "detours", "relaxation", "bracket", "denoising"}
    records.save(tmp_path / "records")
    loaded = Records.load(tmp_path / "records")
    assert loaded.classes == (10**12,) and loaded.left_out == odd.left_out and set(loaded.labels) == {0}
    entries = {entry.claim.id: entry for entry in ledger(loaded)}
    assert entries["C6"].verdict == "not measured" and len(entries["C6"].left_out) == 2
    assert [check.key for check in entries["C8"].checks] == ["denoising, d = 2", "likelihood, d = 2"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ["quick"]}, "Unknown profile"),
        ({"data": 3}, "data must be a path"),
        ({"jobs": 0}, "jobs"),
        ({"device": "abacus"}, "does not exist here"),
        ({"store": 3}, "store must be a path"),
    ],
)
def test_a_study_of_nothing(change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        open_study(**({"store": tmp_path} | change))


def test_store_can_be_chosen_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("VAEPT_STORE", str(tmp_path / "elsewhere"))
    assert open_study("quick").store.root == tmp_path / "elsewhere"
