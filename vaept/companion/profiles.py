"""What is trained and how it is measured, as data: profiles (profiles.toml) arms, code paths."""

import functools
import tomllib
from dataclasses import dataclass
from importlib import resources
from itertools import accumulate

import msgspec

from vaept.errors import InputError


@dataclass(frozen=True)
class Arm:
    """What is done to one ensemble of a study.

    Attributes
    ----------
    name, title : str
        The title is what figures and tables call it.
    field : {"diffusion", "neighbour", "principal", "shuffled"}, optional
        The field that it is trained in.
    potential : str, optional
        As for `vaept.vae.ensemble.Settings`; "dipole" where there is a field.
    coupling : float, optional
        λ; the profile's if not given.
    warm_start, switch_off : bool
        Whether these parts of the profile's schedule are followed.
    full_covariance : bool
        As for `vaept.vae.ensemble.Settings`.
    """

    name: str
    title: str
    field: str | None = None
    potential: str | None = None
    coupling: float | None = None
    warm_start: bool = True
    switch_off: bool = True
    full_covariance: bool = False

    @property
    def perturbed(self):
        """Whether it is trained with a potential."""
        return self.field is not None or self.potential is not None


@dataclass(frozen=True)
class Run:
    """One ensemble of a study: an arm, and in what it differs from the arm as the profile has it.

    Attributes
    ----------
    latent_dim, arm
        d, and the name of an `Arm`.
    coupling, members, epochs
        λ instead of the arm's or the profile's, and numbers instead of the profile's.
    after
        For how many stretches of the profile's aftermath the members were trained on without a field.
    place : {"arms", "doses", "aftermath"}
        Where it stands in the study.
    title
        What progress and the status page call it.
    """

    latent_dim: int
    arm: str = "cold"
    coupling: float | None = None
    members: int | None = None
    epochs: int | None = None
    after: int = 0
    place: str = "arms"
    title: str = ""


@dataclass(frozen=True)
class Profile:
    """What a study trains and how it measures it.

    Attributes
    ----------
    name : str
    dataset
        As for `vaept.datasets.load`.
    latent_dims
        Every arm is trained for each latent dimension d.
    members
        Seeds 0 … members − 1.
    epochs, hidden, batch_size, learning_rate, precision
        As for `vaept.vae.ensemble.Settings`.
    coupling, schedule
        λ of the arms that are trained in a field, and their schedule, as for `vaept.perturbation.potentials.Schedule`.
    likelihood_images, importance_samples
        As for `vaept.vae.evaluation.evaluate`.
    couplings, couplings_dim, couplings_members, couplings_epochs
        λ of the dose-response, its latent dimension, its members and their epochs.
    aftermath_members, aftermath
        How many corrected members are trained on without the field, and for how many epochs, in stretches; each begins
        anew with the first learning rate.
    arms, further_arms
        The arms of every latent dimension, of which the first is the plain model, and those of the last one only.
    likelihood
        As for `vaept.vae.ensemble.Settings`.
    """

    name: str
    dataset: str
    latent_dims: tuple[int, ...]
    members: int
    epochs: int
    hidden: tuple[int, ...]
    batch_size: int
    learning_rate: float
    precision: str
    coupling: float
    schedule: dict
    likelihood_images: int
    importance_samples: int
    couplings: tuple[float, ...]
    couplings_dim: int
    couplings_members: int
    couplings_epochs: int
    aftermath_members: int
    aftermath: tuple[int, ...]
    arms: tuple[str, ...]
    further_arms: tuple[str, ...]
    likelihood: str = "bernoulli"

    def arms_of(self, latent_dim):
        """Names of the arms that are trained with this latent dimension."""
        return self.arms + (self.further_arms if latent_dim == self.latent_dims[-1] else ())

    def runs(self):
        """All ensembles of a study, as a list of `Run` in the order in which they are made."""
        found = [Run(d, name, title=f"{name}, d = {d}") for d in self.latent_dims for name in self.arms_of(d)]
        dose = {"members": self.couplings_members, "epochs": self.couplings_epochs, "place": "doses"}
        found.append(Run(self.couplings_dim, "warm", **dose, title="λ = 0"))
        found += [Run(self.couplings_dim, "throughout", c, **dose, title=f"λ = {c:g}") for c in self.couplings]
        for d in self.latent_dims:
            for after, total in enumerate(accumulate(self.aftermath), start=1):
                title = f"{total} epochs after, d = {d}"
                found.append(Run(d, "corrected", after=after, place="aftermath", title=title))
        return found


@functools.cache
def _tables():
    return tomllib.loads(resources.files("vaept.companion").joinpath("profiles.toml").read_text("utf-8"))


def profiles():
    """All named profiles, as a dict from name to `Profile`."""
    return {name: msgspec.convert({"name": name} | table, Profile) for name, table in _tables()["profiles"].items()}


def profile(name):
    """The profile of this name; raises InputError, with the known names, if there is none."""
    return _named("profile", name, profiles())


def code_paths():
    """The code paths by which a study can be carried out, as a dict from name to what they set."""
    return _tables()["code_paths"]


def arm(name):
    """The arm of this name; raises InputError, with the known names, if there is none."""
    return Arm(name, **_named("arm", name, _tables()["arms"]))


def _named(what, name, known):
    if not isinstance(name, str) or name not in known:
        raise InputError(f'Unknown {what} "{name}": choose one of {", ".join(known)}.')
    return known[name]
