"""Free energies against the dense mixture, differences and their own bounds; refusals."""

import numpy as np
import pytest
import torch

from vaept.errors import InputError
from vaept.landscape import energy as module
from vaept.landscape.density import AggregatePosterior
from vaept.landscape.energy import FreeEnergy
from vaept.landscape.stationary import double_well, mueller_brown


@pytest.fixture
def mixture(rng):
    return AggregatePosterior(rng.standard_normal((400, 2)), rng.uniform(0.01, 0.1, (400, 2)))


def torch_energy(mixture):
    mean, variance = torch.tensor(mixture.mean), torch.tensor(mixture.variance)

    def energy(z):
        exponents = ((z[:, None] - mean) ** 2 / variance + torch.log(2 * torch.pi * variance)).sum(dim=2)
        return np.log(len(mean)) - torch.logsumexp(-0.5 * exponents, dim=1)

    return energy


def test_mixture_and_automatic_derivatives_agree(mixture, rng):
    points = 1.5 * rng.standard_normal((20, 2))
    exact = FreeEnergy(mixture).expansion(points)
    automatic = FreeEnergy(torch_energy(mixture), 2).expansion(points)
    for one, other in zip(exact, automatic, strict=True):
        assert np.allclose(one, other, rtol=1e-9, atol=1e-9)


def test_cells_change_nothing(mixture, rng, monkeypatch):
    points = 1.5 * rng.standard_normal((200, 2))
    whole = FreeEnergy(mixture).expansion(points)
    monkeypatch.setattr(module, "MIN_CELL_COMPONENTS", 1)
    monkeypatch.setattr(module, "CELL_MEMORY", 2000)  # so that cells are forgotten as well
    energy = FreeEnergy(mixture)
    for one, other in zip(energy.expansion(points), whole, strict=True):
        assert np.allclose(one, other, rtol=1e-9, atol=1e-9)
    assert np.array_equal(energy(points), energy.expansion(points)[0])
    assert np.allclose(energy.gradient(points), energy.expansion(points)[1], rtol=1e-12)
    assert any(len(local.mean) < 200 for local, _, _ in energy._terms.cells.values())


@pytest.mark.parametrize("share", [1e-3, 1e-9])
def test_left_out_components_carry_no_more_than_their_share(mixture, rng, share):
    low, high = np.array([0.3, -0.2]), np.array([0.5, 0.1])
    near = mixture.near(low, high, share)
    part = AggregatePosterior(mixture.mean[near], mixture.variance[near])
    points = rng.uniform(low, high, (100, 2))
    lost = mixture.log_density(points) - part.log_density(points) - np.log(len(near) / 400)
    assert len(near) < 400 and (lost >= -1e-12).all() and (lost < share).all()


def test_energy_that_is_linear_or_lacks_a_coordinate():
    energy = FreeEnergy(lambda z: 3 * z[:, 0], 2)
    value, gradient, hessian = energy.expansion([[2.0, 5.0]])
    assert value == 6 and gradient.tolist() == [[3, 0]] and not hessian.any()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda z: z.sum(), r"to a tensor \(3,\)"),
        (lambda z: z, r"to a tensor \(3,\)"),
        (lambda z: z.detach().numpy().sum(1), "ndarray"),
        (lambda z: z.detach().sum(dim=1), "computed in torch"),
        (np.sin, "computed in torch"),
        (lambda z: z.sum(dim=1) * torch.nan, "not finite"),
        (lambda z: torch.sqrt(z[:, 0] - 100), "not finite"),
    ],
)
def test_functions_that_are_no_energies(function, message):
    with pytest.raises(InputError, match=message):
        FreeEnergy(function, 2).gradient(np.ones((3, 2)))


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (3, {"dim": 2}),
        (mueller_brown, {}),
        (mueller_brown, {"dim": 0}),
        (double_well(), {"dim": 2, "bounds": [[0, 0], [1, 0]]}),
        ("mixture", {"dim": 3}),
    ],
)
def test_bad_arguments(mixture, source, options):
    with pytest.raises(InputError):
        FreeEnergy(mixture if source == "mixture" else source, **options)


@pytest.mark.parametrize("points", [np.zeros(2), np.zeros((3, 4)), np.full((3, 2), np.inf), np.zeros((0, 2))])
def test_bad_points(mixture, points):
    with pytest.raises(InputError, match="points must"):
        FreeEnergy(mixture)(points)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_torch_as_the_caller_set_it(mode, dtype):
    points = np.random.default_rng(0).uniform(-1, 1, (5, 2))
    expected = FreeEnergy(mueller_brown, 2).expansion(points)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with mode():
            found = FreeEnergy(mueller_brown, 2).expansion(points)
    finally:
        torch.set_default_dtype(before)
    assert all(np.array_equal(a, b) and a.dtype == np.float64 for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_energies_of_less_precision_are_taken(dtype):
    values = FreeEnergy(lambda z: (z**2).sum(dim=1).to(dtype), 2).expansion(np.ones((3, 2)))
    assert values[0].tolist() == [2, 2, 2] and (values[1] == 2).all() and (values[2] == 2 * np.eye(2)).all()


def test_complex_energies_are_refused():
    with pytest.raises(InputError, match="must be real"):
        FreeEnergy(lambda z: (z**2).sum(dim=1) + 1j, 2).gradient(np.ones((3, 2)))


@pytest.mark.parametrize("options", [{"dim": 10**9}, {"dim": 2.0}, {"bounds": "wide"}, {"bounds": [[0, 0], [1, 1j]]}])
def test_arguments_of_other_kinds(options):
    with pytest.raises(InputError):
        FreeEnergy(mueller_brown, **({"dim": 2} | options))


@pytest.mark.parametrize(
    "convert", [lambda a: a + 0j, lambda a: torch.tensor(a, requires_grad=True), np.ma.masked_array]
)
def test_points_may_be_what_counts_as_an_array(mixture, rng, convert):
    points = rng.standard_normal((4, 2))
    assert np.array_equal(FreeEnergy(mixture).gradient(convert(points)), FreeEnergy(mixture).gradient(points))
