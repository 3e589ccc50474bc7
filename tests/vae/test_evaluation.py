import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from vaept.datasets import Dataset
from vaept.errors import DamagedFileError, InputError
from vaept.vae.agreement import turned_posterior
from vaept.vae.ensemble import Ensemble
from vaept.vae.evaluation import (
    Evaluation,
    active_units,
    elbo,
    evaluate,
    turned_elbo,
)
from vaept.vae.fitting import fit
from vaept.vae.marginal_likelihood import exact_log_likelihood, log_likelihood
from vaept.vae.model import VAE


@pytest.fixture
def linear_model():
    """A linear VAE with a good posterior that is not exact."""
    torch.manual_seed(0)
    model = VAE(5, 2, (), "gaussian")
    with torch.no_grad():
        model.decoder[0].weight.copy_(0.3 * torch.tensor([[1, 0], [1, 0.2], [0, 1], [0, -1], [0.5, 0.5]]))
        model.decoder[0].bias.fill_(0.5)
        model.log_noise_variance.fill_(math.log(0.02))
        model.encoder[0].weight.mul_(0.1)
        model.encoder[0].weight[:2] += torch.linalg.pinv(model.decoder[0].weight)
        model.encoder[0].bias[:2] = -(model.encoder[0].weight[:2] @ model.decoder[0].bias)
        model.encoder[0].bias[2:] = -2
    return model


@pytest.fixture
def images(rng):
    return rng.random((20, 5)).astype(np.float32)


def marginal(model, images):
    """log p(x) of a linear Gaussian model in closed form."""
    w, b = model.decoder[0].weight.double(), model.decoder[0].bias.double()
    covariance = w @ w.T + torch.eye(len(b), dtype=torch.float64) * model.log_noise_variance.double().exp()
    return torch.distributions.MultivariateNormal(b, covariance).log_prob(torch.tensor(images).double())


def test_quadrature_is_exact_for_a_linear_model(linear_model, images):
    found = exact_log_likelihood(linear_model, images)
    expected = marginal(linear_model, images).detach().numpy()
    assert np.abs(found.values - expected).max() < 1e-3  # the decoder works in float32
    assert found.error < 1e-3


def test_quadrature_in_one_dimension(images):
    model = VAE(5, 1, (), "gaussian")
    assert np.allclose(exact_log_likelihood(model, images).values, marginal(model, images).detach(), atol=1e-3)


def test_quadrature_warns_on_a_coarse_grid(linear_model, images):
    with pytest.warns(UserWarning, match="larger n_points"):
        exact_log_likelihood(linear_model, images, n_points=9)


def test_quadrature_refuses_three_dimensions(images):
    with pytest.raises(InputError, match="latent_dim 1 or 2; this model has 3"):
        exact_log_likelihood(VAE(5, 3, ()), images)


def test_importance_weighting_reaches_the_exact_likelihood(linear_model, images):
    exact = exact_log_likelihood(linear_model, images).values
    estimate = log_likelihood(linear_model, images, n_samples=20000)
    assert np.abs(estimate - exact).max() < 0.1


def test_quadrature_checks_importance_weighting_on_a_trained_network(ensemble, digits):
    model, x = ensemble.members[0], digits.test[:20]
    exact = exact_log_likelihood(model, x).values
    assert np.abs(log_likelihood(model, x, n_samples=5000) - exact).max() < 0.1
    assert (elbo(model, x, n_samples=200).elbo < exact).all()


def test_one_importance_sample_is_the_elbo_on_average(linear_model, images):
    runs = [log_likelihood(linear_model, images, n_samples=1, seed=seed) for seed in range(400)]
    bound = elbo(linear_model, images, n_samples=400)
    error = np.std(runs, axis=0) / 20
    assert (np.abs(np.mean(runs, axis=0) - bound.elbo) < 5 * error + 0.02 * np.abs(bound.elbo)).all()


def test_importance_weighting_does_not_depend_on_the_chunks(linear_model, images, monkeypatch):
    exact = exact_log_likelihood(linear_model, images).values
    monkeypatch.setattr("vaept.vae.marginal_likelihood.CHUNK_VALUES", 20 * 5 * 700)
    assert np.abs(log_likelihood(linear_model, images, n_samples=20001) - exact).max() < 0.1


