"""A stack gives each member what it has alone: the slopes of the plain model, and bits that hang on nobody else."""

import numpy as np
import pytest
import torch

from vaept.datasets import Dataset
from vaept.vae.ensemble import Seed, Settings
from vaept.vae.training import Task, _Member, _Stack

KINDS = {
    "plain": {},
    "bfloat16": {"precision": "bfloat16"},
    "full covariance": {"full_covariance": True},
    "gaussian": {"likelihood": "gaussian"},
    "wells": {"potential": "wells", "coupling": 1.0, "schedule": "adiabatic"},
    "field": {"potential": "dipole", "coupling": 3.0, "schedule": {"fade": 0.5, "switch_off": 0.9}},
    "all": {"potential": "wells", "coupling": 1.0, "likelihood": "gaussian", "full_covariance": True}
    | {"precision": "bfloat16"},
}
# latent_dim, hidden, pixels, batch_size, images
SHAPES = [
    (1, (64,), 13, 7, 40),
    (2, (128,), 64, 64, 150),
    (3, (), 33, 64, 70),
    (4, (5, 3), 6, 50, 151),
    (5, (17,), 765, 33, 70),
    (6, (100,), 64, 64, 65),
    (7, (31, 9), 20, 10, 25),
    (8, (40, 20), 100, 96, 230),
    (9, (12,), 1, 1, 3),
    (33, (20,), 40, 32, 64),
]


def task(shape, **kind):
    d, hidden, pixels, batch_size, n = shape
    rng = np.random.default_rng(0)
    x, field = rng.random((n, pixels), dtype=np.float32), rng.standard_normal((n, d)).astype(np.float32)
    settings = Settings(d, 2, hidden, batch_size=batch_size, learning_rate=3e-3, **kind)
    data = Dataset("noise", x, x[:1], None, None, (pixels,), "noise")
    return Task(data, field if settings.potential == "dipole" else None, settings, torch.device("cpu"))


def trained(task, seeds):
    """Numbers and histories of members after two epochs in one stack, by seed."""
    members = [_Member(task, Seed.of(seed), None, None) for seed in seeds]
    stack = _Stack(task, members)
    stack.epoch()
    stack.epoch()
    return {seed: (member.numbers, member.history) for seed, member in zip(seeds, members, strict=True)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_member_has_the_same_bits_beside_any_others(shape, kind):
    work = task(shape, **KINDS[kind])
    alone = {seed: trained(work, [seed])[seed] for seed in (0, 9)}
    for seeds in ([9, 0], [1, 0, 9], [0, 3, 2, 4, 9], range(10)):
        together = trained(work, seeds)
        for seed, (numbers, history) in alone.items():
            assert torch.equal(together[seed][0], numbers) and np.array_equal(together[seed][1], history)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind].get("precision") is None])
def test_a_step_is_that_of_the_plain_model(kind):
    work = task((3, (11, 7), 10, 20, 40), **KINDS[kind])
    members = [_Member(work, Seed.of(seed), None, None) for seed in range(3)]
    models = [work.settings.model(10, member.weights()).requires_grad_() for member in members]
    stack = _Stack(work, members)
    generator = torch.Generator().manual_seed(0)
    rows, noise = torch.randint(40, (3, 20), generator=generator), torch.randn(3, 20, 3, generator=generator)
    share, progress = torch.full((20,), 0.05), 0.6
    terms = stack.step(rows, noise, share, progress)
    slopes = stack.layout.parameters(stack.weights.grad)
    for i, model in enumerate(models):
        optimiser = torch.optim.Adam(model.parameters(), lr=stack.optimiser.param_groups[0]["lr"])
        field = None if work.field is None else torch.tensor(work.field)[rows[i]]
        own = model.perturbed_elbo_terms(
            torch.tensor(work.dataset.train)[rows[i]], noise[i], field, work.settings.schedule.strength(progress)
        )
        (own[2] - work.settings.schedule.reconstruction_weight(progress) * own[0]).mean().backward()
        for mine, theirs in zip(terms, own, strict=True):
            assert torch.allclose(mine[i], theirs, rtol=1e-4, atol=1e-4)
        for name, parameter in model.named_parameters():
            largest = float(parameter.grad.abs().max())
            assert torch.allclose(slopes[name][i], parameter.grad, rtol=1e-4, atol=1e-4 * largest), name
            parameter.grad = slopes[name][i].clone()
        optimiser.step()
        after = members[i].weights()
        for name, parameter in model.named_parameters():
            assert torch.allclose(after[name], parameter, rtol=1e-4, atol=1e-7), name
