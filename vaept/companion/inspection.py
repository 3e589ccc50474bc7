"""What a data set is and what a study will make of it, looked at before the first epoch.

What is left out is decided by `vaept.uses.measure.left_out` and what is refused by `refusal`, as a study asks them.
"""

import warnings

import numpy as np

from vaept.errors import InputError
from vaept.perturbation.fields import pca_field
from vaept.uses.measure import left_out

LOOKED_AT = 5_000  # images of which every value is looked at
NAMED = 20  # classes that are listed


def refusal(dataset, profile):
    """Why no study can be made of a data set: a sentence, or "" if one can be.

    A study makes fields of all training images and of random halves, with as many components as latent coordinates. Of
    many images only the whole is tried, because halves vary in as many directions.

    Arguments are a `Dataset` and a `Profile`.
    """
    x, d = dataset.train, max((*profile.latent_dims, *profile.further_dims))
    order = np.random.default_rng(0).permutation(len(x))
    parts = [order] if len(x) > LOOKED_AT else [order, *np.array_split(order, 2)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of signs that hang on little, which a study measures
            for rows in parts:
                pca_field(x[rows], d)
    except InputError as error:
        what = "The training images vary" if len(rows) == len(x) else "A random half of the training images varies"
        return (
            f"{what} in too few directions for the profile {profile.name}, which asks for {d} coordinates "
            f"({str(error).partition(';')[0]}). Give more images that differ, with {d} values at least."
        )
    return ""


def description(dataset, profile):
    """What a data set is, and what a study leaves out of it and why, as a list of lines; arguments as for `refusal`."""
    shape = " × ".join(map(str, dataset.image_shape))
    lines = [
        f"{dataset.name}: {len(dataset.train):,} training and {len(dataset.test):,} test images of {shape} values.",
        *dataset.notes,
        _values(dataset),
        *_classes(dataset),
    ]
    lines += [f"Left out: {what}. {reason}" for what, reason in left_out(dataset).items()]
    reason = refusal(dataset, profile)
    return [*lines, reason or f"A study of the profile {profile.name} can be made of them."]


def _values(dataset):
    some = dataset.train[:LOOKED_AT]
    values = np.unique(some)
    few = "" if len(some) == len(dataset.train) else f" in the first {LOOKED_AT:,} images"
    kind = "0 and 1 alone" if set(values.tolist()) <= {0.0, 1.0} else f"{len(values):,} different"
    constant = int((dataset.train == dataset.train[0]).all(axis=0).sum())
    different = len({row.tobytes() for row in dataset.train})
    return (
        f"Values from {dataset.train.min():.3g} to {dataset.train.max():.3g}, {kind}{few}; {constant} of "
        f"{dataset.pixels} are the same in every training image. {different:,} training images are different."
    )


def _classes(dataset):
    if not dataset.classes:
        return ["No classes."]
    own = (dataset.train_labels, dataset.test_labels)
    train, test = (np.bincount(labels, minlength=len(dataset.classes)) for labels in own)
    counts = [f"{name} ({a} + {b})" for name, a, b in zip(dataset.classes, train, test, strict=True)]
    more = f" and {len(counts) - NAMED} more" if len(counts) > NAMED else ""
    some = "1 class" if len(counts) == 1 else f"{len(counts)} classes"
    lines = [f"{some}, with training + test images: {', '.join(counts[:NAMED])}{more}."]
    for where, found in (("training", train), ("test", test)):
        if missing := int((found == 0).sum()):
            lines.append(f"{missing} of them have no {where} images.")
    if len(counts) > NAMED:
        lines.append(f"Figures name {NAMED} of them, and colours repeat.")
    return lines
