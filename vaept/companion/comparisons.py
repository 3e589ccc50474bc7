"""What a study compares beside its arms: prices, two labs, fields of each member's own, and the parts of data for them.

A part of the images is a `Dataset` of its own without labels, so that its checksum tells results apart.
"""

import warnings
from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from vaept import arguments
from vaept.companion.profiles import arm
from vaept.processes import cores, in_processes
from vaept.vae import pairs
from vaept.vae.agreement import Estimate, compare
from vaept.vae.ensemble import History
from vaept.vae.fitting import fit

HELD_OUT = 5  # one of so many training images is held out to choose λ
ANCHORS = 300  # training images that relative representations refer to
NEARLY = 0.005  # below the best agreement; such a λ may still be chosen


@dataclass(frozen=True, eq=False)
class Price:
    """A row of the price list: how far the coordinates of an ensemble agree on the test images, and what that costs.

    Attributes
    ----------
    arm : str
    d : int
    coupling : float, or None
        λ that the validation split of the training images chose; None without a field.
    coordinates, signed_permutation, orthogonal : Estimate
        As of `vaept.vae.agreement.Agreement`.
    minus_elbo, active_units : ndarray, shape (members,)
        As of `ArmRecord`.
    run : str
        The ensemble's name in the store.

    Raises
    ------
    InputError
        If shapes do not fit, or a number is not finite.
    """

    arm: str
    d: int
    coupling: float | None
    coordinates: Estimate
    signed_permutation: Estimate
    orthogonal: Estimate
    minus_elbo: np.ndarray
    active_units: np.ndarray
    run: str

    def __post_init__(self):
        arguments.array(self.minus_elbo, "minus_elbo", shape=("members",), dtype=None)
        arguments.array(self.active_units, "active_units", shape=self.minus_elbo.shape, dtype=None)


@dataclass(frozen=True, eq=False)
class TwoLabs:
    """Two ensembles that share nothing but the recipe: halves of the training images, fields and seeds of their own.

    Attributes
    ----------
    arm : str
    d : int
    between, permuted : Estimate
        Coordinate agreement on the test images of a member of one lab with one of the other, without alignment, and
        after the best signed permutation; intervals over the members of both.
    within : Estimate
        Coordinate agreement in one lab, the mean of both.
    fields : float, or None
        Coordinate agreement of the two labs' fields on the test images.
    minus_elbo : ndarray, shape (2, members)
    runs : list of str

    Raises
    ------
    InputError
        If shapes do not fit, or a number is not finite.
    """

    arm: str
    d: int
    between: Estimate
    permuted: Estimate
    within: Estimate
    fields: float | None
    minus_elbo: np.ndarray
    runs: list[str]

    def __post_init__(self):
        arguments.array(self.minus_elbo, "minus_elbo", shape=(2, "members"), dtype=None)


def lab_of(dataset, lab):
    """The `Dataset` of a lab, 0 or 1: one of two random halves of the training images, and all test images."""
    order = np.random.default_rng(0).permutation(len(dataset.train))
    return _part(dataset, dataset.train[np.array_split(order, 2)[lab]], dataset.test)


