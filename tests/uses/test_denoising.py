from dataclasses import replace

import numpy as np
import pytest
import torch

from vaept.errors import InputError
from vaept.uses import denoising
from vaept.uses.denoising import NOISES, add_noise, denoise, measure, median, psnr, ssim, wavelet
from vaept.vae.model import VAE


@pytest.fixture(scope="module")
def noisy(member):
    return add_noise(member.test[:20], 0.5, seed=0)


def energy(model, noisy, latents, noise):
    with torch.no_grad():
        images = model.decode(torch.tensor(latents, dtype=torch.float32)).double().numpy()
    return ((noisy - images) ** 2).sum(1) / (2 * noise**2) + (np.asarray(latents) ** 2).sum(1) / 2


def test_noise_has_its_deviation_and_is_not_clipped():
    difference = add_noise(np.full((100, 8, 8), 0.5), 0.5, seed=1) - 0.5
    assert difference.shape == (100, 8, 8) and np.abs(difference).max() > 1
    assert difference.mean() == pytest.approx(0, abs=0.03) and difference.std() == pytest.approx(0.5, abs=0.02)


def test_noise_of_a_seed_only_grows(member):
    x = member.test[:3].astype(float)
    weak, strong, other = (add_noise(x, *how) - x for how in ((0.25, 7), (1.0, 7), (1.0, 8)))
    np.testing.assert_allclose(4 * weak, strong, atol=1e-12)
    assert np.abs(other - strong).max() > 0.1


def test_without_steps_it_is_the_plain_pass(member, noisy):
    with torch.no_grad():
        x = torch.tensor(noisy.clip(0, 1), dtype=torch.float32)
        expected = member.model.decode(member.model.posterior(x).mean).numpy()
    np.testing.assert_allclose(denoise(member.model, noisy, 0.5, n_steps=0), expected, rtol=1e-6)


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_of_a_linear_decoder_it_is_the_ridge_regression(noise, rng):
    model = VAE(12, 3, hidden=(), likelihood="gaussian")
    model.initialise(torch.Generator().manual_seed(0))
    w, b = (p.detach().double().numpy() for p in model.decoder[0].parameters())
    y = rng.standard_normal((30, 12))
    z = np.linalg.solve(w.T @ w / noise**2 + np.eye(3), w.T @ (y - b).T / noise**2).T
    np.testing.assert_allclose(denoise(model, y, noise), z @ w.T + b, atol=1e-3)


def test_the_latent_is_more_probable_than_any_other_that_was_tried(member, noisy, monkeypatch):
    """Than the encoder's, than one with fewer steps, and than a fine grid's, of which 2-D latents allow the search."""
    found = {}
    decode = member.model.decode
    for n_steps in (0, 1, 10, 100):
        monkeypatch.setattr(member.model, "decode", lambda z, n=n_steps: found.__setitem__(n, z) or decode(z))
        denoise(member.model, noisy, 0.5, n_steps=n_steps)  # decodes what it returns last
    monkeypatch.undo()
    least = [energy(member.model, noisy, z.numpy(), 0.5) for z in found.values()]
    assert (np.diff(least, axis=0) <= 1e-4).all() and (least[-1] < least[0] - 0.01).any()
    axis = np.linspace(-4, 4, 161)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    lowest = [energy(member.model, y, grid, 0.5).min() for y in noisy]
    assert (least[-1] <= np.array(lowest) + 0.02).all()


def test_each_image_is_restored_alone_and_in_its_shape(member, noisy):
    together = denoise(member.model, noisy, 0.5, n_steps=20)
    alone = denoise(member.model, noisy[4:5].reshape(1, 8, 8), 0.5, n_steps=20)
    assert alone.shape == (1, 8, 8)
    np.testing.assert_allclose(alone.reshape(1, 64), together[4:5], atol=1e-3)


def test_what_the_decoder_can_make_is_found_again(member):
    image = member.decode(member.test_mean[:10])
    noisy = add_noise(image, 0.3, seed=0)
    assert (psnr(image, denoise(member.model, noisy, 0.3)) > psnr(image, noisy) + 6).all()


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (7, 9)])
def test_filters_smooth_a_flat_image_and_keep_its_grey(shape):
    clean = np.full((5, *shape), 0.5)
    noisy = add_noise(clean, 0.2, seed=0)
    for restored in (median(noisy, shape), wavelet(noisy, shape, 0.2)):
        assert restored.shape == noisy.shape and restored.min() >= 0 and restored.max() <= 1
        assert (psnr(clean, restored) > psnr(clean, noisy)).all()
    for restored in (median(clean, shape), wavelet(clean, shape, 0.2)):
        np.testing.assert_allclose(restored, clean, atol=1e-12)


