"""Train an ensemble: the same model on the same images, whose labels it does not see, once per seed.

A member depends on its seed and the settings and on nothing else: not on the number of processes, not on the
other members, not on whether its training was interrupted. To make that so, each member has three random
generators of its own (initial weights, batch order, noise of the latent samples), runs on one thread, beside others
that cannot change its bits (`vaept.vae.training`), and writes checkpoints from which it continues bit for bit. The
optimiser is Adam (Kingma & Ba 2015); its step size falls from `learning_rate` to zero along half a cosine over the
whole training. A potential of `vaept.perturbation.potentials` may perturb the prior meanwhile, along a schedule: a
field pulls coordinate i of the latent towards its component i; of a field with k > d components the first d are used,
and with k < d the other coordinates feel none.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vaept import arguments
from vaept.array_files import memory
from vaept.datasets import Dataset
from vaept.errors import InputError, TrainingError
from vaept.files import ensure_writable, remove_partials
from vaept.perturbation.potentials import POTENTIALS
from vaept.processes import cores, in_processes, lock, plain_torch
from vaept.progress import TrainingBar
from vaept.vae.ensemble import Ensemble, History, Seed, Settings
from vaept.vae.training import ALIGNED, Task, train

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import ArrayLike

    from vaept.perturbation import Field

LARGEST_STACK = 2**27  # numbers: half a GB
MOST_MEMBERS = 10_000
LARGEST_FIELD = 1e6  # in size; of unit variance it is about 3


def fit(
    dataset: Dataset,
    *,
    seeds: Sequence,
    field: "Field | ArrayLike | None" = None,
    start: Ensemble | None = None,
    jobs: int | None = None,
    device: str = "cpu",
    checkpoint: str | Path | None = None,
    progress: bool = True,
    **settings: "Any",
) -> Ensemble:
    """Train one member per seed by maximising the ELBO of the training images, with one latent sample per image.

    Parameters
    ----------
    dataset : Dataset
    seeds : sequence of int or Seed, all different, at most 10 000
    field : vaept.perturbation.fields.Field or array, shape (n_train, k), optional
        u(x) of the training images, best with zero mean and unit variance.
    start : Ensemble, optional
        Go on from these members, one for each seed, instead of from new weights: same images and same architecture.
    jobs : int, optional
        Processes, one thread each. Default: one per core on the CPU, one on any other device.
    device : str
        A torch device, such as "cpu" or "cuda".
    checkpoint : path, optional
        A folder. Members that are finished or under way are kept there, and the same call continues them.
    progress : bool
    settings
        latent_dim, epochs and whatever else `vaept.vae.ensemble.Settings` has, with its defaults.

    Returns
    -------
    Ensemble

    Raises
    ------
    InputError
        If an argument cannot be used, or the models do not fit into the memory.
    TrainingError
        If the loss of a member is no longer finite; others are trained to the end and kept in `checkpoint`.

    Examples
    --------
    >>> fit(vaept.load("digits"), seeds=[0, 1], latent_dim=2, epochs=1, jobs=1, progress=False).history.elbo.shape
    (2, 1)
    """
    dataset, settings, seeds = _dataset(dataset), _settings(field is not None, **settings), _distinct(seeds)
    field = _checked_field(field, settings, len(dataset.train))
    origins, task = _origins(start, settings, seeds, dataset), Task(dataset, field, settings, arguments.device(device))  # type: ignore[arg-type]
    jobs = (cores() if task.device.type == "cpu" else 1) if jobs is None else arguments.integer(jobs, "jobs", 1)
    outcomes = _outcomes(task, seeds, origins, jobs, checkpoint, progress)
    failures = [outcome for outcome in outcomes if isinstance(outcome, TrainingError)]
    if failures:
        raise TrainingError(" ".join(str(failure) for failure in failures))
    with plain_torch():
        members = tuple(settings.model(dataset.pixels, weights) for weights, _ in outcomes)  # type: ignore[attr-defined]
    history = History(*np.stack([history for _, history in outcomes]).swapaxes(0, 1))
    return Ensemble(settings, seeds, members, history, dataset.image_shape, dataset.checksum)  # type: ignore[arg-type]


def _outcomes(task, seeds, origins, jobs, checkpoint, progress):
    """For each seed what `vaept.vae.training.train` returns."""
    stacks, paths, held = _stacks(task.settings, task.dataset, len(seeds), jobs), [None] * len(seeds), nullcontext()
    if checkpoint is not None:
        checkpoint = arguments.path(checkpoint, "checkpoint")
        ensure_writable(checkpoint)
        paths, held = [checkpoint / f"member-{seed}.safetensors" for seed in seeds], lock(checkpoint / ".lock")
    calls = [(task, *([each[i] for i in stack] for each in (seeds, origins, paths))) for stack in stacks]
    with held, TrainingBar(len(seeds), task.settings.epochs, progress) as shown:
        if checkpoint is not None:
            remove_partials(checkpoint)
        found = in_processes(
            train, calls, jobs=jobs, note=lambda number, value: shown.note(stacks[number][value[0]], value[1:])
        )
        outcomes = {i: own for number, stack in found for i, own in zip(stacks[number], stack, strict=True)}
    return [outcomes[i] for i in range(len(seeds))]


def _dataset(dataset):
    if not isinstance(dataset, Dataset):
        raise InputError(
            f"dataset must be a Dataset; it is {arguments.brief(dataset, 40)}. vaept.datasets.load reads one, and "
            "from_arrays makes one of arrays."
        )
    return dataset


def _distinct(seeds):
    if not isinstance(seeds, Iterable) or isinstance(seeds, str | bytes) or getattr(seeds, "ndim", 1) == 0:
        raise InputError(f"seeds must be a sequence, such as range(3) or [0, 1, 2]; it is {arguments.brief(seeds)}.")
    seeds = tuple(islice(seeds, MOST_MEMBERS + 1))
    if len(seeds) > MOST_MEMBERS:
        raise InputError(f"seeds has more than {MOST_MEMBERS} entries; give fewer.")
    if not seeds:
        raise InputError("seeds is empty; give at least one, such as range(10).")
    seeds = tuple(Seed.of(seed) for seed in seeds)
    repeated = sorted(str(seed) for seed, times in Counter(seeds).items() if times > 1)
    if repeated:
        raise InputError(f"seeds must differ; repeated: {', '.join(repeated)}. Equal seeds give equal members.")
    return seeds


def _settings(in_field, *, potential=None, coupling=None, **settings):
    """The settings, with the potential and the coupling that they need."""
    if potential is None and in_field:
        potential = "dipole"
    if potential is None and coupling is not None:
        raise InputError(f"coupling is {coupling!r}, but there is nothing to couple to; give a field or a potential.")
    if potential == "dipole" and coupling is None:
        raise InputError("A field needs a coupling λ; give coupling=, such as 3.")
    return Settings(potential=potential, coupling=1.0 if coupling is None else coupling, **settings)


def _checked_field(field, settings, n):
    """The field's first d components, float32 (n, d), with zeros for those it lacks; None if there is no field."""
    d, needed = settings.latent_dim, settings.potential is not None and POTENTIALS[settings.potential].needs_field
    if (field is not None) != needed:
        raise InputError(
            f"The potential {settings.potential!r} needs a field of the training images; give field=."
            if needed
            else f"The potential {settings.potential!r} knows nothing of a field; leave field= out."
        )
    if field is None:
        return None
    given = getattr(field, "values", field)
    given = field if callable(given) else given  # a sparse tensor or a dict has a method of that name
    values = arguments.array(given, "field", shape=(n, "k"), largest=LARGEST_FIELD)
    values = values[:, :d].astype(np.float32)
    if (values.std(axis=0) == 0).any():
        flat = np.flatnonzero(values.std(axis=0) == 0).tolist()
        raise InputError(f"field has no variance in components {flat} (from 0): they are the same for every image.")
    if values.shape[1] < d:
        warnings.warn(
            f"The field has {values.shape[1]} components and the latent space {d} coordinates: the last "
            f"{d - values.shape[1]} feel no field and stay free.",
            stacklevel=3,
        )
        values = np.pad(values, [(0, 0), (0, d - values.shape[1])])
    if any(settings.coupling) and len(set(settings.coupling)) < d:
        warnings.warn(
            f"Some couplings are equal ({', '.join(f'{c:g}' for c in settings.coupling)}): a permutation of the "
            "coordinates they belong to may stay free. Give distinct ones, or one number.",
            stacklevel=3,
        )
    return values


