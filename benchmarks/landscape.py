"""Landscapes of mixtures and the surface of Müller and Brown: seconds of ours beside those of general tools.

Energies and gradients at 1 000 points of a plane of latents, as a mixture of n Gaussians:
`vaept.landscape.energy.FreeEnergy` by cells, all components at once in numpy (`AggregatePosterior`), and torch's
`MixtureSameFamily` with automatic differentiation. Then the whole landscape: minima, saddles and the lowest path
between every two minima. For Müller and Brown, minima and saddles from 200 starts, beside SciPy's BFGS, which finds
minima alone.

    OMP_NUM_THREADS=1 python benchmarks/landscape.py [LATENTS]

LATENTS is an .npz file with posterior means `m` and variances `v` of a model of two latent coordinates; without it,
the mixture is a made-up one of ten bent clusters. The table is also written to results/landscape.json.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from scipy.optimize import minimize
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from vaept.landscape.density import AggregatePosterior
from vaept.landscape.energy import FreeEnergy
from vaept.landscape.paths import lowest_paths
from vaept.landscape.stationary import find_stationary_points, mueller_brown

SIZES = 1_000, 10_000, 60_000
BLUR = 0.1**2


def made_up(n):
    """Means and variances of n components in ten bent clusters."""
    generator = np.random.default_rng(0)
    angle = generator.integers(10, size=n) * np.pi / 5 + 0.1 * generator.standard_normal(n)
    radius = 0.4 + np.abs(generator.standard_normal(n))
    mean = np.stack([radius * np.cos(angle + 0.3 * radius), radius * np.sin(angle + 0.3 * radius)], axis=1)
    return mean, np.full((n, 2), 0.05**2)


def by_torch(mixture, points):
    z = torch.tensor(points, requires_grad=True)
    weights = Categorical(logits=torch.zeros(len(mixture.mean), dtype=torch.float64))
    parts = Independent(Normal(torch.tensor(mixture.mean), torch.tensor(np.sqrt(mixture.variance))), 1)
    total = torch.zeros(())
    for rows in z.split(50):  # memory
        total = total + MixtureSameFamily(weights, parts).log_prob(rows).sum()
    return torch.autograd.grad(total, z)[0].numpy()


def timed(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - start


def whole(energy, starts):
    return lowest_paths(energy, find_stationary_points(energy, starts))


def bfgs(energy, starts):
    found = [minimize(lambda z: energy(z[None])[0], s, jac=lambda z: energy.gradient(z[None])[0]).x for s in starts]
    return np.unique(np.round(found, 4), axis=0)


def main():
    torch.set_num_threads(1)
    rows = []
    latents = np.load(sys.argv[1]) if len(sys.argv) > 1 else None
    for n in SIZES:
        mean, variance = (latents["m"][:n], latents["v"][:n]) if latents else made_up(n)
        q = AggregatePosterior(mean.astype(float), variance.astype(float) + BLUR)
        points = q.sample(1_000, seed=0)
        cells = FreeEnergy(q)
        slopes, first = timed(cells.gradient, points)
        _, again = timed(cells.gradient, points)
        plain, direct = timed(q.gradient, points)
        assert np.allclose(-plain, slopes, atol=1e-8)
        row = {"components": n, "cells": first, "cells again": again, "all components": direct}
        if n <= 10_000:
            reference, row["torch"] = timed(by_torch, q, points)
            assert np.allclose(reference, plain, atol=1e-8)
        paths, row["landscape"] = timed(whole, FreeEnergy(q), q.sample(200, seed=1))
        row |= {"minima": len(paths.minima), "saddles": len(paths.saddles)}
        rows.append(row)
        print(row, flush=True)
    surface = FreeEnergy(mueller_brown, dim=2)
    starts = np.random.default_rng(0).uniform([-1.5, -0.3], [1.2, 2], (200, 2))
    points, ours = timed(find_stationary_points, surface, starts)
    minima, theirs = timed(bfgs, surface, starts)
    rows.append({"surface": "Müller–Brown", "minima and saddles": ours, "found": len(points.points), "BFGS": theirs})
    print(rows[-1], f"{len(minima)} different ends of BFGS")
    results = Path(__file__).parent / "results" / "landscape.json"
    results.write_text(
        json.dumps({"data": "latents" if latents else "made up", "rows": rows}, indent=1) + "\n", "utf-8"
    )


if __name__ == "__main__":
    main()