def test_median_is_that_of_nine_pixels(rng):
    y = rng.uniform(size=(2, 8, 8))
    expected = np.median(y[:, 2:5, 3:6].reshape(2, -1), axis=1)
    np.testing.assert_array_equal(median(y.reshape(2, 64), (8, 8)).reshape(2, 8, 8)[:, 3, 4], expected)


def test_psnr_is_known_of_a_constant_error():
    x = np.full((2, 64), 0.5)
    np.testing.assert_allclose(psnr(x, x + np.array([[0.1], [0.01]])), [20, 40])
    assert np.isinf(psnr(x, x)).all()


def test_ssim_is_one_only_for_the_image_itself(member, noisy):
    x = member.test[:20]
    found = ssim(x, noisy, (8, 8))
    np.testing.assert_allclose(ssim(x, x, (8, 8)), 1)
    np.testing.assert_allclose(ssim(noisy, x, (8, 8)), found)
    assert found.shape == (20,) and (found < 0.95).all()
    weaker = ssim(x, add_noise(x, 0.1, seed=0), (8, 8))
    assert weaker.mean() > found.mean()


def test_ssim_is_known_of_flat_images():
    x, c = np.full((1, 64), 0.5), 0.01**2
    np.testing.assert_allclose(ssim(x, x + 0.3, (8, 8)), (2 * 0.5 * 0.8 + c) / (0.5**2 + 0.8**2 + c))


@pytest.fixture(scope="module")
def measured(member):
    return measure(member)


def test_measures_every_method_at_every_noise(measured):
    for own in vars(measured).values():
        assert own.psnr.shape == own.ssim.shape == (len(NOISES),) and np.isfinite([own.psnr, own.ssim]).all()


def test_measures_means_over_the_test_images(member, measured):
    noisy = add_noise(member.test, 1.0, member.seed)
    assert measured.noisy.psnr[2] == pytest.approx(psnr(member.test, noisy.clip(0, 1)).mean())
    restored = denoise(member.model, noisy, 1.0)
    assert measured.model.ssim[2] == pytest.approx(ssim(member.test, restored, (8, 8)).mean(), abs=1e-4)


def test_more_noise_is_harder(measured):
    for own in (measured.noisy, measured.median, measured.wavelet, measured.model):
        assert np.all(np.diff(own.psnr) < 0)


def test_images_that_are_no_pictures_are_measured_without_filters(member, monkeypatch):
    monkeypatch.setattr(denoising, "IMAGES", 5)
    found = measure(replace(member, image_shape=(64,)))
    assert np.isfinite([found.noisy.psnr, found.encoder.psnr, found.model.psnr]).all()
    assert np.isnan([found.median.psnr, found.wavelet.psnr, *(own.ssim for own in vars(found).values())]).all()


@pytest.mark.parametrize("noise", [0, -1.0, np.nan, np.inf, "0.5", [0.5]])
def test_noise_is_checked(member, noise):
    x = member.test[:2]
    for call in (lambda: add_noise(x, noise, 0), lambda: denoise(member.model, x, noise)):
        with pytest.raises(InputError, match="noise must be a finite number from 1e-06 to"):
            call()
    with pytest.raises(InputError, match="noise must be a finite number from 1e-06 to"):
        wavelet(x, (8, 8), noise)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 63)), "shape"),
        (np.zeros(64), "shape"),
        (np.zeros((0, 64)), "shape"),
        (np.full((2, 64), np.nan), "finite"),
        (np.full((2, 64), np.inf), "finite"),
        (np.full((2, 64), "a"), "real numbers"),
    ],
)
def test_images_are_checked(member, images, message):
    right = np.zeros((2, 64))
    for call in (
        lambda: denoise(member.model, images, 0.5),
        lambda: median(images, (8, 8)),
        lambda: wavelet(images, (8, 8), 0.5),
        lambda: psnr(right, images),
        lambda: ssim(images, right, (8, 8)),
    ):
        with pytest.raises(InputError, match=f"{message}|same images"):
            call()


def test_sizes_are_checked(member):
    x = member.test[:2]
    with pytest.raises(InputError, match="n_steps must be"):
        denoise(member.model, x, 0.5, n_steps=-1)
    for shape in ((64,), (4, 16), (4, 4, 4)):
        with pytest.raises(InputError, match="at least 7 pixels"):
            median(x, shape)
    with pytest.raises(InputError, match="same images"):
        ssim(x, x[:1], (8, 8))
