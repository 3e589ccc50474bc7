import dataclasses

import numpy as np
import pytest
import torch

from vaept.errors import InputError
from vaept.perturbation.potentials import SCHEDULES, Dipole, Schedule, Wells, couplings
from vaept.vae.model import VAE, Posterior


@pytest.fixture
def posterior():
    generator = torch.Generator().manual_seed(0)
    mean, log_scale = 0.5 * torch.randn(2, 5, 3, generator=generator)
    return Posterior(mean, log_scale, torch.tril(torch.randn(5, 3, 3, generator=generator), -1))


def as_torch(posterior):
    factor = posterior.lower + torch.diag_embed(posterior.log_scale.exp())
    return torch.distributions.MultivariateNormal(posterior.mean, scale_tril=factor)


def test_full_posterior_against_torch(posterior):
    noise = torch.randn(5, 3)
    q, z = as_torch(posterior), posterior.sample(noise)
    standard = torch.distributions.MultivariateNormal(torch.zeros(3), torch.eye(3))
    assert torch.allclose(posterior.kl(), torch.distributions.kl_divergence(q, standard), atol=1e-5)
    assert torch.allclose(posterior.log_density(noise), q.log_prob(z), atol=1e-4)
    assert torch.allclose(posterior.log_variance.exp(), q.variance, atol=1e-5)


def test_samples_have_the_posteriors_covariance(posterior):
    many = Posterior(*(part[:1].expand(200_000, *part.shape[1:]) for part in vars(posterior).values()))
    z = many.sample(torch.randn(200_000, 3, generator=torch.Generator().manual_seed(1)))
    assert torch.allclose(z.T.cov(), as_torch(posterior).covariance_matrix[0], atol=0.05)


def test_dipole_is_the_kl_from_a_shifted_prior(posterior):
    coupling, field = torch.tensor([2.0, 1.0, 0.5]), torch.randn(5, 3)
    shifted = torch.distributions.MultivariateNormal(0.7 * coupling * field, torch.eye(3))
    expected = torch.distributions.kl_divergence(as_torch(posterior), shifted)
    assert torch.allclose(Dipole(coupling).kl(posterior, None, None, field, 0.7), expected, atol=1e-4)


def test_dipole_adds_the_potential_up_to_its_normalisation(posterior):
    coupling, field, s = torch.tensor([2.0, 1.0, 0.5]), torch.randn(5, 3), 0.4
    pull = s * coupling * field
    mean_potential = -(pull * posterior.mean).sum(1)
    expected = posterior.kl() + mean_potential + 0.5 * (pull**2).sum(1)
    assert torch.allclose(Dipole(coupling).kl(posterior, None, None, field, s), expected, atol=1e-5)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_wells_are_normalised_at_every_strength(strength):
    wells = Wells(torch.tensor([1.0, 0.8]))
    wells.initialise(torch.Generator().manual_seed(2))
    wells.logits.data = torch.randn(wells.WELLS)
    axis = torch.linspace(-10, 10, 401)
    grid = torch.cartesian_prod(axis, axis)
    total = wells.log_density(grid, strength).exp().sum() * (axis[1] - axis[0]) ** 2
    assert total.item() == pytest.approx(1, abs=1e-4)


def test_wells_without_strength_are_the_plain_prior(posterior):
    wells = Wells(torch.ones(3))
    wells.initialise(torch.Generator().manual_seed(2))
    z = posterior.mean
    plain = torch.distributions.Normal(0, 1).log_prob(z).sum(1)
    assert torch.allclose(wells.log_density(z, 0.0), plain, atol=1e-5)


def test_wells_estimate_the_kl_without_bias():
    single = Posterior(torch.tensor([[0.4, -0.2]]), torch.tensor([[-0.5, 0.1]]))
    many = Posterior(*(part.expand(100_000, 2) for part in (single.mean, single.log_scale)))
    wells = Wells(torch.ones(2))
    noise = torch.randn(100_000, 2, generator=torch.Generator().manual_seed(3))
    estimate = wells.kl(many, many.sample(noise), noise, None, 0.0)
    assert estimate.mean().item() == pytest.approx(single.kl().item(), abs=0.02)


