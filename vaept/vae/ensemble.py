"""A trained ensemble as a value: what its members share, what sets them apart, and what they can be asked."""

import itertools
import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from vaept import arguments
from vaept.errors import InputError
from vaept.files import read_tensors, reading, write_tensors
from vaept.perturbation.potentials import POTENTIALS, Schedule, couplings
from vaept.processes import plain_torch
from vaept.vae.model import LIKELIHOODS, MAX_WIDTH, VAE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import ArrayLike

LARGEST_LATENT = 1e12  # what a decoder makes of it is finite in single precision
PRECISIONS = ("float32", "bfloat16")
MOST = {"latent_dim": 10_000, "epochs": 1_000_000, "batch_size": 2**31 - 1}
FASTEST = 1e6  # learning rate


def usable_precision(precision: "str", device: "str" = "cpu") -> "str":
    """The precision itself, or "float32" instead of "bfloat16" on a processor that has no units for that.

    Without units products in bfloat16 take several times longer than in float32.

    Parameters
    ----------
    precision : {"float32", "bfloat16"}
    device : str
        Where members are trained; of others than "cpu" nothing is known, and the precision stays.

    Returns
    -------
    str
    """
    if precision != "bfloat16" or device != "cpu":
        return precision
    known = getattr(torch.cpu, "get_capabilities", None)  # of newer versions of PyTorch
    has = known() if known else {}
    return precision if has.get("amx_bf16") or has.get("avx512_bf16") else "float32"


@dataclass(frozen=True)
class Seed:
    """Where a member's randomness comes from; a study can vary one source and hold the others.

    Attributes
    ----------
    weights, order, noise : int
        Seeds of the initial weights, of the order of the batches, and of the latent noise; from 0 to 2³² − 1.

    Examples
    --------
    >>> Seed.of(3)
    Seed(weights=3, order=3, noise=3)
    """

    weights: int
    order: int
    noise: int

    @classmethod
    def of(cls, seed: "int | Seed") -> "Seed":
        """The seed itself, or for an int one that uses it for all three sources."""
        if isinstance(seed, cls):
            return cls(*(arguments.seed(value, f"seed.{name}") for name, value in asdict(seed).items()))
        seed = arguments.seed(seed, "a seed")
        return cls(seed, seed, seed)

    def __str__(self) -> "str":
        if self.weights == self.order == self.noise:
            return str(self.weights)
        return f"{self.weights}-{self.order}-{self.noise}"

    def generators(self) -> "tuple[torch.Generator, ...]":
        """Three independent CPU generators: weights, order, noise."""
        states = (np.random.SeedSequence((value, stream)) for stream, value in enumerate(asdict(self).values()))
        return tuple(torch.Generator().manual_seed(int(s.generate_state(1, np.uint64)[0] >> 1)) for s in states)


