"""Which recipe to take for a data set: field, coupling and schedule, chosen by pilots on the training images alone.

A pilot is a short training of a few members in a candidate recipe, on a part of the training images; another part,
which it never sees, judges it. A recipe comes into question if no member uses fewer latent coordinates than members of
the plain model do, and if its raw coordinates agree as well as the best one's, up to the interval of that or `EQUAL`.
Among these the lowest −ELBO wins; where that is undecided, the field that two halves of the images find more alike (the
pilots all share one field, and cannot see that), and then the best agreement. Every field is tried in one recipe
first, then the two best fields in all. That takes about as long as the training of six members, and up to twelve where
it is short. A seed chooses the images and the pilots' members: equal arguments give an equal recipe.
"""

import itertools
import math
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from vaept import arguments
from vaept.datasets import Dataset
from vaept.errors import InputError
from vaept.perturbation import Field
from vaept.perturbation.fields import FIELDS
from vaept.perturbation.potentials import Schedule
from vaept.processes import cores, in_processes
from vaept.progress import bar
from vaept.vae.agreement import Estimate, compare, compare_pair, mean_over_members
from vaept.vae.ensemble import Settings
from vaept.vae.evaluation import active_units, elbo
from vaept.vae.fitting import fit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

EARLY, LATE = Schedule(0.1, 0.1, 0.4), Schedule(0.2, 0.15, 0.6)
RECIPES = ((3.0, LATE), (1.5, LATE), (3.0, EARLY), (1.5, EARLY))  # couplings and schedules; fields meet in the first
CONTROLS = ("random",)  # fields that are not for use
FAVOURITES = 2  # fields that are tried in the others too
MEMBERS = 3
STEPS = 3000  # of a training whose length is not given
SHARE = 0.125  # of the steps of the training that a pilot takes
FEWEST_STEPS = {"bernoulli": 400, "gaussian": 900}
FASTEST = 0.01  # learning rate that a pilot may be raised to
MOST_IMAGES, MOST_JUDGES = 5000, 2000  # that pilots are trained on and judged by
EQUAL = 0.01  # a difference of two agreements that is of no use
STEADY = 0.05  # a difference that counts, of the agreement of fields between halves


@dataclass(frozen=True)
class Trial:
    """A candidate and how its pilot went on images that it had not seen.

    Attributes
    ----------
    field : str or None
        A name of `vaept.perturbation.fields.FIELDS`; None is the plain model.
    coupling : float or None
    schedule : Schedule
    agreement : Estimate
        Of raw coordinates, as of `vaept.vae.agreement.Agreement`.
    minus_elbo : Estimate
        Under the plain prior; nats per example.
    active : int
        Latent coordinates in use, in the member that uses fewest.
    alike : float
        Coordinate agreement of the fields of two halves of the images; 1 for the plain model, which needs none.
    """

    field: str | None
    coupling: float | None
    schedule: Schedule
    agreement: Estimate
    minus_elbo: Estimate
    active: int
    alike: float = 1.0

    def __str__(self) -> "str":
        what = "no field"
        if self.field:
            end, start = self.schedule.switch_off, self.schedule.warm_start
            what = f"{self.field} field, coupling {self.coupling:g}, warm start {start:g}, switched off at {end:g}"
        halves = f"; fields of two halves agree to {self.alike:.2f}" if self.field else ""
        return f"{what}: agreement {self.agreement:.3f}, −ELBO {self.minus_elbo:.2f} nats{halves}"


@dataclass(frozen=True, eq=False)
class Recipe:
    """What to train an ensemble with, as `vaept.vae.fit` takes it, and why.

    Attributes
    ----------
    field : Field or None
        Of all training images; None if without a field members agree as well.
    coupling : float or None
    schedule : Schedule
    reasons : tuple of str
        Sentences, with numbers from the pilots.
    trials : tuple of Trial
        All candidates, the best first.

    Examples
    --------
    >>> data = vaept.datasets.from_arrays(vaept.load("digits").train[:100])  # far too few
    >>> recipe = recommend(data, 2, epochs=1, hidden=8, jobs=1, progress=False)
    >>> how = {"field": recipe.field, "coupling": recipe.coupling, "schedule": recipe.schedule}
    >>> len(fit(data, seeds=[0, 1], latent_dim=2, epochs=1, jobs=1, progress=False, **how).members)
    2
    """

    field: Field | None
    coupling: float | None
    schedule: Schedule
    reasons: tuple
    trials: tuple


