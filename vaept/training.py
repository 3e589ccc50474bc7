"""Train an ensemble: the same model on the same images, once per seed.

A member depends on its seed and the settings and on nothing else: not on the number of processes, not on the
other members, not on whether its training was interrupted. To make that so, each member has three random
generators of its own (initial weights, batch order, noise of the latent samples), runs on one thread, and
writes checkpoints from which it continues bit for bit. The optimiser is Adam (Kingma & Ba 2015); its step
size falls from `learning_rate` to zero along half a cosine over the whole training.
"""

import json
import math
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import joblib
import numpy as np
import torch
from tqdm import tqdm

from vaept.datasets import Dataset
from vaept.ensemble import Ensemble, History, Seed, Settings
from vaept.errors import InputError, TrainingError, as_integer
from vaept.storage import ensure_writable, read_tensors, write_tensors

CHECKPOINT_SECONDS = 10


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
        One member each, all different.
    epochs : int
        Passes over the training images.
    hidden : sequence of int
        Widths of the encoder's hidden layers, reversed in the decoder.
    likelihood : {"bernoulli", "gaussian"}
        p(x|z), see `vaept.model.VAE`.
    batch_size : int
        Images in a step; the last batch of an epoch may have fewer.
    learning_rate : float
        Adam's step size at the start; it falls to zero along half a cosine.
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
        If an argument cannot be used.
    TrainingError
        If the loss of a member is no longer finite; the message names seed, epoch and step. The other
        members are trained to the end and kept in `checkpoint`.
    """
    settings = Settings(latent_dim, epochs, tuple(hidden), likelihood, batch_size, learning_rate)
    seeds = _distinct(seeds)
    device = _available(device)
    if jobs is None:
        jobs = joblib.cpu_count() if device.type == "cpu" else 1
    jobs = min(as_integer(jobs, "jobs", 1), len(seeds))
    if checkpoint is not None:
        checkpoint = Path(checkpoint)
        ensure_writable(checkpoint)

    with _ProgressBoard(len(seeds), settings.epochs, progress) as board:
        outcomes = joblib.Parallel(n_jobs=jobs)(
            joblib.delayed(_train_member)(dataset, settings, seed, device, checkpoint, board.path, row)
            for row, seed in enumerate(seeds)
        )
    failures = [outcome for outcome in outcomes if isinstance(outcome, TrainingError)]
    if failures:
        raise TrainingError(" ".join(str(failure) for failure in failures))

    members = []
    for state, _ in outcomes:
        member = settings.new_model(dataset.pixels)
        member.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
        members.append(member.eval().requires_grad_(False))
    history = np.stack([history for _, history in outcomes])
    return Ensemble(
        settings=settings,
        seeds=seeds,
        members=tuple(members),
        history=History(reconstruction=history[:, 0], kl=history[:, 1]),
        image_shape=dataset.image_shape,
        data_checksum=dataset.checksum,
    )


def _distinct(seeds):
    if not isinstance(seeds, Iterable):
        raise InputError(f"seeds must be a sequence, such as range({seeds!r}) or [0, 1, 2]; it is {seeds!r}.")
    seeds = tuple(Seed.of(seed) for seed in seeds)
    if not seeds:
        raise InputError("seeds is empty; give at least one, such as range(10).")
    repeated = sorted({str(seed) for seed in seeds if seeds.count(seed) > 1})
    if repeated:
        raise InputError(f"seeds must differ; repeated: {', '.join(repeated)}. Equal seeds give equal members.")
    return seeds


def _available(device):
    try:
        device = torch.device(device)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        kinds = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
        raise InputError(f"The device {str(device)!r} does not exist here; available: {', '.join(kinds)}.") from error
    return device


def _train_member(dataset, settings, seed, device, checkpoint, board_path, row):
    """Train one member; return (weights as arrays, history (2, epochs)), or the TrainingError that stopped it.

    An error is returned, not raised, so that the other members go on.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _Trainer(dataset, settings, seed, device, checkpoint).run(board_path, row)
    except TrainingError as error:
        return error
    finally:
        torch.set_num_threads(threads)


