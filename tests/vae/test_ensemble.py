import pathlib

import numpy as np
import pytest
import torch

from vaept import files
from vaept.errors import DamagedFileError, InputError
from vaept.vae.ensemble import Ensemble, Seed, usable_precision


def test_save_and_load_give_the_same_ensemble(ensemble, digits, tmp_path):
    ensemble.save(tmp_path / "e.safetensors")
    again = Ensemble.load(tmp_path / "e.safetensors")
    assert again.settings == ensemble.settings and again.seeds == ensemble.seeds
    assert again.image_shape == (8, 8) and again.data_checksum == digits.checksum
    assert np.array_equal(again.history.kl, ensemble.history.kl)
    for mine, theirs in zip(again.posterior(digits.test), ensemble.posterior(digits.test), strict=True):
        assert np.array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("known", "expected"),
    [({}, "float32"), ({"avx512_bf16": False, "amx_bf16": True}, "bfloat16"), ({"avx512_bf16": True}, "bfloat16")],
)
def test_bfloat16_is_usable_where_the_processor_has_units_for_it(monkeypatch, known, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    assert usable_precision("bfloat16") == expected and usable_precision("float32") == "float32"
    assert usable_precision("bfloat16", "cuda:0") == "bfloat16"


def test_posterior_accepts_flat_and_shaped_images(ensemble, digits):
    mean, variance = ensemble.posterior(digits.test)
    assert mean.shape == variance.shape == (3, 359, 2) and (variance > 0).all()
    assert np.array_equal(ensemble.posterior(digits.test.reshape(-1, 8, 8))[0], mean)


def test_decode_common_and_own_latents(ensemble, rng):
    z = rng.standard_normal((5, 2))
    images = ensemble.decode(z)
    assert images.shape == (3, 5, 8, 8) and images.min() >= 0 and images.max() <= 1
    assert np.array_equal(ensemble.decode(np.stack([z, z, z])), images)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((3, 63)), r"shape \(n, 64\)"),
        (np.zeros(64), r"shape \(n, 64\)"),
        (np.zeros((0, 64)), r"shape \(n, 64\)"),
        (np.full((2, 64), np.nan), "images must be finite"),
        (np.full((2, 64), 255), "divide bytes by 255"),
    ],
)
def test_images_that_do_not_fit(ensemble, images, message):
    with pytest.raises(InputError, match=message):
        ensemble.posterior(images)


@pytest.mark.parametrize(
    "kind",
    [
        lambda x: torch.tensor(x, requires_grad=True),
        lambda x: x.tolist(),
        lambda x: x + 0j,
        np.asfortranarray,
        lambda x: np.ma.masked_array(x, mask=False),
        lambda x: x.astype(">f8"),
        lambda x: x.astype(np.float64),
    ],
)
def test_images_and_latents_of_every_container(ensemble, digits, kind):
    mean, _ = ensemble.posterior(digits.test)
    assert np.array_equal(ensemble.posterior(kind(digits.test))[0], mean)
    assert np.array_equal(ensemble.decode(kind(mean[0])), ensemble.decode(mean[0]))


@pytest.mark.parametrize(
    "wrong", [b"abc", "abc", None, [[1], [1, 2]], np.array([["a"]]), np.full((2, 64), 1j), object()]
)
def test_what_is_no_array(ensemble, wrong):
    for ask in (ensemble.posterior, ensemble.decode):
        with pytest.raises(InputError, match=r"^(images|latents) must be"):
            ask(wrong)


def test_latents_too_large_for_single_precision(ensemble):
    with pytest.raises(InputError, match="latents has values up to"):
        ensemble.decode(np.full((2, 2), 1e30))


def test_the_first_members(ensemble):
    assert len(ensemble.first(2).members) == 2
    for wrong in (0, 4, -1, 1.0):
        with pytest.raises(InputError, match="n must be an integer from 1 to 3"):
            ensemble.first(wrong)


@pytest.mark.parametrize("latents", [np.zeros(2), np.zeros((4, 3)), np.zeros((2, 4, 2)), np.full((4, 2), np.inf)])
def test_latents_that_do_not_fit(ensemble, latents):
    with pytest.raises(InputError, match="latents must"):
        ensemble.decode(latents)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="no file"):
        Ensemble.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no tensors", "another kind"])
def test_damaged_file_is_noticed(ensemble, tmp_path, damage):
    path = tmp_path / "e.safetensors"
    ensemble.save(path)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[:-100]
    elif damage == "flipped":
        content[-50] ^= 1
    elif damage == "no tensors":
        content = b"not a safetensors file"
    path.write_bytes(content)
    if damage == "another kind":
        files.write_tensors(path, "evaluation", {}, {"a": torch.zeros(2)})
    with pytest.raises(DamagedFileError, match=r"e\.safetensors"):
        Ensemble.load(path)


def test_file_of_another_version_says_which(ensemble, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(files, "FORMAT", files.FORMAT + 1)
        ensemble.save(tmp_path / "e.safetensors")
    with pytest.raises(DamagedFileError, match=f"format {files.FORMAT + 1}.*reads format {files.FORMAT}"):
        Ensemble.load(tmp_path / "e.safetensors")


def test_failed_save_keeps_the_old_file(ensemble, tmp_path, monkeypatch):
    path = tmp_path / "e.safetensors"
    ensemble.save(path)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "open", full)
    with pytest.raises(InputError, match="No space left"):
        ensemble.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before


def test_seed_streams_are_independent():
    def draws(seed):
        return [torch.randn(3, generator=generator) for generator in seed.generators()]

    base = draws(Seed(1, 1, 1))
    assert not torch.equal(base[0], base[1]) and not torch.equal(base[1], base[2])
    varied = draws(Seed(1, 2, 1))
    assert torch.equal(base[0], varied[0]) and torch.equal(base[2], varied[2])
    assert not torch.equal(base[1], varied[1])
    assert str(Seed.of(4)) == "4" and str(Seed(1, 2, 1)) == "1-2-1"
