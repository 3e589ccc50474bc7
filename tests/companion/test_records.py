import json
from pathlib import Path

import numpy as np
import pytest

from vaept.companion import records as module
from vaept.companion.claims import CLAIMS
from vaept.companion.ledger import as_markdown, ledger, published_outcomes, published_verdicts, verdicts_of
from vaept.companion.machines import machines_of
from vaept.companion.records import IMAGES, ArmRecord, Records, published
from vaept.errors import DamagedFileError, InputError
from vaept.files import file_checksum, read_json, read_tensors, write_json, write_tensors
from vaept.vae.agreement import Estimate
from vaept.vae.evaluation import evaluate


def test_records_come_back_and_give_the_same_ledger(records, tmp_path):
    records.save(tmp_path / "test")
    again = Records.load(tmp_path / "test")
    assert again.latent_dims == [2, 4] and list(again.arms) == list(records.arms)
    for key, record in records.arms.items():
        assert np.array_equal(again.arms[key].mean, record.mean) and again.arms[key].run == record.run
        assert np.array_equal(again.arms[key].minus_elbo, record.minus_elbo)
    assert again.fields == records.fields and np.array_equal(again.labels, records.labels)
    corrected = next(claim for claim in CLAIMS if claim.id == "C4")
    for a, b in zip(corrected.of(records), corrected.of(again), strict=True):
        assert a.holds == b.holds and a.control == b.control
        assert a.value == b.value or np.isnan(a.value.mean)


def test_a_study_without_labels(records, tmp_path):
    object.__setattr__(records, "labels", None)
    records.save(tmp_path)
    assert Records.load(tmp_path).labels is None


def test_no_records(tmp_path):
    with pytest.raises(InputError, match=r"records\.json is missing"):
        Records.load(tmp_path)


