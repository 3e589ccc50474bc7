"""How members are trained: several at once, as one stack, and each as if it were alone.

The weights of the members stand in the rows of one tensor, so that a step of all of them is hardly more work for Python
than a step of one, which is what small networks wait for. A member's bits must not hang on how many stand beside it:
matrix products are done member by member (`vaept.vae.model.Affine`) and from aligned places, and what is done for all
numbers at once leaves no remainder, which would go through another loop and round otherwise (`ALIGNED`).
"""

import hashlib
import json
import math
import time
import warnings
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn

from vaept.datasets import Dataset
from vaept.errors import DamagedFileError, InputError, TrainingError
from vaept.files import read_tensors, reading, write_tensors
from vaept.vae.ensemble import Settings
from vaept.vae.model import Affine

ALIGNED = 32  # numbers: two of the longest vectors that a loop takes at once
CHECKPOINT_SECONDS = 10


@dataclass(frozen=True, eq=False)
class Task:
    """What members are trained on.

    Attributes
    ----------
    dataset : Dataset
    field : ndarray of float32, shape (n_train, d), or None
    settings : Settings
    device : torch.device
    """

    dataset: Dataset
    field: np.ndarray | None
    settings: Settings
    device: torch.device


def train(task, seeds, origins, paths, note):
    """Train members in one stack.

    Parameters
    ----------
    task : Task
    seeds : sequence of Seed
    origins : sequence of dict or None
        For each, the arrays to start from in the place of new weights.
    paths : sequence of Path or None
        For each, its checkpoint.
    note : callable
        Called with (number of the member, epochs done, −ELBO of the last epoch in nats or None).

    Returns
    -------
    list
        For each, its weights (a dict of tensors) and its history, shape (3, epochs); or the TrainingError that stopped
        it, so that the others go on.
    """
    members = [_Member(task, *each) for each in zip(seeds, origins, paths, strict=True)]
    for number, member in enumerate(members):
        note((number, member.done, member.loss()))
    stack, saved = None, time.monotonic()
    while going := [member for member in members if not member.error and member.done < task.settings.epochs]:
        # Checkpoints may be of different epochs: those behind catch up first.
        behind = [member for member in going if member.done == min(each.done for each in going)]
        if stack is None or stack.members != behind:
            stack = _Stack(task, behind)
        stack.epoch()
        due = time.monotonic() - saved > CHECKPOINT_SECONDS
        for member in behind:
            if not member.error:
                note((members.index(member), member.done, member.loss()))
                if member.path and (due or member.done == task.settings.epochs):
                    member.store()
        if due:
            saved = time.monotonic()
    return [member.error or (member.weights(), member.history) for member in members]


class _Layout:
    """Where the parameters of a model stand in a row of numbers."""

    def __init__(self, model):
        self.shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        gaps = [(shape.numel(), -shape.numel() % ALIGNED) for shape in self.shapes.values()]
        self.sizes = [size for pair in gaps for size in pair]

    def parameters(self, rows):
        """The parameters by name, each of shape (members, *its own), of rows, shape (members, numbers)."""
        parts = zip(self.shapes.items(), rows.split(self.sizes, 1)[::2], strict=True)
        return {name: part.view(len(rows), *shape) for (name, shape), part in parts}


class _Member:
    """One member's training: its numbers (weights and Adam's two means), generators, history, and epochs done."""

    def __init__(self, task, seed, origin, path):
        self.settings, self.seed, self.path, self.error = task.settings, seed, path, None
        weights, self.order, self.noise = seed.generators()
        model = task.settings.new_model(task.dataset.pixels)
        model.initialise(weights)
        if origin is not None:
            model.load_state_dict({name: torch.tensor(value) for name, value in origin.items()}, strict=False)
        self.layout, self.buffers = _Layout(model), dict(model.named_buffers())
        self.numbers = torch.zeros(3, sum(self.layout.sizes))
        with torch.no_grad():
            for name, parameter in self.layout.parameters(self.numbers[:1]).items():
                parameter[0] = model.get_parameter(name)
        self.history, self.done = np.zeros((3, task.settings.epochs)), 0
        self.identity = {
            "settings": asdict(task.settings),
            "seed": asdict(seed),
            "data_checksum": task.dataset.checksum,
            "field": _digest([] if task.field is None else [task.field]),
            "start": _digest((origin or {}).values()),
        }
        if path and path.exists():
            self.restore()

    def weights(self):
        """All that the state of the model needs."""
        parameters = self.layout.parameters(self.numbers[:1])
        return self.buffers | {name: value[0].detach().cpu().clone() for name, value in parameters.items()}

    def loss(self):
        """−ELBO of the last epoch, nats; None before the first."""
        return float(np.subtract(*self.history[1::-1, self.done - 1])) if self.done else None

    def take(self, terms):
        """Take the terms of the ELBO of all images of an epoch, shape (3, n); TrainingError if they are not finite."""
        loss = terms[2] - terms[0]
        bad = (~loss.isfinite()).nonzero()
        if len(bad):
            raise TrainingError(
                f"Seed {self.seed}: the loss became {float(loss[bad[0]])} in epoch {self.done + 1}, step "
                f"{int(bad[0]) // self.settings.batch_size + 1}. Lower the learning rate (now "
                f"{self.settings.learning_rate:g})."
            )
        self.history[:, self.done] = terms.double().mean(1)
        self.done += 1

    def store(self):
        """Write all that a later process needs to go on bit for bit."""
        tensors = {"numbers": self.numbers, "history": torch.tensor(self.history)}
        tensors |= {"order": self.order.get_state(), "noise": self.noise.get_state()}
        write_tensors(self.path, "member", self.identity | {"done": self.done}, tensors)

    def restore(self):
        """Go on from the checkpoint, or from the start if it is damaged; InputError if it is of another training."""
        try:
            header, tensors = read_tensors(self.path, "member")
            with reading(self.path, "member"):
                found = [tensors[name] for name in ("numbers", "history", "order", "noise")]
                identity, done = {key: header[key] for key in self.identity}, header["done"]
        except DamagedFileError as error:
            warnings.warn(f"{error} Seed {self.seed} is trained from the start.", stacklevel=2)
            return
        if identity != json.loads(json.dumps(self.identity)):
            raise InputError(
                f"The checkpoint {self.path} belongs to other settings or data; delete it or give another folder."
            )
        self.numbers, self.history, self.done = found[0], found[1].numpy().copy(), done
        self.order.set_state(found[2])
        self.noise.set_state(found[3])