def recommend(
    dataset: "Dataset",
    latent_dim: "int",
    *,
    epochs: "int | None" = None,
    seed: "int" = 0,
    jobs: "int | None" = None,
    progress: "bool" = True,
    **settings: "Any",
) -> "Recipe":
    """Choose field, coupling and schedule for an ensemble, from the training images alone.

    Parameters
    ----------
    dataset : Dataset
        Its test images and its labels are not looked at.
    latent_dim, seed : int
    epochs : int, optional
        Of the training that the recipe is for; by default as many as make 3 000 steps.
    jobs : int, optional
        Processes, one thread each; one per core if not given.
    progress : bool
    settings
        Those of that training: hidden, likelihood and whatever else `vaept.vae.ensemble.Settings` has.

    Returns
    -------
    Recipe

    Raises
    ------
    InputError
        If an argument cannot be used, images are too few, or no field has so many components.
    TrainingError
        If a pilot diverges.

    Examples
    --------
    >>> data = vaept.datasets.from_arrays(vaept.load("digits").train[:100])  # far too few
    >>> recipe = recommend(data, 2, epochs=1, hidden=8, jobs=1, progress=False)
    >>> recipe.coupling == recipe.trials[0].coupling
    True
    """
    dataset, seed = arguments.instance(dataset, "dataset", Dataset), arguments.seed(seed)
    jobs = cores() if jobs is None else arguments.integer(jobs, "jobs", 1)
    if chosen := {"potential", "coupling", "schedule"} & set(settings):
        raise InputError(f"{min(chosen)} is among what is recommended; leave it out.")
    draft = Settings(latent_dim=latent_dim, epochs=1 if epochs is None else epochs, **settings)
    d, pilot, seeds = draft.latent_dim, *_split(dataset, draft.latent_dim, seed)
    fields, refused = _fields(pilot.train, d)
    steps, own_steps = (math.ceil(len(images) / draft.batch_size) for images in (dataset.train, pilot.train))
    total = STEPS if epochs is None else draft.epochs * steps
    length = math.ceil(min(total, max(FEWEST_STEPS[draft.likelihood], SHARE * total)) / own_steps)
    own, rate = settings | {"latent_dim": d, "epochs": length}, draft.learning_rate
    if draft.likelihood == "gaussian":  # its noise has as far to go as in the training, in fewer steps
        own["learning_rate"] = max(rate, min(FASTEST, rate * total / (length * own_steps)))
    trials = _tried(pilot, seeds, own, fields, jobs, progress)
    best, reasons = trials[0], _reasons(trials, pilot, length, refused)
    field = FIELDS[best.field](dataset.train, d) if best.field else None
    return Recipe(field, best.coupling, best.schedule, reasons, tuple(trials))


def ranked(trials: "Sequence[Trial]") -> "list[Trial]":
    """Trials, of which the first is the plain model, in the order in which they would be chosen."""
    left, order, plain = list(trials), [], trials[0]
    while left:
        able = [trial for trial in left if trial.active >= plain.active] or left
        best = max(able, key=lambda trial: trial.agreement.mean).agreement
        equal = [trial for trial in able if trial.agreement.mean >= min(best.low, best.mean - EQUAL)]
        lowest = min(equal, key=lambda trial: trial.minus_elbo.mean).minus_elbo
        equal = [trial for trial in equal if trial.minus_elbo.mean <= lowest.high]
        steadiest = max(trial.alike for trial in equal)
        equal = [trial for trial in equal if trial.alike >= steadiest - STEADY]
        order.append(max(equal, key=lambda trial: trial.agreement.mean))
        left.remove(order[-1])
    return order