def test_damaged_records(records, tmp_path):
    records.save(tmp_path)
    text = (tmp_path / "records.json").read_text()
    plain = json.loads(text)
    plain["arms"][0]["minus_elbo"][0] += 1
    (tmp_path / "records.json").write_text(json.dumps(plain))
    with pytest.raises(DamagedFileError, match=r"records\.json is damaged: its content does not match"):
        Records.load(tmp_path)
    (tmp_path / "records.json").write_text(text[:-20])
    with pytest.raises(DamagedFileError, match="damaged"):
        Records.load(tmp_path)
    (tmp_path / "records.json").write_text(text)
    content = bytearray((tmp_path / "latents.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "latents.safetensors").write_bytes(content)
    with pytest.raises(DamagedFileError, match="checksum"):
        Records.load(tmp_path)


def arm(plain, name="corrected", d=2):
    return next(own for own in plain["arms"] if (own["arm"], own["d"]) == (name, d))


WRONG = {
    "required field `arms`": lambda plain: plain.pop("arms"),
    "arms is empty": lambda plain: plain.update(arms=[]),
    r"Expected `object`, got `int` - at `\$\.arms\[0\]`": lambda plain: plain["arms"].insert(0, 3),
    "the arm 'cold', d = 2: it is there twice": lambda plain: plain["arms"].append(arm(plain, "cold")),
    "arms lacks shuffled for d = 4": lambda plain: plain["arms"].remove(arm(plain, "shuffled", 4)),
    r"arms\[\d+\]: Expected `int`, got `str` - at `\$\.d`": lambda plain: arm(plain).update(d="two"),
    "means with 3 coordinates": lambda plain: arm(plain).update(d=3),
    "the arm 'corrected', d = 2: Object missing required field `minus_elbo`": lambda plain: arm(plain).pop(
        "minus_elbo"
    ),
    r"arm \'corrected\', d = 2: minus_elbo must have shape \(8,\)": lambda plain: arm(plain)["minus_elbo"].pop(),
    "'corrected', d = 2: minus_elbo must be finite": lambda plain: arm(plain)["minus_elbo"].__setitem__(
        2, float("nan")
    ),
    r"must hold finite numbers or NaN; it holds '24' - at `\$\.minus_elbo`": lambda plain: arm(plain)[
        "minus_elbo"
    ].__setitem__(2, "24"),
    "must hold finite numbers or NaN; it holds 'True'": lambda plain: arm(plain)["minus_elbo"].__setitem__(2, True),
    "must hold finite numbers or NaN; it holds 'None'": lambda plain: arm(plain)["minus_elbo"].__setitem__(2, None),
    r"must hold finite numbers or NaN; it holds 'inf' - at `\$\.log_likelihood`": lambda plain: arm(plain)[
        "log_likelihood"
    ].__setitem__(0, float("inf")),
    "active_units must be integers from 0 to 2": lambda plain: arm(plain)["active_units"].__setitem__(0, 1.5),
    r"it holds '4' - at `\$\.uses\.paths\.minima`": lambda plain: arm(plain)["uses"]["paths"]["minima"].__setitem__(
        0, "4"
    ),
    "paths\\.minima must be known of 8 members; it is of 9": lambda plain: arm(plain)["uses"]["paths"]["minima"].append(
        4
    ),
    "missing required field `gaussian`": lambda plain: arm(plain)["uses"]["relaxation"].pop("gaussian"),
    r"Expected `object`, got `array` - at `\$\.uses\.outliers`": lambda plain: arm(plain)["uses"].update(outliers=[1]),
    r"d = 2: relaxation\.spectrum has 2 numbers of a member, others have 3": lambda plain: [
        row.pop() for row in arm(plain)["uses"]["relaxation"]["spectrum"]
    ],
    "the uses of the arm 'shuffled', d = 2, lack clustering": lambda plain: arm(plain, "shuffled")["uses"].clear(),
    r"coordinates must have 5 entries; it has 4.* - at `\$\.couplings`": lambda plain: plain["couplings"][
        "coordinates"
    ].pop(),
    r"coordinates and orthogonal must have finite means.* - at `\$\.couplings`": lambda plain: plain["couplings"][
        "coordinates"
    ][1].update(mean=float("nan")),
    r"minus_elbo must have shape \(5, 8\).* - at `\$\.couplings`": lambda plain: plain["couplings"]["minus_elbo"].pop(),
    r"runs must have 5 entries; it has 4.* - at `\$\.couplings`": lambda plain: plain["couplings"]["runs"].pop(),
    r"values must begin at 0 and ascend.* - at `\$\.couplings`": lambda plain: plain["couplings"]["values"].reverse(),
    r"minus_perturbed_elbo must have shape \(5, 8\).* - at `\$\.aftermath": lambda plain: [
        row.pop() for row in plain["aftermath"]["2"]["minus_perturbed_elbo"]
    ],
    "aftermath has d = 3": lambda plain: plain["aftermath"].update({"3": plain["aftermath"]["2"]}),
    r"Expected `int`, got `str` - at `\$\.n_train`": lambda plain: plain.update(n_train="many"),
    r"Expected `str`, got `int` - at `\$\.provenance\.code": lambda plain: plain["provenance"].update(
        code={"training": 1}
    ),
    "belongs to other records": lambda plain: plain.update(latents="0" * 64),
    "required field `latents`": lambda plain: plain.pop("latents"),
}


@pytest.mark.parametrize("words", WRONG)
def test_what_cannot_be_is_refused_although_its_checksum_is_right(words, records, tmp_path):
    records.save(tmp_path)
    plain = read_json(tmp_path / "records.json", "records")
    WRONG[words](plain)
    write_json(tmp_path / "records.json", "records", plain)
    with pytest.raises(DamagedFileError, match=words) as caught:
        Records.load(tmp_path)
    assert str(tmp_path / "records.json") in str(caught.value)


WRONG_LATENTS = {
    "'labels' must be one axis of integers": lambda tensors: tensors.update(labels=tensors["labels"].float()),
    r"'cold\.2\.(mean|deviation)' must have shape \(members, 299, d\)": lambda tensors: tensors.update(
        labels=tensors["labels"][1:]
    ),
    "'warm.4.mean' must be finite": lambda tensors: tensors["warm.4.mean"].fill_(float("inf")),
    "'cold.2.deviation' must be positive": lambda tensors: tensors["cold.2.deviation"].zero_(),
    "'cold', d = 2, has no posterior deviations": lambda tensors: tensors.pop("cold.2.deviation"),
    "deviation must have shape": lambda tensors: tensors.update(
        {"cold.2.deviation": tensors["cold.2.deviation"][1:].contiguous()}
    ),
    "'warm', d = 2: it needs posterior means": lambda tensors: tensors.pop("warm.2.mean"),
    "holds no posterior means": lambda tensors: [tensors.pop(name) for name in list(tensors) if name != "labels"],
}


@pytest.mark.parametrize("words", WRONG_LATENTS)
def test_latents_that_cannot_be_are_refused(words, records, tmp_path):
    records.save(tmp_path)
    path = tmp_path / "latents.safetensors"
    _, tensors = read_tensors(path, "latents")
    WRONG_LATENTS[words](tensors)
    write_tensors(path, "latents", {}, tensors)
    plain = read_json(tmp_path / "records.json", "records") | {"latents": file_checksum(path)}
    write_json(tmp_path / "records.json", "records", plain)
    with pytest.raises(DamagedFileError, match=words) as caught:
        Records.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_arms_with_other_numbers_of_members_are_refused(records, tmp_path):
    key, record = ("warm", 2), records.arms["warm", 2]
    fewer = {name: value[:-1] for name, value in vars(record).items() if isinstance(value, np.ndarray)}
    fewer |= {"deviation": None, "run": record.run, "uses": {}}
    records.arms[key] = ArmRecord(**fewer)
    for other in records.arms.values():
        other.uses.clear()
    records.save(tmp_path)
    with pytest.raises(DamagedFileError, match="equally many members; they have 7, 8"):
        Records.load(tmp_path)


def test_latents_of_another_run_are_refused(records, tmp_path):
    records.save(tmp_path / "one")
    records.arms["cold", 2].mean[:] += 1
    records.save(tmp_path / "two")
    (tmp_path / "two" / "latents.safetensors").replace(tmp_path / "one" / "latents.safetensors")
    with pytest.raises(DamagedFileError, match=r"latents\.safetensors beside it belongs to other records"):
        Records.load(tmp_path / "one")


def test_numbers_that_were_not_measured_are_kept(records, tmp_path):
    records.arms["cold", 2].uses["paths"].lowest.energy[0] = np.nan
    records.couplings.coordinates[0] = Estimate(0.1, np.nan, np.nan)
    records.save(tmp_path)
    again = Records.load(tmp_path)
    assert np.isnan(again.arms["cold", 2].uses["paths"].lowest.energy[0])
    assert again.couplings.coordinates[0].mean == 0.1 and np.isnan(again.couplings.coordinates[0].low)


def test_a_record_holds_what_was_evaluated(ensemble, digits):
    found = evaluate(ensemble, digits.test, n_likelihood_images=7, n_importance_samples=5, jobs=1)
    record = ArmRecord.of(found, "ensemble-1", deviations=True)
    assert record.mean.shape == (3, min(IMAGES, len(digits.test)), 2)
    assert np.abs(record.mean - found.mean).max() < 2e-3 * np.abs(found.mean).max()
    assert np.allclose(record.deviation**2, found.variance, rtol=5e-3)
    assert np.array_equal(record.minus_elbo, -found.elbo)
    assert np.allclose(record.log_likelihood, found.importance_weighted.mean(1))
    assert record.exact_log_likelihood.shape == (3,) and np.isfinite(record.exact_log_likelihood).all()
    none = evaluate(ensemble, digits.test, n_likelihood_images=0, jobs=1)
    assert np.isnan(ArmRecord.of(none, "ensemble-1", deviations=False).log_likelihood).all()


PUBLISHED = sorted((Path(__file__).parents[2] / "results").glob("*/records.json"))


def test_what_is_published_fits_and_is_complete():
    assert sum(path.stat().st_size for path in (PUBLISHED[0].parents[1]).rglob("*")) < 20e6
    for path in PUBLISHED:
        found = Records.load(path.parent)
        assert found.profile == path.parent.name == found.provenance["settings"]["name"]
        for d in found.latent_dims:
            expected = ("cold", "warm", "shuffled", "principal", "diffusion", "corrected")
            assert {(name, d) for name in expected} <= found.arms.keys()
            assert found.aftermath[d].values[0] == 0 and np.isfinite(found.aftermath[d].minus_elbo).all()
        for record in found.arms.values():
            assert len(record.mean) == len(record.minus_elbo) == 10 and np.isfinite(record.mean).all()


@pytest.mark.slow
def test_the_published_ledger_is_that_of_the_published_records():
    folder = next(path.parent for path in PUBLISHED if path.parent.name == "digits")
    records = Records.load(folder)
    entries = ledger(records, machines_of(records, folder.parent))
    assert as_markdown(entries) in (folder / "ledger.md").read_text("utf-8")
    assert published_verdicts()["published (digits)"] == verdicts_of(entries)
    assert published_outcomes()["digits"] == {entry.claim.id: entry.outcomes for entry in entries}


def test_what_is_not_published_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "CHECKOUT", tmp_path)
    with pytest.raises(InputError, match="There are no records"):
        published("digits")
    monkeypatch.setattr(module, "CHECKOUT", None)
    with pytest.raises(InputError, match="come with the repository"):
        published("digits")
