import dataclasses
import functools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vaept.companion import checks_training, comparisons, parts, study, wording
from vaept.companion.ledger import ledger
from vaept.companion.profiles import Run, profile
from vaept.companion.records import Records
from vaept.companion.store import RunStore
from vaept.companion.study import Study, open_study
from vaept.errors import InputError
from vaept.uses import bracket, classifier, denoising, detours, generation, member, paths, relaxation, turning


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


def test_an_interchange_is_measured_once(tiny, monkeypatch):
    first = tiny.interchange(2)
    assert first.nats.shape == first.classifier.shape == (2, 2)
    monkeypatch.setattr(study.Ensemble, "load", None)  # whoever measures needs it
    again = Study(tiny.profile, tiny.store, jobs=1).interchange(2)
    assert np.array_equal(again.nats, first.nats) and again.probes.keys() == first.probes.keys()


def test_what_needs_no_member_is_measured_once_for_a_dimension(tmp_path, rng, monkeypatch):
    np.savez(tmp_path / "mine.npz", x=rng.random((60, 6)))
    small = dataclasses.replace(profile("quick"), dataset=str(tmp_path / "mine.npz"), epochs=1, hidden=(4,))
    first = Study(small, RunStore(tmp_path / "runs"), jobs=1)
    found = first.baselines(2)
    assert found.denoising.principal.psnr.shape == (3, 3) and found.clustering is None and found.generation is None
    assert first.baselines_folder(4) != first.baselines_folder(2)
    monkeypatch.setattr(study, "measure_data", None)
    again = Study(small, first.store, jobs=1).baselines(2)
    np.testing.assert_array_equal(again.denoising.autoencoder.psnr, found.denoising.autoencoder.psnr)
    assert sorted(path.name.split("-")[0] for path in first.store.root.iterdir() if path.is_dir()) == ["baselines"] * 2


def test_other_settings_or_data_are_other_runs(tiny, tmp_path, rng):
    folders = {tiny.ensemble_folder(Run(2))}
    folders.add(Study(dataclasses.replace(tiny.profile, epochs=1), tiny.store, jobs=1).ensemble_folder(Run(2)))
    np.savez(tmp_path / "mine.npz", x=rng.random((60, 6)))
    mine = Study(dataclasses.replace(tiny.profile, dataset=str(tmp_path / "mine.npz")), tiny.store, jobs=1)
    folders.add(mine.ensemble_folder(Run(2)))
    assert len(folders) == 3 and mine.dataset.name == "mine"


def test_a_likelihood_is_in_the_key_only_where_it_is_not_bernoulli(tiny, monkeypatch):
    asked = []
    monkeypatch.setattr(RunStore, "obtain", lambda self, kind, request, make: asked.append(request) or self.root)
    for likelihood in ("bernoulli", "gaussian"):
        Study(dataclasses.replace(tiny.profile, likelihood=likelihood), tiny.store).ensemble_folder(Run(2))
    plain, gaussian = (request["fit"] for request in asked)
    assert gaussian == plain | {"likelihood": "gaussian"} and "likelihood" not in plain