def _split(dataset: "Dataset", d: "int", seed: "int") -> "tuple[Dataset, list[int]]":
    """Training images that pilots are trained on and, as test images, those that judge them; seeds of the members."""
    n, fewest = len(dataset.train), 5 * max(8, d + 2)
    if n < fewest:
        raise InputError(
            f"dataset has {n} training images; at least {fewest} are needed to judge recipes for latent_dim = {d}."
        )
    generator = np.random.default_rng(seed)
    order, judges = generator.permutation(n), min(n // 5, MOST_JUDGES)
    judging, training = order[:judges], order[judges:][:MOST_IMAGES]
    seeds = generator.choice(2**32, MEMBERS, replace=False).tolist()
    return Dataset("pilot", dataset.train[training], dataset.train[judging], image_shape=dataset.image_shape), seeds


def _fields(images, d):
    """The fields of images that have d components, by name, and what the others say; InputError if there is none."""
    made, refused = {}, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the pilots show what is wrong
        for kind in [kind for kind in FIELDS if kind not in CONTROLS]:
            try:
                made[kind] = FIELDS[kind](images, d)
            except InputError as error:
                refused[kind] = str(error)
    if not made:
        raise InputError(f"No field of these images has latent_dim = {d} components. {next(iter(refused.values()))}")
    return made, refused


def _alike(pilot, kind, d):
    """Coordinate agreement, on the images that judge, of fields of two halves of those that pilots are trained on."""
    halves = np.array_split(np.random.default_rng(0).permutation(len(pilot.train)), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what they say is what is measured
        try:
            values = [FIELDS[kind](pilot.train[rows], d).transform(pilot.test) for rows in halves]
        except InputError:  # half of the images are too few for the field
            return 0.0
    return float(compare_pair(*values)[0])


def _tried(pilot, seeds, settings, fields, jobs, progress):
    """All trials, ranked."""
    alike = {kind: _alike(pilot, kind, settings["latent_dim"]) for kind in fields} | {None: 1.0}

    def tried(candidates):
        candidates = list(candidates)
        calls = [(pilot, seeds, settings, kind, fields.get(kind), *how) for kind, how in candidates]
        found = in_processes(_trial, calls, jobs=jobs)
        found = dict(bar(found, "pilots", total=len(calls), unit="pilot", show=progress))
        return [replace(found[number], alike=alike[kind]) for number, (kind, _) in enumerate(candidates)]

    trials = tried([(None, (None, Schedule())), *((kind, RECIPES[0]) for kind in fields)])
    favourites = [trial.field for trial in ranked(trials) if trial.field][:FAVOURITES]
    return ranked(trials + tried(itertools.product(favourites, RECIPES[1:])))


def _trial(pilot, seeds, settings, kind, field, coupling, schedule):
    """The `Trial` of a candidate."""
    how = {"field": field, "coupling": coupling, "schedule": schedule, "jobs": 1, "progress": False}
    ensemble = fit(pilot, seeds=seeds, **how, **settings)
    losses = [-elbo(member, pilot.test).elbo.mean() for member in ensemble.members]
    active = min(int(active_units(member, pilot.test).sum()) for member in ensemble.members)
    agreement = compare(ensemble.posterior(pilot.test)[0], n_neighbours=1).coordinates
    return Trial(kind, coupling, schedule, agreement, mean_over_members(losses), active)


def _reasons(trials, pilot, epochs, refused):
    """Why the first of ranked trials was chosen, in sentences."""
    best, plain = trials[0], next(trial for trial in trials if not trial.field)
    kinds = dict.fromkeys(trial.field for trial in trials if trial.field not in (None, best.field))
    return (
        f"{len(trials)} recipes were tried on {len(pilot.train)} of the training images, {MEMBERS} members each, for "
        f"{epochs} epochs, and judged by {len(pilot.test)} others.",
        f"Best, {best}.",
        *(f"Best with the {kind} field, {next(trial for trial in trials if trial.field == kind)}." for kind in kinds),
        *([f"Without, {plain}."] if best.field else []),
        *(f"The {kind} field was not tried. {why}" for kind, why in refused.items()),
    )
