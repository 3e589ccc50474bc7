import numpy as np
import pytest
import torch

from vaept.perturbation import Schedule, perturbed_kl, switched_off
from vaept.perturbation.potentials import Dipole
from vaept.vae.model import Posterior


def test_the_perturbed_kl_is_that_of_the_dipole_and_of_torch():
    mu, logvar, u = torch.randn(3, 7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    coupling = torch.tensor([1.5, 0.7], dtype=torch.float64)
    found = perturbed_kl(mu, logvar, u, 0.4 * coupling)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mu, (logvar / 2).exp()), normal(0.4 * coupling * u, 1.0)).sum(1)
    torch.testing.assert_close(found, expected)
    posterior = Posterior(mu, logvar / 2)
    torch.testing.assert_close(found, Dipole(coupling).kl(posterior, None, None, u, 0.4))
    torch.testing.assert_close(perturbed_kl(mu, logvar, u, 0.0), posterior.kl())


@pytest.mark.parametrize("parts", [{}, {"warm_start": 0.0}, {"warm_start": 0.2, "fade": 0.0, "switch_off": 0.3}])
def test_the_switch_is_that_of_the_schedule(parts):
    whole = Schedule(**({"warm_start": 0.1, "fade": 0.1, "switch_off": 0.5} | parts))
    for progress in np.linspace(0, 1, 41):
        weight, strength = switched_off(progress, **parts)
        assert weight == pytest.approx(whole.reconstruction_weight(progress))
        assert strength == pytest.approx(whole.strength(progress))