@pytest.mark.parametrize(("units", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_a_study_trains_in_bfloat16_where_the_processor_has_units_for_it(tiny, monkeypatch, units, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": units}, raising=False)
    mixed = Study(dataclasses.replace(tiny.profile, precision="bfloat16", epochs=1), tiny.store, jobs=1)
    assert mixed.ensemble(2).settings.precision == mixed.precision == precision
    assert mixed.profile.precision == "bfloat16", "what is published would no longer be of the same settings"


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
    found["turning"] = turning.Turning(rows, rows)

    monkeypatch.setattr(study.measure, "measure", measure)
    monkeypatch.setattr(checks_training, "from_samples", functools.partial(checks_training.from_samples, degree=2))
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
    left_out = {"classifier", "clustering", "generation", "mixture", "outliers", "filters", "modes"}
    assert set(odd.left_out) == left_out
    assert odd.classifier is None and odd.dataset.classes == (10**12,)
    records = odd.records()
    assert set(asked) == {"paths", "detours", "relaxation", "bracket", "denoising", "turning"}
    records.save(tmp_path / "records")
    loaded = Records.load(tmp_path / "records")
    assert loaded.classes == (10**12,) and loaded.left_out == odd.left_out and set(loaded.labels) == {0}
    entries = {entry.claim.id: entry for entry in ledger(loaded)}
    assert entries["C6"].verdict.startswith("Not measured") and len(entries["C6"].left_out) == 3
    assert [check.key for check in entries["C8"].checks] == ["denoising", "autoencoder", "likelihood"]


@pytest.mark.filterwarnings("ignore")  # of few cells, and members that have learned nothing yet
@pytest.mark.slow
def test_a_whole_study_of_cells(tmp_path, monkeypatch):
    for module, name, value in ((classifier, "SHOWN", 3000), (member, "SAMPLES", 5000), (study, "FIELD_PAIRS", 1)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(generation, "MAX_STEPS", (300, 300))
    monkeypatch.setattr(checks_training, "from_samples", functools.partial(checks_training.from_samples, degree=2))
    small = dict.fromkeys(("members", "couplings_members", "aftermath_members"), 3)
    small |= {"latent_dims": (2,), "epochs": 5, "couplings_epochs": 1, "aftermath": (1,), "couplings": (1.0,)}
    small |= {"couplings_dim": 2, "likelihood_images": 3, "importance_samples": 3, "hidden": (8,)}
    small |= {"prices": ("cold", "principal"), "prices_members": 2, "labs": ("principal",), "labs_members": 2}
    small |= {"lengths": (1, 2), "lengths_couplings": (1.0,), "lengths_members": 2}
    cells = Study(dataclasses.replace(profile("cells"), **small), RunStore(tmp_path / "runs"), jobs=1)
    cells.check()
    records = cells.records()
    assert set(records.left_out) == {"filters", "relaxation", "modes"}
    assert records.arms["corrected", 2].minus_elbo.shape == (3,)
    assert cells.ensemble(2).settings.likelihood == "gaussian"
    lacking = [entry.claim.id for entry in ledger(records) if not entry.checks]
    assert lacking == []
    outside = np.concatenate([np.full((1, 765), value, dtype=np.float32) for value in (-1, 2)])
    assert len(wording.seen_in(outside, cells.member(2), cells.dataset.classes)) == 2
    assert wording.words(cells)["what"] == "blood cells, rows of 765 values"
    assert "Gaussian" in wording.words(cells)["likelihood"]


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


FEW = pytest.mark.filterwarnings("ignore:.* field:UserWarning")  # of what few images are


@pytest.fixture
def compared(tmp_path, rng):
    """A study of a price list, two labs and two lengths, of a few small images and epochs, in a store of its own."""
    axes, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    x = 0.5 + rng.uniform(-0.3, 0.3, (100, 6)) * [1, 0.6, 0.3, 0.1, 0.1, 0.1] @ axes.T
    np.savez(tmp_path / "mine.npz", x=x.clip(0, 1))
    small = dataclasses.replace(
        profile("quick"),
        dataset=str(tmp_path / "mine.npz"),
        latent_dims=(2,),
        members=3,
        epochs=2,
        hidden=(8,),
        couplings_dim=2,
        couplings_epochs=1,
        further_dims=(3,),
        further_dims_arms=("principal",),
        prices=("cold", "vary_noise", "shuffled_each", "start_10", "principal_kept", "trained"),
        tuning={"couplings": [0.5, 1.5], "members": 2, "epochs": 1},
    )
    return Study(small, RunStore(tmp_path / "runs"), jobs=1)


@FEW
def test_a_price_list_two_labs_and_lengths(compared):
    prices = comparisons.prices(compared)
    after = ["cold, turned", "cold, permuted", "cold, relative"]
    assert [each.arm for each in prices] == ["cold", *after, *compared.profile.prices[1:]]
    for each in prices:
        assert -1 <= each.coordinates.mean <= 1 and each.minus_elbo.shape == each.active_units.shape == (3,)
        plain = each.arm.startswith("cold") or each.arm == "vary_noise"
        assert each.coupling is None if plain else each.coupling in (0.5, 1.5)
    assert {each.run for each in prices[1:4]} == {prices[0].run}
    assert prices[0].run == compared.ensemble_folder(Run(2)).name, "the plain arm of the study is that of the list"

    cold, principal, further = comparisons.labs(compared)
    assert [each.d for each in (cold, principal, further)] == [2, 2, 3]
    assert cold.fields is None and principal.fields > 0.9 and principal.minus_elbo.shape == (2, 3)
    assert len({*cold.runs, *principal.runs}) == 4
    lengths = comparisons.lengths(compared)
    assert {epochs: [value for value, *_ in points] for epochs, points in lengths.items()} == {1: [0, 1], 2: [0, 1]}


def test_comparisons_are_those_that_the_same_code_published(compared, records, tmp_path, monkeypatch):
    monkeypatch.setattr("vaept.companion.records.CHECKOUT", tmp_path)
    settings = json.loads(json.dumps(dataclasses.asdict(compared.profile)))
    made = {"data_checksum": compared.dataset.checksum, "settings": settings, "created": "2026-11-30T00:00:00+00:00"}
    made |= {"code": parts.code_hashes()}

    def opened(**changes):
        theirs = dataclasses.replace(records, profile=compared.profile.name, provenance=made | changes)
        theirs.save(tmp_path / "results" / compared.profile.name)
        return dataclasses.replace(compared, everything=False)

    own = opened()
    assert [each.arm for each in own.borrowed.prices] == [each.arm for each in records.prices]
    assert {run.place for run in own.runs} == {"arms", "doses", "aftermath"}
    assert dataclasses.replace(own, everything=True).borrowed is None
    changed = {part: "0" if part == "comparisons" else code for part, code in made["code"].items()}
    for other in ({"data_checksum": "0"}, {"settings": settings | {"epochs": 9}}, {"code": {}}, {"code": changed}):
        assert opened(**other).borrowed is None
    last = opened()
    last.store.obtain("comparisons", last._compared, lambda folder: None)
    assert dataclasses.replace(last).borrowed is None, "what was made here comes before what is published"


@FEW
def test_members_of_own_fields_differ_in_their_fields(compared):
    found = {}
    for arm in ("shuffled_each", "neighbour_each"):
        folders = compared._fields(Run(2, arm))
        found[arm] = [study.load_field(folder / "field.safetensors").values for folder in folders]
        assert len(folders) == 3 and not np.allclose(found[arm][0], found[arm][1])
    deals = [np.sort(values, axis=0) for values in found["shuffled_each"]]
    assert np.array_equal(deals[0], deals[1]), "the same values, dealt otherwise"


@FEW
def test_a_member_of_an_own_field_depends_on_its_seed_alone(compared):
    run = Run(2, "shuffled_each")
    three, two = (compared.ensemble_of(dataclasses.replace(run, members=n)) for n in (3, 2))
    images = compared.dataset.test
    assert np.array_equal(three.first(2).posterior(images)[0], two.posterior(images)[0])
    assert three.seeds[:2] == two.seeds and three.history.kl.shape == (3, 2)


def test_labs_share_no_training_image_and_all_test_images(compared):
    labs = [compared.data(Run(2, lab=lab)) for lab in (0, 1)]
    rows = [{row.tobytes() for row in lab.train} for lab in labs]
    everything = {row.tobytes() for row in compared.dataset.train}
    assert not rows[0] & rows[1] and rows[0] | rows[1] == everything
    assert all(np.array_equal(lab.test, compared.dataset.test) for lab in labs)
    assert labs[0].checksum != labs[1].checksum


@FEW
def test_a_coupling_is_chosen_without_the_test_images(compared, monkeypatch):
    chosen = compared.tuned_coupling(2, "principal_kept")
    validation = {row.tobytes() for run in compared.profile.runs() if run.validation for row in compared.data(run).test}
    assert validation <= {row.tobytes() for row in compared.dataset.train}
    other = Study(compared.profile, compared.store, jobs=1)
    others = dataclasses.replace(compared.dataset, test=1 - compared.dataset.test)
    other.__dict__["dataset"] = others
    monkeypatch.setattr(study, "fit", None)
    monkeypatch.setattr(study, "evaluate", None)
    assert other.dataset.checksum != compared.dataset.checksum and other.tuned_coupling(2, "principal_kept") == chosen
    assert other.tuned_coupling(2, "cold") is None and other.tuned_coupling(2, "throughout") == 1.0


def test_of_couplings_that_agree_equally_well_the_cheapest_is_chosen(rng):
    base = rng.standard_normal((100, 2))

    def evaluation(noise, loss):
        mean = base + noise * rng.standard_normal((4, 100, 2))
        return SimpleNamespace(mean=mean, elbo=np.full(4, -loss))

    found = [evaluation(2.0, 10.0), evaluation(0.012, 12.0), evaluation(0.01, 13.0)]
    assert comparisons.cheapest([0.1, 1.0, 3.0], found) == 1.0


def test_what_decides_the_arms_of_a_study_is_asked_as_before(tmp_path, monkeypatch):
    """Keys of results: what is new stands in no request of an arm that has none of it."""
    asked = {}

    def obtain(self, kind, requests, make):
        asked.update({(kind, json.dumps(request, sort_keys=True)): request for request in requests})
        return [self.root / self.name(kind, request) for request in requests]

    monkeypatch.setattr(RunStore, "obtain_together", obtain)
    quick = Study(profile("quick"), RunStore(tmp_path), jobs=1)
    for run in quick.profile.runs():
        if run.place in ("arms", "doses", "aftermath"):
            quick.evaluation_folder(run)
    fields = [request for (kind, _), request in asked.items() if kind == "field"]
    assert {*fields[0]} == {"field", "components", "data", "source"} and len(fields) == 4
    assert all({*request} == {*fields[0]} and request["components"] == 4 for request in fields)
    ensembles = [request for (kind, _), request in asked.items() if kind == "ensemble"]
    sources = {request["source"] for request in ensembles}
    assert sources == {study.source_hash(*parts.TRAINING)}
    corrected = [request["fit"] for request in ensembles if request["fit"].get("coupling") == 1.5]
    plain = {"hidden", "batch_size", "learning_rate", "precision", "latent_dim", "full_covariance", "epochs"}
    assert all({*request} == plain | {"schedule", "potential", "coupling"} for request in corrected)
    assert corrected[0]["schedule"] == {"warm_start": 0.1, "fade": 0.1, "switch_off": 0.4}
    assert ensembles[0]["seeds"] == [{"weights": s, "order": s, "noise": s} for s in range(3)]
    assert ensembles[0]["fit"]["schedule"] == {} and ensembles[0]["field"] is None is ensembles[0]["start"]
