from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import digamma
from scipy.stats import ortho_group

import vaept.uses.member
from vaept import datasets
from vaept.errors import InputError
from vaept.files import read_json, restored, write_json
from vaept.uses import baselines, clustering, generation
from vaept.uses.baselines import PrincipalComponents, best_width, fit_autoencoder, fit_mixture, nearest, restore
from vaept.uses.denoising import NOISES, add_noise, psnr
from vaept.vae.ensemble import Settings

SMALL = Settings(latent_dim=2, epochs=30, hidden=(32,), batch_size=50, learning_rate=1e-2)
PIXELS, DIM = 30, 3


@pytest.fixture
def linear(rng):
    """Images in a linear space of `DIM` dimensions."""
    return 0.5 + 0.1 * rng.standard_normal((2000, DIM)) @ ortho_group.rvs(PIXELS, random_state=0)[:DIM]


@pytest.fixture(scope="module")
def autoencoder(digits):
    return fit_autoencoder(digits.train, SMALL)


def test_projection_of_images_in_a_linear_space_leaves_the_noise_in_it(linear):
    """So that 1/`PIXELS` of its variance is left for each dimension; the mean of log χ² is known."""
    components = PrincipalComponents.of(linear)
    noisy = add_noise(linear, 0.02, seed=0)
    found = psnr(linear, components.images(components.scores(noisy, DIM)))
    mean_of_log = digamma(DIM / 2) + np.log(2)
    expected = -10 * np.log10(0.02**2 / PIXELS) - 10 / np.log(10) * mean_of_log
    assert found.mean() == pytest.approx(expected, abs=0.3)  # three standard errors
    assert components.best_number(linear, noisy) == DIM
    for number in (1, DIM - 1, DIM + 3, PIXELS):
        other = components.images(components.scores(noisy, number))
        assert psnr(linear, other).mean() < found.mean() - 1


@pytest.mark.parametrize("n", [10, 100])  # fewer images than pixels, and more
def test_principal_components_are_those_of_the_covariance(n, rng):
    x = rng.random((n, PIXELS)).astype(np.float32)
    components = PrincipalComponents.of(x.reshape(n, 5, 6))
    np.testing.assert_allclose(components.images(components.scores(x)), x, atol=1e-6)
    scores = components.scores(x, 4)
    np.testing.assert_allclose(scores.var(axis=0), np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1][:4], rtol=1e-4)
    np.testing.assert_allclose(components.axes.T @ components.axes, np.eye(min(n, PIXELS)), atol=1e-9)


def test_more_components_than_there_are_are_all(linear):
    components = PrincipalComponents.of(linear)
    assert components.scores(linear[:3], 1000).shape == (3, PIXELS)


def test_of_pure_noise_one_component_is_best(linear, rng):
    components = PrincipalComponents.of(linear)
    assert components.best_number(linear[:500], add_noise(linear[:500], 5.0, seed=0)) == 1


def test_the_nearest_training_image_of_one_is_itself(digits, rng):
    rows = rng.permutation(len(digits.train))[:200]
    distinct = np.unique(digits.train, axis=0)
    rows = rows[rows < len(distinct)]
    np.testing.assert_array_equal(nearest(distinct, distinct[rows].reshape(-1, 8, 8)), rows)
    others = digits.test[:20]
    expected = ((others[:, None] - distinct) ** 2).sum(-1).argmin(1)
    np.testing.assert_array_equal(nearest(distinct, others), expected)


def test_windows_are_as_wide_as_the_images_are_spread_around_their_own(rng):
    centres = rng.random((3, 20))
    x = centres[rng.integers(3, size=900)] + 0.1 * rng.standard_normal((900, 20))
    width = best_width(x)
    assert 0.07 < width < 0.14
    assert best_width(x * 10**0.5) == pytest.approx(width * 10**0.5)
    assert best_width(np.repeat(centres, 10, axis=0)) == min(baselines.WIDTHS)


def test_a_mixture_has_as_many_components_as_there_are_clusters(rng):
    centres = np.array([[-10, 0], [0, 10], [10, 0]])
    points = np.concatenate([centre + rng.standard_normal((100, 2)) for centre in centres])
    mixture = fit_mixture(rng.permutation(points))
    assert mixture.n_components == 3
    found = mixture.means_[np.argsort(mixture.means_[:, 0])]
    np.testing.assert_allclose(found, centres, atol=0.5)


def test_a_mixture_of_few_or_equal_points_has_one_component():
    assert fit_mixture(np.random.default_rng(0).standard_normal((12, 2))).n_components == 1
    assert np.isfinite(fit_mixture(np.ones((40, 2))).sample(5)[0]).all()


def test_the_autoencoder_has_the_size_of_a_member(autoencoder, digits):
    member = SMALL.new_model(digits.pixels)
    assert {name: value.shape for name, value in autoencoder.state_dict().items()} == {
        name: value.shape for name, value in member.state_dict().items()
    }


def test_the_autoencoder_takes_noise_out(autoencoder, digits):
    for noise in NOISES[1:]:
        noisy = add_noise(digits.test, noise, seed=0)
        found = restore(autoencoder, noisy.reshape(-1, 8, 8))
        mean = np.tile(digits.train.mean(axis=0), (len(noisy), 1))
        assert found.min() >= 0 and found.max() <= 1
        assert psnr(digits.test, found).mean() > psnr(digits.test, noisy.clip(0, 1)).mean() + 2
        assert psnr(digits.test, found).mean() > psnr(digits.test, mean).mean() + 0.4