def test_no_potential_knowing_z_alone_sees_an_orthogonal_map(posterior):
    """Turn latents and wells together: the same value, so the wells cannot choose an orientation."""
    wells = Wells(torch.ones(3))
    wells.initialise(torch.Generator().manual_seed(2))
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(4)))[0]
    before = wells.log_density(posterior.mean)
    wells.centres.data = wells.centres.data @ turn
    assert torch.allclose(wells.log_density(posterior.mean @ turn), before, atol=1e-5)


def test_schedules():
    schedule = Schedule(0.2, 0.4, 0.8)
    assert [schedule.reconstruction_weight(p) for p in (0, 0.1, 0.2, 1)] == [0, 0.5, 1, 1]
    assert [schedule.strength(p) for p in (0, 0.4, 0.8, 1)] == [1, 1, 0, 0]
    assert schedule.strength(0.6) == pytest.approx(0.5)
    abrupt = Schedule(0.1, switch_off=0.5)
    assert (abrupt.strength(0.499), abrupt.strength(0.5)) == (1, 0)
    assert Schedule().reconstruction_weight(0) == 1 and Schedule(0.5).strength(1) == 1


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_itself_by_name_or_as_a_mapping(name):
    schedule = Schedule.of(name)
    assert Schedule.of(schedule) == Schedule.of(dataclasses.asdict(schedule)) == schedule


@pytest.mark.parametrize(
    "arguments",
    [
        {"warm_start": 1.0},
        {"warm_start": -0.1},
        {"warm_start": float("nan")},
        {"switch_off": 1.0},
        {"switch_off": -0.2},
        {"switch_off": 3},
        {"fade": 0.5},
        {"fade": 0.7, "switch_off": 0.6},
    ],
)
def test_a_schedule_that_never_ends(arguments):
    with pytest.raises(
        InputError, match=r"never comes to its end|needs switch_off|must be a finite number of at least 0 below 1"
    ):
        Schedule(**arguments)


def test_unknown_schedule_names_the_known():
    with pytest.raises(InputError, match="constant, adiabatic, switch-off; it is 'slow'"):
        Schedule.of("slow")


def test_couplings_are_distinct_and_average_to_their_strength():
    assert couplings(2, 1) == (2.0,)
    values = couplings(2, 5)
    assert len(set(values)) == 5 and np.mean(values) == pytest.approx(2) and values == tuple(sorted(values)[::-1])
    assert couplings([1, 3], 2) == (1.0, 3.0)


@pytest.mark.parametrize(
    "coupling", [2, 2.0, np.float32(2), np.array(2), torch.tensor(2.0, requires_grad=True), np.array(2 + 0j)]
)
def test_couplings_may_be_what_counts_as_a_number(coupling):
    assert couplings(coupling, 3) == couplings(2.0, 3)
    assert couplings([coupling] * 2, 2) == (2.0, 2.0)


def test_schedules_may_have_numbers_of_any_kind():
    schedule = Schedule(np.float32(0.25), torch.tensor(0.25), np.array(0.5))
    assert schedule == Schedule(0.25, 0.25, 0.5) and type(schedule.warm_start) is float


@pytest.mark.parametrize(
    "coupling", [-1, float("nan"), [1, -2], [1, 2, 3], "strong", None, 1j, [[1], [1, 2]], 1e154, ["a", "b"]]
)
def test_bad_couplings(coupling):
    with pytest.raises(InputError, match=r"^coupling "):
        couplings(coupling, 2)


def test_a_rotation_costs_nothing_with_a_full_covariance():
    """The objective with a full posterior is the same for z and Rz; with a diagonal one the posterior cannot follow."""
    model = VAE(6, 2, (8,), full_covariance=True)
    model.initialise(torch.Generator().manual_seed(0))
    posterior = model.posterior(torch.rand(4, 6))
    factor = posterior.lower + torch.diag_embed(posterior.log_scale.exp())
    turn = torch.linalg.qr(torch.randn(2, 2))[0]
    turned = torch.linalg.cholesky(turn @ factor @ factor.mT @ turn.T)
    log_scale = torch.diagonal(turned, dim1=1, dim2=2).log()
    other = Posterior(posterior.mean @ turn.T, log_scale, torch.tril(turned, -1))
    assert torch.allclose(other.kl(), posterior.kl(), atol=1e-5)
    assert not torch.allclose(Posterior(other.mean, 0.5 * other.log_variance).kl(), posterior.kl(), atol=1e-5)