def test_elbo_samples_the_posterior_and_not_its_mean(linear_model, images):
    # For a linear decoder E_q log p(x|z) lies below log p(x|μ) by Σ_i σ_i² |w_i|² / (2 s²).
    x = torch.tensor(images)
    mean, log_variance = linear_model.encode(x)
    at_mean = linear_model.log_likelihood(x, mean)
    columns = (linear_model.decoder[0].weight ** 2).sum(0)
    penalty = 0.5 * (log_variance.exp() * columns).sum(1) / linear_model.log_noise_variance.exp()
    found = elbo(linear_model, images, n_samples=20000).reconstruction
    assert np.allclose(found, (at_mean - penalty).detach(), atol=0.1)
    assert penalty.min().item() > 0.5


def test_elbo_noise_is_reproducible(linear_model, images):
    assert np.array_equal(elbo(linear_model, images, seed=3).elbo, elbo(linear_model, images, seed=3).elbo)
    assert not np.array_equal(elbo(linear_model, images, seed=3).elbo, elbo(linear_model, images, seed=4).elbo)


def test_linear_vae_recovers_probabilistic_pca(rng):
    n, pixels = 1200, 6
    axes = np.linalg.qr(rng.standard_normal((pixels, 2)))[0]
    z = rng.standard_normal((n, 2)) * [0.15, 0.09]
    x = (0.5 + z @ axes.T + 0.05 * rng.standard_normal((n, pixels))).clip(0, 1).astype(np.float32)
    data = Dataset("toy", x, x[:100], None, None, (pixels,), "toy")
    settings = {"hidden": (), "likelihood": "gaussian", "batch_size": 100, "learning_rate": 0.05, "progress": False}
    model = fit(data, latent_dim=2, seeds=[0], epochs=300, jobs=1, **settings).members[0]

    pca = PCA(2).fit(x)
    found = marginal(model, x).mean().item()
    assert found == pytest.approx(pca.score(x), abs=0.005)  # scikit-learn's score is that of probabilistic PCA
    assert exact_log_likelihood(model, x[:200]).values.mean() == pytest.approx(pca.score(x[:200]), abs=0.02)
    columns = model.decoder[0].weight.detach().numpy()
    cosines = np.abs((columns / np.linalg.norm(columns, axis=0)).T @ pca.components_.T)
    cosines = cosines[np.argsort(cosines[:, 1])]  # up to order and sign
    assert np.allclose(cosines, np.eye(2), atol=0.03)
    assert elbo(model, x, n_samples=100).elbo.mean() == pytest.approx(pca.score(x), abs=0.03)  # no gap at the optimum


def test_active_units_tell_a_dead_coordinate():
    model = VAE(5, 3, ())
    with torch.no_grad():
        model.encoder[0].weight[1] = 0
    x = np.random.default_rng(0).random((50, 5))
    assert active_units(model, x, threshold=1e-6).tolist() == [True, False, True]


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 4])
def test_quarter_turns_are_free(ensemble, digits, turns):
    model, x = ensemble.members[0], digits.test
    mean, variance = (part[0] for part in ensemble.posterior(x))
    rotation, turned_mean, turned_variance = turned_posterior(mean, variance, turns * np.pi / 2)
    base = turned_elbo(model, x, mean, variance, np.eye(2))
    assert turned_elbo(model, x, turned_mean, turned_variance, rotation) == pytest.approx(base, abs=1e-3)


def test_turned_elbo_at_zero_is_the_elbo(ensemble, digits):
    model, x = ensemble.members[0], digits.test
    mean, variance = (part[0] for part in ensemble.posterior(x))
    assert turned_elbo(model, x, mean, variance, np.eye(2)) == pytest.approx(elbo(model, x).elbo.mean(), abs=1e-3)


def test_evaluate_gathers_all_measures(ensemble, digits, tmp_path):
    result = evaluate(ensemble, digits.test, n_likelihood_images=30, n_importance_samples=10, jobs=1)
    parallel = evaluate(ensemble, digits.test, n_likelihood_images=30, n_importance_samples=10, jobs=2)
    assert result.mean.shape == (3, 359, 2) and result.kl.shape == (3, 359)
    assert result.importance_weighted.shape == result.exact.shape == (3, 30)
    assert np.array_equal(result.importance_weighted, parallel.importance_weighted)
    assert result.elbo.shape == (3,) and np.allclose(
        result.elbo, elbo(ensemble.members[0], digits.test).elbo.mean(), 0.1
    )
    result.save(tmp_path / "r")
    assert np.array_equal(Evaluation.load(tmp_path / "r").exact, result.exact)
    with pytest.raises(DamagedFileError, match="no ensemble file"):
        Ensemble.load(tmp_path / "r")


@pytest.mark.parametrize("function", [elbo, log_likelihood])
def test_no_samples_is_refused(ensemble, digits, function):
    with pytest.raises(InputError, match="n_samples must be an integer from 1 to"):
        function(ensemble.members[0], digits.test, n_samples=0)