def validation_of(dataset):
    """The `Dataset` of a random fifth of the training images as test images and the others; no test image is in it."""
    order = np.random.default_rng(0).permutation(len(dataset.train))
    held_out, kept = np.split(order, [len(order) // HELD_OUT])
    return _part(dataset, dataset.train[kept], dataset.train[held_out])


def _part(dataset, train, test):
    return replace(dataset, train=train, test=test, train_labels=None, test_labels=None, classes=None)


def standardised(ensemble, train, images):
    """Posterior means of images under the first member, of mean 0 and variance 1 over the training images."""
    (own, *_), (wanted, *_) = (ensemble.posterior(x)[0].astype(float) for x in (train, images))
    return ((wanted - own.mean(axis=0)) / own.std(axis=0)).astype(np.float32)


def fit_each(dataset, *, seeds, fields, jobs, device, checkpoint, **how):
    """`vaept.vae.fitting.fit` of one member at a time, each in a field of its own, joined to one `Ensemble`."""
    calls = [
        (dataset, how | {"seeds": [seed], "field": field, "device": device, "checkpoint": checkpoint / str(seed)})
        for seed, field in zip(seeds, fields, strict=True)
    ]
    checkpoint.mkdir(parents=True, exist_ok=True)
    found = dict(in_processes(_fit_one, calls, jobs=jobs or cores()))
    alone = [found[number] for number in range(len(calls))]
    terms = zip(*(vars(each.history).values() for each in alone), strict=True)
    whole = {"seeds": tuple(seeds), "members": tuple(each.members[0] for each in alone)}
    return replace(alone[0], history=History(*map(np.concatenate, terms)), **whole)


def _fit_one(dataset, how):
    return fit(dataset, **how, jobs=1, progress=False)


def agreement_of_fields(make, n_components, dataset, pairs, *, seeded):
    """How well two fields of a kind agree on the test images, as a dict of lists, one value for each of some pairs.

    "halves": coordinate agreement of fields made from disjoint random halves of the training images; "halves,
    permuted" and "halves, rotated": the same after the best signed permutation, and R² after the best rotation;
    "seeds": coordinate agreement between seeds, where the field has one, each with landmarks of its own.
    """
    x, found = dataset.train, defaultdict(list)

    def compared(first, second):
        return compare(np.stack([field.transform(dataset.test) for field in (first, second)]), n_bootstrap=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the warnings say is what is measured here
        for pair in range(pairs):
            order = np.random.default_rng(pair).permutation(len(x))
            halves = compared(*(make(x[rows], n_components) for rows in np.array_split(order, 2)))
            found["halves"].append(halves.coordinates.mean)
            found["halves, permuted"].append(halves.signed_permutation.mean)
            found["halves, rotated"].append(halves.orthogonal.mean)
            if seeded:
                seeds = compared(*(make(x, n_components, seed=seed) for seed in (2 * pair, 2 * pair + 1)))
                found["seeds"].append(seeds.coordinates.mean)
    return dict(found)


def cheapest(couplings, evaluations):
    """Of the λ that agree best, the one whose −ELBO under the plain prior is lowest.

    A λ agrees best if its coordinate agreement is within 0.005 of the highest. (Intervals of three members are too wide
    to tell a weak λ from one that is enough.)
    """
    found = [pairs.compare_pairs(each.mean).coordinates.mean for each in evaluations]
    well = [each >= max(found) - NEARLY for each in found]
    losses = [-each.elbo.mean() if good else np.inf for each, good in zip(evaluations, well, strict=True)]
    return couplings[int(np.argmin(losses))]


def prices(study):
    """The price list of a study, as a list of `Price`; after the plain model what can be done when it is trained."""
    found = []
    for run in (run for run in study.runs if run.place == "prices"):
        evaluation, name = study.evaluation_of(run), study.ensemble_folder(run).name
        found.append(price(run, study.tuned_coupling(run.latent_dim, run.arm), evaluation, name))
        if run.arm == study.profile.arms[0]:
            found += prices_after(run, evaluation, study.ensemble_of(run), study.dataset.train, name)
    return found


def labs(study):
    """Of each arm of two labs of a study their `TwoLabs`, as a list."""
    runs, found = [run for run in study.runs if run.place == "labs"], []
    for both in zip(runs[::2], runs[1::2], strict=True):
        evaluations, names = map(study.evaluation_of, both), [study.ensemble_folder(run).name for run in both]
        fields = [study.field_at(run, study.dataset.test) for run in both] if arm(both[0].arm).field else None
        found.append(two_labs(both[0], list(evaluations), fields, names))
    return found


def lengths(study):
    """The dose-responses of trainings of several lengths: a dict from epochs to the points of a `Series`."""
    points = defaultdict(list)
    for run in (run for run in study.runs if run.place == "lengths"):
        points[run.epochs].append(study.point(run.coupling or 0.0, run))
    return dict(points)


def price(run, coupling, evaluation, name):
    """The `Price` of a run from its `Evaluation`; `name` is that of the ensemble in the store."""
    found = pairs.compare_pairs(evaluation.mean)
    return _price(run.arm, run.latent_dim, coupling, found, evaluation, name)


def prices_after(run, evaluation, ensemble, train, name):
    """The `Price` of what can be done to a finished ensemble, as a list.

    "turned" and "permuted": one of two members is aligned to the other on one half of the test images and judged on the
    other half. "relative": cosine similarities of relative representations. The models, their −ELBO and their active
    units are those of the arm.
    """
    rows = np.random.default_rng(0).permutation(len(train))[:ANCHORS]
    found = {
        "turned": pairs.compare_aligned(evaluation.mean, "rotation"),
        "permuted": pairs.compare_aligned(evaluation.mean, "signed permutation"),
        "relative": pairs.compare_relative(evaluation.mean, ensemble.posterior(train[rows])[0]),
    }
    return [_price(f"{run.arm}, {how}", run.latent_dim, None, each, evaluation, name) for how, each in found.items()]


def _price(arm, d, coupling, found, evaluation, name):
    own = {"minus_elbo": -evaluation.elbo, "active_units": evaluation.active.sum(axis=1), "run": name}
    return Price(arm=arm, d=d, coupling=coupling, **vars(found), **own)


def two_labs(run, evaluations, fields, names):
    """The `TwoLabs` of a run from both labs' evaluations, fields at the test images or None, and names in the store."""
    between, permuted, within = pairs.compare_groups(*(each.mean for each in evaluations))
    alike = None if fields is None else pairs.compare_pair(*(values[:, : run.latent_dim] for values in fields))[0]
    return TwoLabs(
        arm=run.arm,
        d=run.latent_dim,
        between=between,
        permuted=permuted,
        within=within,
        fields=alike,
        minus_elbo=np.stack([-each.elbo for each in evaluations]),
        runs=names,
    )
