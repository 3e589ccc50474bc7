"""What several test files share: a small data set and an ensemble trained on it."""

import numpy as np
import pytest

from vaept import datasets
from vaept.training import fit

SMALL = {"latent_dim": 2, "epochs": 3, "hidden": (16,), "batch_size": 50, "learning_rate": 3e-3, "progress": False}


@pytest.fixture(scope="session")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="session")
def ensemble(digits):
    return fit(digits, seeds=range(3), jobs=1, **SMALL)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
