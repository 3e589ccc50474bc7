from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vaept.companion.user_files import read
from vaept.errors import InputError
from vaept.vae import VAE, from_encoder


class Network(torch.nn.Module):
    """An encoder that gives samples in training mode."""

    def __init__(self):
        super().__init__()
        self.linear, self.dropout = torch.nn.Linear(5, 4), torch.nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(self.linear(x)).chunk(2, dim=1)


def mean_and_variance(x):
    return x[:, :2] * 2, np.exp(x[:, 2:4])


Scvi = namedtuple("Scvi", "loc scale")


@pytest.mark.parametrize(
    ("encode", "second"),
    [
        (lambda x: (x[:, :2] * 2, x[:, 2:4]), "logvar"),
        (lambda x: [x[:, :2] * 2, x[:, 2:4], np.random.default_rng().normal(size=(len(x), 2))], "logvar"),  # as Keras
        (mean_and_variance, "variance"),  # as scvi-tools
        (lambda x: (x[:, :2] * 2, np.exp(x[:, 2:4] / 2)), "std"),
        (lambda x: SimpleNamespace(embedding=x[:, :2] * 2, log_covariance=x[:, 2:4]), "logvar"),  # as pythae
        (lambda x: {"mu": x[:, :2] * 2, "logvar": x[:, 2:4]}, "std"),
        (lambda x: Scvi(x[:, :2] * 2, np.exp(x[:, 2:4] / 2)), "logvar"),
        (
            lambda x: torch.distributions.Normal(torch.tensor(x[:, :2] * 2), torch.tensor(np.exp(x[:, 2:4] / 2))),
            "logvar",
        ),
    ],
)
def test_whatever_an_encoder_returns_gives_the_same_latents(encode, second, rng):
    data = rng.standard_normal((25, 5))
    found = from_encoder(encode, data, second=second, batch_size=10)
    np.testing.assert_allclose(found.mu, data[:, :2] * 2)
    np.testing.assert_allclose(found.logvar, data[:, 2:4], atol=1e-12)


def test_a_mean_alone_is_enough(rng):
    data = rng.standard_normal((7, 3))
    found = from_encoder(lambda x: x, data)
    assert found.logvar is None and np.array_equal(found.mu, data)


def test_a_torch_module_runs_in_evaluation_mode_and_keeps_its_own(rng):
    network, data = Network(), rng.random((12, 5))
    found = from_encoder(network, data, batch_size=5)
    with torch.no_grad():
        expected = network.linear(torch.tensor(data, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(np.hstack([found.mu, found.logvar]), expected, rtol=1e-5, atol=1e-6)
    assert network.training


def test_the_method_of_a_torch_module(rng):
    model = VAE(9, 2, hidden=(8,))
    found = from_encoder(model.encode, rng.random((6, 9)))
    assert found.mu.shape == (6, 2)


def test_what_is_saved_is_read_as_a_run(tmp_path, rng):
    data = rng.standard_normal((8, 4))
    latents = from_encoder(mean_and_variance, data, second="variance")
    latents.save(tmp_path / "run.npz", labels=np.arange(8) % 2, names=[f"cell {i}" for i in range(8)])
    run = read(tmp_path / "run.npz")
    assert np.array_equal(run.mu, latents.mu) and np.array_equal(run.logvar, latents.logvar)
    assert run.y.tolist() == [0, 1] * 4 and run.names[3] == "cell 3"
    with pytest.raises(InputError, match="8 different"):
        latents.save(tmp_path / "run.npz", names=["a"] * 8)


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        ("encoder", "must be a function"),
        (lambda x: x[:3], "3 rows for 10"),
        (lambda x: np.full((len(x), 2), np.nan), "the means that encode gives"),
        (lambda x: (x, x[:, :1]), "the spreads that encode gives"),
        (lambda x: None, "must return arrays"),
        (lambda x: np.random.default_rng().normal(size=(len(x), 2)), "not a sample"),
        (lambda x: SimpleNamespace(loc=x, scale=0 * x), "must be positive"),
    ],
)
def test_an_encoder_that_gives_something_else_is_refused(encode, message, rng):
    with pytest.raises(InputError, match=message):
        from_encoder(encode, rng.random((10, 3)))
