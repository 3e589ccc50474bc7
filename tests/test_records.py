import json
from pathlib import Path

import numpy as np
import pytest

from vaept.claims import CLAIMS, as_markdown, ledger
from vaept.errors import DamagedFileError, InputError
from vaept.evaluation import evaluate
from vaept.records import IMAGES, ArmRecord, Records


def test_records_come_back_and_give_the_same_ledger(records, tmp_path):
    records.save(tmp_path / "test")
    again = Records.load(tmp_path / "test")
    assert again.latent_dims == [2, 4] and again.arm_names(2) == records.arm_names(2)
    for key, record in records.arms.items():
        assert np.array_equal(again.arms[key].mean, record.mean) and again.arms[key].run == record.run
        assert np.array_equal(again.arms[key].minus_elbo, record.minus_elbo)
    assert again.fields == records.fields and np.array_equal(again.labels, records.labels)
    corrected = next(claim for claim in CLAIMS if claim.id == "C4")
    for a, b in zip(corrected.check(records), corrected.check(again), strict=True):
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
    del plain["arms"][0]["minus_elbo"]
    (tmp_path / "records.json").write_text(json.dumps(plain))
    with pytest.raises(DamagedFileError, match=r"records\.json is damaged"):
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


PUBLISHED = sorted((Path(__file__).parents[1] / "results").glob("*/records.json"))


def test_what_is_published_fits_and_is_complete():
    assert sum(path.stat().st_size for path in (PUBLISHED[0].parents[1]).rglob("*")) < 12e6
    for path in PUBLISHED:
        found = Records.load(path.parent)
        assert found.profile == path.parent.name == found.provenance["settings"]["name"]
        for d in found.latent_dims:
            assert {"cold", "warm", "shuffled", "principal", "diffusion", "corrected"} <= set(found.arm_names(d))
            assert found.aftermath[d].values[0] == 0 and np.isfinite(found.aftermath[d].minus_elbo).all()
        for record in found.arms.values():
            assert len(record.mean) == len(record.minus_elbo) == 10 and np.isfinite(record.mean).all()


def test_the_published_ledger_is_that_of_the_published_records():
    folder = next(path.parent for path in PUBLISHED if path.parent.name == "digits")
    assert as_markdown(ledger(Records.load(folder))) in (folder / "ledger.md").read_text("utf-8")
