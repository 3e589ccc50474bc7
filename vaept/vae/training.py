"""Train an ensemble: the same model on the same images, once per seed.

A member depends on its seed and the settings and on nothing else: not on the number of processes, not on the
other members, not on whether its training was interrupted. To make that so, each member has three random
generators of its own (initial weights, batch order, noise of the latent samples), runs on one thread, and
writes checkpoints from which it continues bit for bit. The optimiser is Adam (Kingma & Ba 2015); its step
size falls from `learning_rate` to zero along half a cosine over the whole training. A potential of
`vaept.perturbation.potentials` may perturb the prior meanwhile, along a schedule.
"""

import hashlib
import json
import math
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from vaept import arguments
from vaept.archives import memory
from vaept.datasets import Dataset
from vaept.errors import DamagedFileError, InputError, TrainingError
from vaept.files import ensure_writable, read_tensors, reading, remove_partials, write_tensors
from vaept.perturbation.potentials import POTENTIALS, Schedule
from vaept.processes import cores, in_processes, lock, plain_torch
from vaept.progress import TrainingBar
from vaept.vae.ensemble import Ensemble, History, Seed, Settings

CHECKPOINT_SECONDS = 10
MOST_MEMBERS = 10_000
LARGEST_FIELD = 1e6  # in size; of unit variance it is about 3


