r"""Latents in groups: by the slow modes of their landscape and by methods that know no dynamics, against the classes.

Classes are used to compare only; no group is made with them. Sources of the scores: Hubert & Arabie 1985 (adjusted Rand
index), Vinh, Epps & Bailey 2010 (normalised mutual information).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.mixture import GaussianMixture

from vaept import arguments
from vaept.errors import InputError
from vaept.landscape.states import metastable_states
from vaept.uses.member import Member, Numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from vaept.datasets import Dataset

IMAGES = 5_000
TAIL = 20  # the share 1/TAIL of the points is an end of a mode
FEWEST, MOST = 2, 200  # test images for each class, and classes
METHODS = {"slow_modes": "slow modes", "k_means": "k-means", "mixture": "mixture"}  # in words


@dataclass(frozen=True)
class Likeness:
    """How alike groups and classes are: the adjusted Rand index and the normalised mutual information."""

    rand_index: Numbers
    information: Numbers


@dataclass(frozen=True)
class Clustering:
    """Groups by each of `METHODS` beside the classes, and those of the slow modes beside classes dealt anew."""

    slow_modes: Likeness
    k_means: Likeness
    mixture: Likeness
    chance: Likeness


def lacking(dataset: "Dataset") -> "str":
    """Why groups of a data set's test images cannot be compared with its classes: a sentence, or "" if they can be."""
    if dataset.test_labels is None:
        return "The data have no classes."
    labels = dataset.test_labels[:IMAGES]
    present = np.unique(labels)
    if len(present) < 2:
        return f"All test images are of one class, {dataset.classes[present[0]]}."  # type: ignore[index]
    if len(labels) < FEWEST * len(present):
        return f"There are {len(labels)} test images of {len(present)} classes, fewer than {FEWEST} for each."
    if len(present) > MOST:
        return f"There are {len(present)} classes; at most {MOST} groups are made."
    return ""


def groups(member: "Member", n_groups: "int") -> "dict[str, np.ndarray]":
    """Test latents in groups, by each of `METHODS`.

    Parameters
    ----------
    member : Member
    n_groups : int
        The same for all methods.

    Returns
    -------
    dict from str to ndarray of int, shape (n,)
        For the first `IMAGES` test images: the metastable states of the landscape, k-means and a mixture of Gaussians.
        Where the modes do not tell so many states apart, there are as many as they do.
    """
    latents = member.test_mean[:IMAGES]
    n_groups = arguments.integer(n_groups, "n_groups", 2, len(latents))
    modes = member.modes(n_groups).eigenfunctions(latents)
    mixture = GaussianMixture(n_groups, n_init=3, random_state=member.seed)
    return {
        "slow_modes": metastable_states(modes, n_groups, seed=member.seed),
        "k_means": KMeans(n_groups, n_init=10, random_state=member.seed).fit_predict(latents),
        "mixture": mixture.fit_predict(latents),
    }


def agreement(labels: "ArrayLike", found: "ArrayLike") -> "Likeness":
    """How alike two groupings of the same images are.

    Parameters
    ----------
    labels, found : array of int, shape (n,)

    Returns
    -------
    Likeness
        The adjusted Rand index is 0 on average for random groups, the mutual information from 0 to 1.

    Raises
    ------
    InputError
        If they are no integers, or not of as many images.
    """
    labels = arguments.labels(labels, "labels")
    found = arguments.labels(found, "found", len(labels))
    return Likeness(adjusted_rand_score(labels, found), normalized_mutual_info_score(labels, found))


def along_mode(values: "ArrayLike", energies: "ArrayLike", n_frames: "int" = 9) -> "np.ndarray":
    """Points on a walk from one end of a mode to the other.

    Windows of 5 % of the points are laid evenly over their order by the mode, from the lowest values to the highest; of
    each, the point of lowest energy is taken.

    Parameters
    ----------
    values, energies : array, shape (n,)
        An eigenfunction and the free energy at the points.
    n_frames : int
        Windows; from 2 to n.

    Returns
    -------
    ndarray of int, shape (n_frames,)
        Rows of the points.

    Raises
    ------
    InputError
        If the shapes differ or there are fewer points than frames.
    """
    values = arguments.array(values, "values", shape=("n",))
    energies = arguments.array(energies, "energies", shape=values.shape)
    n_frames = arguments.integer(n_frames, "n_frames", 2, len(values))
    order, width = np.argsort(values, kind="stable"), max(1, len(values) // TAIL)
    first = np.linspace(0, len(values) - width, n_frames).round().astype(int)
    windows = order[first[:, None] + np.arange(width)]
    return windows[np.arange(len(first)), energies[windows].argmin(axis=1)]


def measure(member: Member) -> Clustering:
    """Agreement of as many groups as there are classes with these; raises InputError if the member has none."""
    if member.labels is None:
        raise InputError("Groups are compared with classes; the data has none.")
    labels = member.labels[:IMAGES]
    found = groups(member, len(np.unique(labels)))
    dealt = np.random.default_rng(member.seed).permutation(labels)
    own = {method: agreement(labels, each) for method, each in found.items()}
    return Clustering(**own, chance=agreement(dealt, found["slow_modes"]))