@dataclass(frozen=True)
class Settings:
    """What all members of an ensemble share.

    Attributes
    ----------
    latent_dim : int
        Latent coordinates, d.
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
        twice as fast, on others several times slower (see `usable_precision`).
    potential : {"dipole", "wells"}, optional
        Default: "dipole", the coupling to the field, if a field is given, else none.
    coupling : float or sequence of float
        λ, or λ ε_k for each coordinate, as for `vaept.perturbation.potentials.couplings`. Needed with a field; 1 for
        wells.
    schedule : {"constant", "adiabatic", "switch-off"} or Schedule
        When the reconstruction is turned on and the potential off. "adiabatic" turns the reconstruction on over the
        first tenth of the training; "switch-off" does that and fades the potential out until half of it is done.

    Raises
    ------
    InputError
        If a value cannot be used.
    """

    latent_dim: int
    epochs: int
    hidden: tuple = (400,)
    likelihood: str = "bernoulli"
    batch_size: int = 128
    learning_rate: float = 1e-3
    full_covariance: bool = False
    precision: str = "float32"
    potential: str | None = None
    coupling: tuple = ()
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self):
        for name, most in MOST.items():
            object.__setattr__(self, name, arguments.integer(getattr(self, name), name, 1, most))
        hidden = arguments.integers(self.hidden, "hidden", 1, MAX_WIDTH, fewest=0)
        object.__setattr__(self, "hidden", hidden)
        rate = arguments.number(self.learning_rate, "learning_rate", above=0, maximum=FASTEST)
        object.__setattr__(self, "learning_rate", rate)
        if not isinstance(self.full_covariance, bool | np.bool_):
            raise InputError(f"full_covariance must be True or False; it is {arguments.brief(self.full_covariance)}.")
        object.__setattr__(self, "full_covariance", bool(self.full_covariance))
        arguments.choice(self.likelihood, "likelihood", LIKELIHOODS)
        arguments.choice(self.precision, "precision", PRECISIONS)
        if self.potential is not None:
            arguments.choice(self.potential, "potential", POTENTIALS)
        coupling = couplings(self.coupling, self.latent_dim) if self.potential else ()
        object.__setattr__(self, "coupling", coupling)
        object.__setattr__(self, "schedule", Schedule.of(self.schedule))

    @property
    def final_strength(self) -> "float":
        """Strength of the potential when training ends; 0 if there is none."""
        return self.schedule.strength(1.0) if self.potential else 0.0

    def n_weights(self, pixels: "int") -> "int":
        """Numbers that a model for images of this many pixels consists of, nearly: its matrices."""
        d = self.latent_dim
        outputs = 2 * d + (d * (d - 1) // 2 if self.full_covariance else 0)
        widths = [(pixels, *self.hidden, outputs), (d, *reversed(self.hidden), pixels)]
        return sum(a * b for each in widths for a, b in itertools.pairwise(each))

    def new_model(self, pixels: "int") -> "VAE":
        """An untrained `VAE` for images of this many pixels."""
        # torch fills new layers from the global generator
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
            return VAE(
                pixels,
                self.latent_dim,
                self.hidden,
                self.likelihood,
                self.full_covariance,
                self.potential,
                self.coupling or 1.0,
            )

    def model(self, pixels: "int", weights: "Mapping[str, torch.Tensor]") -> "VAE":
        """The `VAE` with these weights, tensors by name, that is trained no more; InputError if they do not fit."""
        return filled(lambda: self.new_model(pixels), weights).eval().requires_grad_(False)


@dataclass(frozen=True, eq=False)
class History:
    """The terms of the ELBO during training.

    Attributes
    ----------
    reconstruction, kl, perturbed_kl : ndarray of float64, shape (members, epochs)
        Means over the training images of each epoch, at the weights of the moment; nats. kl is taken from the plain
        prior, perturbed_kl from the one that a potential perturbs, with its strength of the moment.
    """

    reconstruction: np.ndarray
    kl: np.ndarray
    perturbed_kl: np.ndarray

    @property
    def elbo(self) -> "np.ndarray":
        """The ELBO under the plain prior, reconstruction − kl, shape (members, epochs), nats."""
        return self.reconstruction - self.kl

    @property
    def perturbed_elbo(self) -> "np.ndarray":
        """The ELBO under the perturbed prior, reconstruction − perturbed_kl, shape (members, epochs), nats."""
        return self.reconstruction - self.perturbed_kl


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Trained members that share settings and images and differ in their seed.

    Attributes
    ----------
    settings : Settings
    seeds : tuple of Seed
    members : tuple of VAE
        On the CPU, in evaluation mode, in the order of `seeds`.
    history : History
    image_shape : tuple of int
    data_checksum : str
        The checksum of the data set that they were trained on.

    Examples
    --------
    >>> data = vaept.load("digits")
    >>> ensemble = fit(data, seeds=[0, 1], latent_dim=2, epochs=1, hidden=8, jobs=1, progress=False)
    >>> mean, variance = ensemble.posterior(data.test)
    >>> mean.shape
    (2, 359, 2)
    """

    settings: Settings
    seeds: tuple
    members: tuple
    history: History
    image_shape: tuple
    data_checksum: str

    def first(self, n: "int") -> "Ensemble":
        """The ensemble of the first n members."""
        n = arguments.integer(n, "n", 1, len(self.members))
        history = History(*(getattr(self.history, term.name)[:n] for term in fields(History)))
        return replace(self, seeds=self.seeds[:n], members=self.members[:n], history=history)

    @plain_torch()
    def posterior(self, images: "ArrayLike") -> "tuple[np.ndarray, np.ndarray]":
        """Means and variances of q(z|x) of every member.

        Parameters
        ----------
        images : array, shape (n, pixels) or (n, *image_shape)
            Values in [0, 1].

        Returns
        -------
        mean, variance : ndarrays of float32, shape (members, n, latent_dim)

        Raises
        ------
        InputError
            If the images have another shape or are not finite numbers in [0, 1].
        """
        x = as_images(images, self.members[0].pixels)
        with plain_torch(), torch.no_grad():
            parts = [member.encode(x) for member in self.members]
        return (
            torch.stack([mean for mean, _ in parts]).numpy(),
            torch.stack([log_variance for _, log_variance in parts]).exp().numpy(),
        )

    @plain_torch()
    def decode(self, latents: "ArrayLike") -> "np.ndarray":
        """Mean images of latents.

        Parameters
        ----------
        latents : array, shape (m, latent_dim) or (members, m, latent_dim)
            The same latents for every member, or each member's own.

        Returns
        -------
        ndarray of float32, shape (members, m, *image_shape)

        Raises
        ------
        InputError
            If the latents have another shape or are not finite.
        """
        d, members = self.settings.latent_dim, len(self.members)
        with plain_torch(), torch.no_grad():
            z = as_latents(latents, [("n", d), (members, "n", d)]).expand(members, -1, d)
            x = [member.decode(own) for member, own in zip(self.members, z, strict=True)]
        return torch.stack(x).numpy().reshape(members, -1, *self.image_shape)

    def save(self, path: "str | Path") -> "None":
        """Write the ensemble to one safetensors file; an existing file is replaced only by a whole one."""
        tensors = {f"history.{term.name}": torch.tensor(getattr(self.history, term.name)) for term in fields(History)}
        for i, member in enumerate(self.members):
            tensors |= {f"member.{i}.{name}": value for name, value in member.state_dict().items()}
        header = {
            "settings": asdict(self.settings),
            "seeds": [asdict(seed) for seed in self.seeds],
            "pixels": self.members[0].pixels,
            "image_shape": self.image_shape,
            "data_checksum": self.data_checksum,
        }
        write_tensors(path, "ensemble", header, tensors)

    @classmethod
    @plain_torch()
    def load(cls, path: "str | Path") -> "Ensemble":
        """Read an ensemble that `save` wrote.

        Raises
        ------
        InputError
            If there is no such file.
        DamagedFileError
            If the file was truncated or altered, or another version of the package wrote it.
        """
        header, tensors = read_tensors(path, "ensemble")
        with reading(path, "ensemble"):
            settings, pixels = Settings(**header["settings"]), header["pixels"]
            seeds = tuple(Seed.of(Seed(**seed)) for seed in header["seeds"])
            members = []
            for i in range(len(seeds)):
                prefix = f"member.{i}."
                weights = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
                members.append(settings.model(pixels, weights))
            history = History(*(tensors[f"history.{term.name}"].numpy() for term in fields(History)))
            image_shape = tuple(arguments.integer(side, "a side of image_shape", 1) for side in header["image_shape"])
            shapes = {getattr(history, term.name).shape for term in fields(History)}
            if shapes != {(len(seeds), settings.epochs)} or math.prod(image_shape) != pixels:
                raise InputError("the history or the image shape does not fit the members.")
            return cls(settings, seeds, tuple(members), history, image_shape, str(header["data_checksum"]))


def filled(new_network, weights):
    """A network with these weights, checked before any memory is taken.

    Parameters
    ----------
    new_network : callable
        Makes a network.
    weights : dict of str to tensor
        All that its state needs, and nothing else.

    Raises
    ------
    InputError
        If names or shapes do not fit.
    """
    with torch.device("meta"):
        expected = {name: value.shape for name, value in new_network().state_dict().items()}
    if expected != {name: value.shape for name, value in weights.items()}:
        raise InputError("the weights do not have the shapes that the settings ask for.")
    network = new_network()
    network.load_state_dict(weights)
    return network


def as_images(images: "ArrayLike", pixels: "int") -> "torch.Tensor":
    """Images as a float32 tensor of shape (n, pixels); raises InputError if they are anything else."""
    return torch.tensor(arguments.images(images, "images", pixels), device="cpu")


def as_latents(latents: "ArrayLike", shapes: "list[tuple]") -> "torch.Tensor":
    """Latents as a float32 tensor of one of some shapes; raises InputError if they are anything else."""
    found = arguments.array(latents, "latents", shape=shapes, dtype=np.float32, largest=LARGEST_LATENT)
    return torch.tensor(np.ascontiguousarray(found))