def _stacks(settings, dataset, members, jobs):
    """Numbers of the members that are trained together; raises InputError if they do not fit into the memory."""
    (n, pixels), d, weights = dataset.train.shape, settings.latent_dim, settings.n_weights(dataset.pixels)
    batch = min(settings.batch_size, n) + ALIGNED
    values = 4 * pixels + 4 * sum(settings.hidden) + 8 * d + 3 * d * d * settings.full_covariance
    # With the weights their slopes and Adam's two means; of an epoch its order, noise and terms.
    each = 5 * weights + batch * values + n * (2 * d + 10)
    jobs = min(jobs, members)
    at_once = max(1, min(-(-members // jobs), LARGEST_STACK // each))
    needed = 4 * jobs * (n * pixels + at_once * each) + members * (4 * weights + 24 * settings.epochs)
    if needed > memory():
        raise InputError(
            f"Members of {weights:.3g} weights each, {members} in all and {jobs * at_once} at a time, take "
            f"{needed / 2**30:.3g} GiB for {settings.epochs} epochs, more than the {memory() / 2**30:.3g} GiB that may "
            "be used here. Give smaller hidden layers, fewer latent coordinates or fewer members."
        )
    number = jobs * -(-members // (jobs * at_once))
    return [stack.tolist() for stack in np.array_split(np.arange(members), min(number, members))]


def _origins(start, settings, seeds, dataset):
    """For each seed the weights to start from, or None for new ones."""
    if start is None:
        return [None] * len(seeds)
    arguments.instance(start, "start", Ensemble)
    if len(start.members) != len(seeds):
        raise InputError(f"start has {len(start.members)} members and there are {len(seeds)} seeds; give one for each.")
    if start.data_checksum != dataset.checksum:
        raise InputError("start was trained on other images; give the data set it was trained on.")
    for name in ("latent_dim", "hidden", "likelihood", "full_covariance"):
        theirs, ours = getattr(start.settings, name), getattr(settings, name)
        if theirs != ours:
            raise InputError(f"start has {name} {theirs!r}, and {ours!r} is asked for; they must be the same.")
    networks = [member.state_dict() for member in start.members]
    return [
        {name: value.numpy() for name, value in state.items() if not name.startswith("potential.")}
        for state in networks
    ]
