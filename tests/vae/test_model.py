import math

import pytest
import torch

from vaept.errors import InputError
from vaept.vae.model import VAE, Posterior


def new_model(seed=0, **kwargs):
    model = VAE(**({"pixels": 6, "latent_dim": 2, "hidden": (5, 4)} | kwargs))
    model.initialise(torch.Generator().manual_seed(seed))
    return model


def test_shapes_and_widths():
    model = new_model(latent_dim=3)
    x = torch.rand(7, 6)
    mean, log_variance = model.encode(x)
    assert mean.shape == log_variance.shape == (7, 3)
    assert model.decode(torch.zeros(2, 4, 3)).shape == (2, 4, 6)
    widths = [layer.out_features for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    assert widths == [5, 4, 6, 4, 5, 6]


def test_no_hidden_layers_gives_affine_maps():
    model = new_model(hidden=())
    a, b = torch.randn(2, 1, 2)
    middle = model.decoder((a + b) / 2)
    assert torch.allclose(middle, (model.decoder(a) + model.decoder(b)) / 2, atol=1e-6)


def test_initial_weights_come_from_the_generator_alone():
    torch.manual_seed(1)
    one = new_model(seed=5).state_dict()
    torch.manual_seed(2)
    two = new_model(seed=5).state_dict()
    other = new_model(seed=6).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_bernoulli_likelihood_is_normalised_over_all_images():
    model = new_model(pixels=4)
    images = torch.tensor([[i >> k & 1 for k in range(4)] for i in range(16)], dtype=torch.float32)
    z = torch.randn(1, 2)
    assert model.log_likelihood(images, z.expand(16, 2)).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_gaussian_likelihood_is_a_normal_density():
    model = new_model(likelihood="gaussian")
    x, z = torch.rand(3, 6), torch.randn(3, 2)
    deviation = math.exp(0.5 * model.log_noise_variance.item())
    expected = torch.distributions.Normal(model.decode(z), deviation).log_prob(x).sum(1)
    assert torch.allclose(model.log_likelihood(x, z), expected, atol=1e-4)


def test_likelihood_broadcasts_over_samples():
    model = new_model()
    x, z = torch.rand(5, 6), torch.randn(3, 5, 2)
    assert torch.allclose(model.log_likelihood(x, z)[1], model.log_likelihood(x, z[1]), atol=1e-5)


def test_kl_against_torch():
    mean, log_variance = torch.randn(2, 10, 3)
    q = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0, 1)).sum(1)
    assert torch.allclose(Posterior(mean, 0.5 * log_variance).kl(), expected, atol=1e-5)


def test_elbo_terms_sample_the_posterior():
    model = new_model()
    x, noise = torch.rand(4, 6), torch.randn(4, 2)
    reconstruction, kl = model.elbo_terms(x, noise)
    mean, log_variance = model.encode(x)
    z = mean + (0.5 * log_variance).exp() * noise
    assert torch.allclose(reconstruction, model.log_likelihood(x, z))
    assert torch.allclose(kl, Posterior(mean, 0.5 * log_variance).kl())
    assert not torch.allclose(reconstruction, model.log_likelihood(x, mean))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"latent_dim": 0}, "latent_dim must be an integer of at least 1; it is 0"),
        ({"latent_dim": 2.5}, "latent_dim"),
        ({"pixels": -1}, "pixels"),
        ({"hidden": (5, 0)}, r"hidden\[1\] must be"),
        ({"likelihood": "poisson"}, "bernoulli, gaussian"),
    ],
)
def test_bad_arguments(argument, message):
    with pytest.raises(InputError, match=message):
        new_model(**argument)


def test_gradients_reach_every_parameter():
    model = new_model(likelihood="gaussian")
    reconstruction, kl = model.elbo_terms(torch.rand(4, 6), torch.randn(4, 2))
    (kl - reconstruction).mean().backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in model.parameters())