def fit(
    dataset: Dataset,
    *,
    latent_dim: int,
    seeds: Sequence,
    epochs: int,
    hidden: Sequence = (400,),
    likelihood: str = "bernoulli",
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    full_covariance: bool = False,
    precision: str = "float32",
    field=None,
    coupling: float | Sequence | None = None,
    schedule: str | Schedule = "constant",
    potential: str | None = None,
    start: Ensemble | None = None,
    jobs: int | None = None,
    device: str = "cpu",
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Ensemble:
    """Train one member per seed by maximising the ELBO with one latent sample per image.

    Parameters
    ----------
    dataset : Dataset
        Its training images are used; its labels are not.
    latent_dim : int
        Latent coordinates, d.
    seeds : sequence of int or Seed
        One member each, all different; at most 10 000.
    epochs : int
        Passes over the training images, at most a million.
    hidden : sequence of int, or int
        Widths of the encoder's hidden layers, or of the only one, reversed in the decoder.
    likelihood : {"bernoulli", "gaussian"}
        p(x|z), see `vaept.vae.model.VAE`.
    batch_size : int
        Images in a step; the last batch of an epoch may have fewer.
    learning_rate : float
        Adam's step size at the start, at most 1e6; it falls to zero along half a cosine.
    full_covariance : bool
        Give posteriors a full covariance instead of a diagonal one.
    precision : {"float32", "bfloat16"}
        Of the matrix products in training; everything else is float32. On processors with bfloat16 units it is nearly
        twice as fast.
    field : vaept.perturbation.fields.Field or array, shape (n_train, k), optional
        u(x) of the training images, best with zero mean and unit variance. It pulls coordinate i of the latent
        towards its component i; with k > d the first d are used, with k < d the other coordinates feel none.
    coupling : float or sequence of float
        λ, or λ ε_k for each coordinate, as for `vaept.perturbation.potentials.couplings`. Needed with a field; 1 for
        wells.
    schedule : {"constant", "adiabatic", "switch-off"} or Schedule
        When the reconstruction is turned on and the potential off. "adiabatic" turns the reconstruction on over the
        first tenth of the training; "switch-off" does that and fades the potential out until half of it is done.
    potential : {"dipole", "wells"}, optional
        Default: "dipole", the coupling to the field, if a field is given, else none.
    start : Ensemble, optional
        Go on from these members, one for each seed, instead of from new weights: same images and same architecture.
    jobs : int, optional
        Processes, one thread each. Default: one per core on the CPU, one on any other device.
    device : str
        A torch device, such as "cpu" or "cuda".
    checkpoint : path, optional
        A folder. Members that are finished or under way are kept there, and the same call continues them.
    progress : bool
        Show a progress bar over the epochs of all members.

    Returns
    -------
    Ensemble

    Raises
    ------
    InputError
        If an argument cannot be used, or the models do not fit into the memory.
    TrainingError
        If the loss of a member is no longer finite; the message names seed, epoch and step. The other
        members are trained to the end and kept in `checkpoint`.
    """
    if not isinstance(dataset, Dataset):
        raise InputError(
            f"dataset must be a Dataset; it is {arguments.brief(dataset, 40)}. vaept.datasets.load reads one, and "
            "from_arrays makes one of arrays."
        )
    if potential is None and field is not None:
        potential = "dipole"
    settings = Settings(
        latent_dim=latent_dim,
        epochs=epochs,
        hidden=hidden,
        likelihood=likelihood,
        batch_size=batch_size,
        learning_rate=learning_rate,
        full_covariance=full_covariance,
        precision=precision,
        potential=potential,
        coupling=_needed_coupling(coupling, potential),
        schedule=schedule,
    )
    seeds = _distinct(seeds)
    field = _checked_field(field, settings, len(dataset.train))
    origins = _origins(start, settings, seeds, dataset)
    device = arguments.device(device)
    if jobs is None:
        jobs = cores() if device.type == "cpu" else 1
    jobs = arguments.integer(jobs, "jobs", 1)
    _check_memory(settings, dataset, len(seeds), min(jobs, len(seeds)))
    paths = [None] * len(seeds)
    if checkpoint is not None:
        checkpoint = arguments.path(checkpoint, "checkpoint")
        ensure_writable(checkpoint)
        paths = [checkpoint / f"member-{seed}.safetensors" for seed in seeds]
    held = nullcontext() if checkpoint is None else lock(checkpoint / ".lock")
    with held, TrainingBar(len(seeds), settings.epochs, progress) as shown:
        if checkpoint is not None:
            remove_partials(checkpoint)
        calls = [
            (dataset, field, settings, seed, origin, device, path)
            for seed, origin, path in zip(seeds, origins, paths, strict=True)
        ]
        found = dict(in_processes(_train_member, calls, jobs=jobs, note=shown.note))
    outcomes = [found[number] for number in range(len(seeds))]
    failures = [outcome for outcome in outcomes if isinstance(outcome, TrainingError)]
    if failures:
        raise TrainingError(" ".join(str(failure) for failure in failures))

    members = []
    with plain_torch():
        for state, _ in outcomes:
            member = settings.new_model(dataset.pixels)
            member.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
            members.append(member.eval().requires_grad_(False))
    history = np.stack([history for _, history in outcomes])
    return Ensemble(
        settings=settings,
        seeds=seeds,
        members=tuple(members),
        history=History(*history.swapaxes(0, 1)),
        image_shape=dataset.image_shape,
        data_checksum=dataset.checksum,
    )


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


def _needed_coupling(coupling, potential):
    if potential is None and coupling is not None:
        raise InputError(f"coupling is {coupling!r}, but there is nothing to couple to; give a field or a potential.")
    if potential == "dipole" and coupling is None:
        raise InputError("A field needs a coupling λ; give coupling=, such as 3.")
    return 1.0 if coupling is None else coupling


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


def _check_memory(settings, dataset, members, jobs):
    """Refuse models that would not fit: for each process weights, slopes, Adam's two means, images and a batch."""
    weights, d = settings.n_weights(dataset.pixels), settings.latent_dim
    batch = min(settings.batch_size, len(dataset.train))
    values = 4 * dataset.pixels + 4 * sum(settings.hidden) + 8 * d + 3 * d * d * settings.full_covariance
    needed = 4 * jobs * (4 * weights + dataset.train.size + batch * values)
    needed += members * (4 * weights + 24 * settings.epochs)
    if needed > memory():
        raise InputError(
            f"Members of {weights:.3g} weights each, {members} in all and {jobs} at a time, take "
            f"{needed / 2**30:.3g} GiB for {settings.epochs} epochs, more than the {memory() / 2**30:.3g} GiB that may "
            "be used here. Give smaller hidden layers, fewer latent coordinates or fewer members."
        )


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


def _train_member(dataset, field, settings, seed, origin, device, path, note):
    """Train one member; return (weights as arrays, history (3, epochs)), or the TrainingError that stopped it.

    An error is returned, not raised, so that the other members go on.
    """
    try:
        return _Trainer(dataset, field, settings, seed, origin, device, path).run(note)
    except TrainingError as error:
        return error


class _Trainer:
    """The state of one member's training: weights, optimiser, generators, history, epochs done."""

    def __init__(self, dataset, field, settings, seed, origin, device, path):
        self.settings, self.seed, self.device = settings, seed, device
        self.x = torch.tensor(dataset.train, device=device)
        self.field = None if field is None else torch.tensor(field, device=device)
        weights, self.order, self.noise = seed.generators()
        self.model = settings.new_model(dataset.pixels)
        self.model.initialise(weights)
        if origin is not None:
            self.model.load_state_dict({name: torch.tensor(value) for name, value in origin.items()}, strict=False)
        self.model.to(device)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=settings.learning_rate, fused=True)
        self.history = np.zeros((3, settings.epochs))
        self.done = 0
        self.identity = {
            "settings": asdict(settings),
            "seed": asdict(seed),
            "data_checksum": dataset.checksum,
            "field": _digest([] if field is None else [field]),
            "start": _digest((origin or {}).values()),
        }
        self.path = path

    def run(self, note):
        """Train to the last epoch; return the weights as arrays and the history, shape (3, epochs)."""
        if self.path and self.path.exists():
            self.restore()
        saved = time.monotonic()
        note((self.done, self.loss()))
        while self.done < self.settings.epochs:
            self.epoch()
            note((self.done, self.loss()))
            finished = self.done == self.settings.epochs
            if self.path and (finished or time.monotonic() - saved > CHECKPOINT_SECONDS):
                self.store()
                saved = time.monotonic()
        return {name: value.cpu().numpy() for name, value in self.model.state_dict().items()}, self.history

    def loss(self):
        """−ELBO of the last epoch, nats; None before the first."""
        return float(np.subtract(*self.history[1::-1, self.done - 1])) if self.done else None

    def epoch(self):
        """One pass over the images; raises TrainingError if the loss is not finite."""
        n, size, schedule = len(self.x), self.settings.batch_size, self.settings.schedule
        reduced = self.settings.precision == "bfloat16"
        batches = torch.randperm(n, generator=self.order).to(self.device).split(size)
        total = torch.zeros(3, dtype=torch.float64, device=self.device)
        for step, rows in enumerate(batches):
            progress = (self.done * len(batches) + step) / (self.settings.epochs * len(batches))
            for group in self.optimiser.param_groups:
                group["lr"] = self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
            noise = torch.randn(len(rows), self.settings.latent_dim, generator=self.noise).to(self.device)
            field = None if self.field is None else self.field[rows]
            # Without the cache, which within another autocast would hold the first step's weights for ever.
            with torch.autocast(self.device.type, torch.bfloat16, enabled=reduced, cache_enabled=False):
                terms = self.model.perturbed_elbo_terms(self.x[rows], noise, field, schedule.strength(progress))
            reconstruction, _, perturbed_kl = terms
            loss = (perturbed_kl - schedule.reconstruction_weight(progress) * reconstruction).mean()
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"Seed {self.seed}: the loss became {loss.item()} in epoch {self.done + 1}, step {step + 1}. "
                    f"Lower the learning rate (now {self.settings.learning_rate:g})."
                )
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            total += torch.stack([term.detach().sum() for term in terms])
        self.history[:, self.done] = (total / n).cpu().numpy()
        self.done += 1

    def store(self):
        """Write all that a later process needs to go on bit for bit."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for i, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{name}": value for name, value in state.items()}
        tensors["order"], tensors["noise"] = self.order.get_state(), self.noise.get_state()
        tensors["history"] = torch.tensor(self.history)
        write_tensors(self.path, "member", self.identity | {"done": self.done}, tensors)

    def restore(self):
        """Go on from a checkpoint, or from the start if it is damaged.

        Raises
        ------
        InputError
            If it belongs to other settings or data.
        """
        try:
            header, tensors = read_tensors(self.path, "member")
            with reading(self.path, "member"):
                identity = {key: header[key] for key in self.identity}
        except DamagedFileError as error:
            warnings.warn(f"{error} Seed {self.seed} is trained from the start.", stacklevel=2)
            return
        if identity != json.loads(json.dumps(self.identity)):
            raise InputError(
                f"The checkpoint {self.path} belongs to other settings or data; delete it or give another folder."
            )
        with reading(self.path, "member"):
            self.done = header["done"]
            self.history = tensors["history"].numpy().copy()
            self.order.set_state(tensors["order"])
            self.noise.set_state(tensors["noise"])
            self.model.load_state_dict(_within(tensors, "model."))
            state = self.optimiser.state_dict()
            state["state"] = {i: _within(tensors, f"adam.{i}.") for i in state["param_groups"][0]["params"]}
            self.optimiser.load_state_dict(state)


def _digest(arrays):
    """SHA-256 of arrays, in their order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def _within(tensors, prefix):
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
