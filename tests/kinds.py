"""Small data sets of the kinds that people bring: each a dict of the arrays of an .npz file."""

import numpy as np


def _groups(n, shape, groups, seed):
    """Values in [0, 1] around a few patterns, a fifth of each value its own; and the pattern of each row."""
    rng = np.random.default_rng(seed)
    patterns, which = rng.random((groups, *shape)), np.arange(n) % groups
    strength = rng.uniform(0.4, 1, (n, *[1] * len(shape)))
    return 0.8 * strength * patterns[which] + 0.2 * rng.random((n, *shape)), which


def vectors():
    """Few rows of values that are no pictures, in three classes."""
    x, y = _groups(64, (6,), 3, seed=0)
    return {"x": x, "y": y}


def colour():
    """Pictures with three channels, in four classes."""
    x, y = _groups(90, (6, 6, 3), 4, seed=1)
    return {"x": (255 * x).astype(np.uint8), "y": y}


def unlabelled():
    """Grey pictures that are not square, without classes."""
    x, _ = _groups(80, (5, 7), 3, seed=2)
    return {"x": x}


def words():
    """Which of thirty words a text holds, with classes numbered as nobody would expect."""
    x, y = _groups(120, (30,), 3, seed=3)
    return {"x": (x > 0.4).astype(np.uint8), "y": np.array([-3, 7, 10**12])[y]}


def one_class():
    """Grey pictures that all belong to one class."""
    x, _ = _groups(70, (8, 8), 3, seed=4)
    return {"x": x, "y": np.full(70, 5)}


KINDS = {make.__name__: make for make in (vectors, colour, unlabelled, words, one_class)}