class _Trainer:
    """The state of one member's training: weights, optimiser, generators, history, epochs done."""

    def __init__(self, dataset, settings, seed, device, checkpoint):
        self.settings, self.seed, self.device = settings, seed, device
        self.x = torch.tensor(dataset.train, device=device)
        weights, self.order, self.noise = seed.generators()
        self.model = settings.new_model(dataset.pixels)
        self.model.initialise(weights)
        self.model.to(device)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=settings.learning_rate, fused=True)
        self.history = np.zeros((2, settings.epochs))
        self.done = 0
        self.identity = {"settings": asdict(settings), "seed": asdict(seed), "data_checksum": dataset.checksum}
        self.path = checkpoint / f"member-{seed}.safetensors" if checkpoint else None
        if self.path and self.path.exists():
            self.restore()

    def run(self, board_path, row):
        """Train to the last epoch; return the weights as arrays and the history, shape (2, epochs)."""
        board = np.memmap(board_path, dtype=np.float64, mode="r+").reshape(-1, 2)
        saved = time.monotonic()
        while self.done < self.settings.epochs:
            board[row] = self.done, -np.subtract(*self.history[:, self.done - 1])
            self.epoch()
            finished = self.done == self.settings.epochs
            if self.path and (finished or time.monotonic() - saved > CHECKPOINT_SECONDS):
                self.store()
                saved = time.monotonic()
        board[row] = self.done, -np.subtract(*self.history[:, -1])
        return {name: value.cpu().numpy() for name, value in self.model.state_dict().items()}, self.history

    def epoch(self):
        """One pass over the images; raises TrainingError if the loss is not finite."""
        n, size = len(self.x), self.settings.batch_size
        batches = torch.randperm(n, generator=self.order).to(self.device).split(size)
        total = torch.zeros(2, dtype=torch.float64, device=self.device)
        for step, rows in enumerate(batches):
            progress = (self.done * len(batches) + step) / (self.settings.epochs * len(batches))
            for group in self.optimiser.param_groups:
                group["lr"] = self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
            noise = torch.randn(len(rows), self.settings.latent_dim, generator=self.noise).to(self.device)
            reconstruction, kl = self.model.elbo_terms(self.x[rows], noise)
            loss = (kl - reconstruction).mean()
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"Seed {self.seed}: the loss became {loss.item()} in epoch {self.done + 1}, step {step + 1}. "
                    f"Lower the learning rate (now {self.settings.learning_rate:g})."
                )
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            total += torch.stack([reconstruction.detach().sum(), kl.detach().sum()])
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
        """Go on from a checkpoint; raises InputError if it belongs to other settings or data."""
        header, tensors = read_tensors(self.path, "member")
        if {key: header[key] for key in self.identity} != json.loads(json.dumps(self.identity)):
            raise InputError(
                f"The checkpoint {self.path} belongs to other settings or data; delete it or give another folder."
            )
        self.done = header["done"]
        self.history = tensors["history"].numpy().copy()
        self.order.set_state(tensors["order"])
        self.noise.set_state(tensors["noise"])
        self.model.load_state_dict(_within(tensors, "model."))
        state = self.optimiser.state_dict()
        state["state"] = {i: _within(tensors, f"adam.{i}.") for i in state["param_groups"][0]["params"]}
        self.optimiser.load_state_dict(state)


def _within(tensors, prefix):
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


class _ProgressBoard:
    """A small shared file in which each process notes (epochs done, −ELBO); a thread turns it into a bar."""

    def __init__(self, members, epochs, progress):
        self.members, self.epochs, self.progress = members, epochs, progress

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "board"
        self.board = np.memmap(self.path, dtype=np.float64, mode="w+", shape=(self.members, 2))
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self):
        bar = tqdm(total=self.members * self.epochs, unit="epoch", desc="training", disable=not self.progress)
        wait = 0.2 if bar.disable or bar.fp.isatty() else 10  # a log file needs no animation
        while not self.stopped.wait(wait):
            self._show(bar)
        self._show(bar)
        bar.close()

    def _show(self, bar):
        done, losses = self.board[:, 0], self.board[:, 1]
        bar.n = int(done.sum())
        loss = f"{losses[done > 0].mean():.2f} nats" if (done > 0).any() else "…"
        bar.set_postfix_str(f"members {(done == self.epochs).sum()}/{self.members}, −ELBO {loss}")

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()
        del self.board
        self.folder.cleanup()