class _Stack:
    """Members that have done equally many epochs; what they hold are views of the tensors here."""

    def __init__(self, task, members):
        self.task, self.members, self.layout = task, members, members[0].layout
        self.x = torch.tensor(task.dataset.train, device=task.device)
        self.field = None if task.field is None else torch.tensor(task.field, device=task.device)
        self.model = task.settings.new_model(task.dataset.pixels).to(task.device)
        numbers = torch.stack([member.numbers.to(task.device) for member in members], 1)
        for member, own in zip(members, numbers.unbind(1), strict=True):
            member.numbers = own
        self.weights, slopes = nn.Parameter(numbers[0]), torch.zeros_like(numbers[0])
        self.weights.grad, self.broadcast = slopes, []
        slopes = self.layout.parameters(slopes)
        for name, value in self.layout.parameters(numbers[0]).items():
            module, _, last = name.rpartition(".")
            module = self.model.get_submodule(module)
            if isinstance(module, Affine):
                parameter = nn.Parameter(value)
                parameter.grad = slopes[name]
            else:
                parameter = nn.Parameter(value.unsqueeze(1))  # for all rows of a batch
                self.broadcast.append((parameter, slopes[name].unsqueeze(1)))
            setattr(module, last, parameter)
        self.optimiser = torch.optim.Adam([self.weights], lr=task.settings.learning_rate, fused=True)
        steps = members[0].done * math.ceil(len(self.x) / task.settings.batch_size)
        self.optimiser.state[self.weights] = {
            "step": torch.tensor(float(steps), device=task.device),
            "exp_avg": numbers[1],
            "exp_avg_sq": numbers[2],
        }

    def epoch(self):
        """One pass over the images."""
        settings, n, done = self.task.settings, len(self.x), self.members[0].done
        # Rows that a batch lacks are some of its own again, which have no share in the loss.
        starts, width = torch.arange(0, n, settings.batch_size).unsqueeze(1), min(settings.batch_size, n)
        sizes, places = (n - starts).clamp(max=width), torch.arange(width + -width % ALIGNED)
        chosen, real = starts + places % sizes, places < sizes
        shares = (real / sizes).to(self.task.device)
        order = torch.stack([torch.randperm(n, generator=member.order)[chosen] for member in self.members], 1)
        noise = [torch.randn(n, settings.latent_dim, generator=member.noise)[chosen] for member in self.members]
        order, noise = order.to(self.task.device), torch.stack(noise, 1).to(self.task.device)
        terms = torch.empty(len(starts), 3, len(self.members), len(places), device=self.task.device)
        for step, share in enumerate(shares):
            progress = (done * len(starts) + step) / (settings.epochs * len(starts))
            torch.stack(self.step(order[step], noise[step], share, progress), out=terms[step])
        for member, own in zip(self.members, terms.cpu().unbind(2), strict=True):
            try:
                member.take(own.transpose(0, 1)[:, real])
            except TrainingError as error:  # the others go on
                member.error = error

    def step(self, rows, noise, share, progress):
        """One step.

        Parameters
        ----------
        rows : tensor, shape (members, n)
            Places of the images of a batch.
        noise : tensor, shape (members, n, d)
        share : tensor, shape (n,)
            Of each image in the loss.
        progress : float
            Fraction of the training that is done.

        Returns
        -------
        reconstruction, kl, perturbed_kl : tensors of shape (members, n)
        """
        settings, cast = self.task.settings, self.task.settings.precision == "bfloat16"
        self.optimiser.param_groups[0]["lr"] = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
        x, field = (
            None if images is None else images.index_select(0, rows.flatten()).view(*rows.shape, -1)
            for images in (self.x, self.field)
        )
        # Without the cache, which within another autocast would hold the first step's weights for ever.
        with torch.autocast(self.task.device.type, torch.bfloat16, enabled=cast, cache_enabled=False):
            terms = self.model.perturbed_elbo_terms(x, noise, field, settings.schedule.strength(progress))
        reconstruction, _, perturbed_kl = terms
        loss = perturbed_kl - settings.schedule.reconstruction_weight(progress) * reconstruction
        (loss * share).sum().backward()
        for parameter, slope in self.broadcast:
            slope.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
            parameter.grad = None
        self.optimiser.step()
        return [term.detach() for term in terms]


def _digest(arrays):
    """SHA-256 of arrays, in their order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