def test_equal_seeds_make_equal_autoencoders(digits):
    brief = replace(SMALL, epochs=1)
    first, again, other = (fit_autoencoder(digits.train[:200], brief, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first if name.endswith("weight"))


def test_sources_are_judged_as_those_of_a_member(member, judge, monkeypatch):
    monkeypatch.setattr(vaept.uses.member, "SAMPLES", 2_000)
    monkeypatch.setattr(generation, "MAX_STEPS", (100, 100))
    member = replace(member, judge=judge)
    expected = generation.measure(member).prior
    source = [lambda n: member.decode(generation.draw_latents(member, "prior", n, member.seed))]
    (found,) = baselines._judged(judge, member.train, member.test, source, member.seed)
    assert found.frechet == pytest.approx(expected.frechet) and found.sure == expected.sure


def test_measures_a_mixture_on_the_latents(member, judge):
    found = baselines.measure(replace(member, judge=judge))
    for own in (found.draws, found.means):
        assert own.frechet > 0 and all(0 <= share <= 1 for share in (own.precision, own.recall, own.sure))
    assert {found.draws_components, found.means_components} <= set(baselines.COMPONENTS)


@pytest.fixture(scope="module")
def measured(digits, judge):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "RATES", (0.01, 1))
        return baselines.measure_data(digits, replace(SMALL, epochs=4), judge, jobs=1, progress=False)


def test_measures_a_row_for_each_seed(measured, digits, tmp_path):
    rows = (len(baselines.SEEDS),)
    for name in ("principal", "principal_best", "nearest", "autoencoder"):
        own = getattr(measured.denoising, name)
        assert own.psnr.shape == own.ssim.shape == (*rows, len(NOISES)) and np.isfinite([own.psnr, own.ssim]).all()
    assert measured.clustering.pixels.rand_index.shape == measured.generation.windows.frechet.shape == rows
    assert (measured.denoising.learning_rate == SMALL.learning_rate).all()  # of a hundredth it learns nothing
    write_json(tmp_path / "found.json", "baselines", measured)
    again = restored(read_json(tmp_path / "found.json", "baselines"), baselines.Baselines)
    np.testing.assert_array_equal(again.denoising.nearest.psnr, measured.denoising.nearest.psnr)
    np.testing.assert_array_equal(again.generation.mixture.recall, measured.generation.mixture.recall)


def test_measures_with_the_images_and_the_noise_of_the_members(measured, digits):
    noisy = add_noise(digits.test, 0.5, seed=1)
    found = digits.train[nearest(digits.train, noisy)]
    assert measured.denoising.nearest.psnr[1, 1] == pytest.approx(psnr(digits.test, found).mean())
    components = PrincipalComponents.of(digits.train)
    found = components.images(components.scores(noisy, 2)).clip(0, 1)
    assert measured.denoising.principal.psnr[1, 1] == pytest.approx(psnr(digits.test, found).mean())


def test_measures_what_is_plain(measured):
    """More components where there is less noise; training images with noise are much like images."""
    assert (np.diff(measured.denoising.components) <= 0).all()
    assert (measured.denoising.principal_best.psnr[:, 0] > measured.denoising.principal.psnr[:, 0]).all()
    assert (measured.generation.windows.frechet < measured.generation.mixture.frechet).all()
    assert (measured.clustering.pixels.rand_index > measured.clustering.principal.rand_index).all()


def test_images_that_are_no_pictures_and_have_no_classes(rng):
    data = datasets.from_arrays(rng.random((60, 9)))
    assert clustering.lacking(data)
    how = replace(SMALL, epochs=1, likelihood="gaussian", latent_dim=20)
    found = baselines.measure_data(data, how, jobs=1, progress=False)
    assert found.clustering is None and found.generation is None
    for name in ("principal", "principal_best", "nearest", "autoencoder"):
        own = getattr(found.denoising, name)
        assert np.isfinite(own.psnr).all() and np.isnan(own.ssim).all()


@pytest.mark.parametrize("images", [np.zeros((2, 63)), np.zeros(64), np.zeros((0, 64)), np.full((2, 64), np.nan)])
def test_images_are_checked(images, autoencoder, digits):
    components = PrincipalComponents.of(digits.train)
    for call in (
        lambda: components.scores(images),
        lambda: components.best_number(digits.test[:2], images),
        lambda: nearest(digits.train, images),
        lambda: restore(autoencoder, images),
    ):
        with pytest.raises(InputError, match=r"shape|finite"):
            call()


def test_arguments_are_checked(digits, member):
    components = PrincipalComponents.of(digits.train)
    for call, message in (
        (lambda: components.scores(digits.test, 0), "n_components must be"),
        (lambda: components.best_number(digits.test, digits.test[:1]), "as many"),
        (lambda: components.images(np.zeros((2, 65))), "scores must have"),
        (lambda: best_width(digits.test[:1]), "at least two"),
        (lambda: fit_mixture(np.zeros((11, 2))), "at least 12"),
        (lambda: fit_mixture(np.full((20, 2), 1e7)), "rescale"),
        (lambda: fit_autoencoder(digits.train + 1, SMALL), r"in \[0, 1\]"),
        (lambda: fit_autoencoder(digits.train, {"epochs": 1}), "settings must be of the class Settings"),
        (lambda: restore(None, digits.test), "model must be of the class VAE"),
        (lambda: baselines.measure(member), "the member has none"),
        (lambda: baselines.measure_data(digits.train, SMALL), "dataset must be of the class Dataset"),
        (lambda: baselines.measure_data(digits, SMALL, judge=3), "judge must be of the class Classifier"),
    ):
        with pytest.raises(InputError, match=message):
            call()
