"""What is trained and how it is measured, as data: profiles (profiles.toml) arms, code paths."""

import functools
import tomllib
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from itertools import accumulate
from pathlib import Path

import msgspec

from vaept.errors import InputError

SOURCES = ("weights", "order", "noise")  # of randomness, as `vaept.vae.ensemble.Seed` has them
ANCHOR = 10_000  # number of the member whose latents are a field
NEEDED = ("cold", "warm", "shuffled", "principal", "diffusion", "corrected")  # arms, by the ledger, for each d
OWN = ("neighbour", "shuffled")  # fields of which every member can have a realisation of its own


@dataclass(frozen=True)
class Arm:
    """What is done to one ensemble of a study.

    Attributes
    ----------
    name, title : str
        The title is what figures and tables call it.
    field : str, optional
        The field that it is trained in: a key of `vaept.perturbation.fields.FIELDS`; "shuffled", the neighbour field
        dealt to the images anew; or "trained", the latents of one more plain member.
    potential : str, optional
        As for `vaept.vae.ensemble.Settings`; "dipole" where there is a field.
    coupling : float, optional
        λ; the profile's if not given.
    warm_start : bool or float
        Whether this part of the profile's schedule is followed, or which share of its length.
    switch_off : bool
        Whether the field fades and ends as the profile's schedule has it; else it is kept.
    full_covariance : bool
        As for `vaept.vae.ensemble.Settings`.
    start : float, optional
        The field is there for this first share of the training only, and does not fade.
    shared : tuple of {"weights", "order", "noise"}
        Sources of randomness that all members share.
    own_field : bool
        Whether each member is trained in a realisation of the field of its own: other landmarks, another deal.

    Raises
    ------
    InputError
        If this cannot be trained, or its members would all be the same.
    """

    name: str
    title: str
    field: str | None = None
    potential: str | None = None
    coupling: float | None = None
    warm_start: bool | float = True
    switch_off: bool = True
    full_covariance: bool = False
    start: float | None = None
    shared: tuple[str, ...] = ()
    own_field: bool = False

    def __post_init__(self):
        wrong = [
            (set(self.shared) - set(SOURCES), f"shares what is none of {', '.join(SOURCES)}"),
            (set(self.shared) >= set(SOURCES), "shares all sources of randomness: its members would be the same"),
            (self.own_field and self.field not in OWN, f"has own fields, which are one of {', '.join(OWN)}"),
            (self.start is not None and not (self.field and 0 < self.start < 1), "needs a field, and start below 1"),
            (not self.switch_off and (self.own_field or self.field == "shuffled"), "keeps a field of no new images"),
        ]
        for refused, why in wrong:
            if refused:
                raise InputError(f'The arm "{self.name}" {why}.')

    @property
    def perturbed(self):
        """Whether it is trained with a potential."""
        return self.field is not None or self.potential is not None

    def schedule(self, whole):
        """What it follows of a profile's schedule, as a dict."""
        fades = self.perturbed and self.switch_off
        kept = {"warm_start": self.warm_start, "fade": fades and self.start is None, "switch_off": fades}
        found = {key: value for key, value in whole.items() if kept[key]}
        if "warm_start" in found:
            found["warm_start"] *= self.warm_start
        return found if self.start is None else found | {"switch_off": self.start}

    def seed(self, number):
        """The `Seed` of a member: its number, and 0 for the sources that all members share."""
        from vaept.vae.ensemble import Seed  # of a library that help texts do not wait for

        return Seed(**{source: 0 if source in self.shared else number for source in SOURCES})


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
    lab : {0, 1}, optional
        It is trained on this half of the training images.
    first : int
        Number of its first member.
    validation : bool
        Whether it is trained on four fifths of the training images and judged on the last fifth.
    place : {"arms", "doses", "aftermath", "tuning", "prices", "labs", "lengths"}
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
    lab: int | None = None
    first: int = 0
    validation: bool = False
    place: str = "arms"
    title: str = ""

    @property
    def anchor(self):
        """The run of one plain member whose latents are the field of this run."""
        return replace(self, arm="cold", coupling=None, members=1, first=ANCHOR + self.first)


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
    prices, prices_members
        Arms of the price list, for every latent dimension, and the members of those that are not among the arms above.
    labs, labs_members
        Arms of which two ensembles are made that share nothing but the recipe, and their members.
    further_dims, further_dims_arms
        Latent dimensions that have prices and labs alone, of these arms.
    tuning
        "couplings" among which the λ of prices and labs is chosen, arm by arm, on a validation split of the training
        images, with so many "members" and "epochs"; the profile's λ is taken if it is empty.
    likelihood
        As for `vaept.vae.ensemble.Settings`.
    lengths, lengths_couplings, lengths_members
        The dose-response of trainings that are longer than `couplings_epochs` by these factors.

    Raises
    ------
    InputError
        If an arm is not known, or a part lacks what it needs.
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
    prices: tuple[str, ...] = ()
    prices_members: int = 0
    labs: tuple[str, ...] = ()
    labs_members: int = 0
    further_dims: tuple[int, ...] = ()
    further_dims_arms: tuple[str, ...] = ()
    tuning: dict = field(default_factory=dict)
    lengths: tuple[int, ...] = ()
    lengths_couplings: tuple[float, ...] = ()
    lengths_members: int = 0

    def __post_init__(self):
        for name in (*self.arms, *self.further_arms, *self.prices, *self.labs, *self.further_dims_arms):
            arm(name)
        for part in ("prices", "labs", "lengths"):
            if getattr(self, part) and getattr(self, f"{part}_members") < 2:
                raise InputError(f"The profile {self.name} needs {part}_members, two at least.")
        if alone := [name for name in self.labs if arm(name).field == "shuffled" or arm(name).own_field]:
            raise InputError(f"Two labs cannot be made of {', '.join(alone)}: their field has no values at new images.")
        if self.tuning and set(self.tuning) != {"couplings", "members", "epochs"}:
            raise InputError(f"The tuning of the profile {self.name} needs couplings, members and epochs.")
        if self.further_dims and not set(self.further_dims_arms) <= {*self.prices, *self.labs}:
            raise InputError(f"further_dims_arms of the profile {self.name} must be among its prices or labs.")

    def arms_of(self, latent_dim):
        """Names of the arms that are trained with this latent dimension."""
        return self.arms + (self.further_arms if latent_dim == self.latent_dims[-1] else ())

    def numbers(self, run):
        """Numbers of a run's members."""
        return range(run.first, run.first + (run.members or self.members))

    def training(self, run):
        """What `vaept.vae.fitting.fit` is given for a run: settings as a dict, without λ, and seeds as a list."""
        chosen = arm(run.arm)
        how = {key: getattr(self, key) for key in ("hidden", "batch_size", "learning_rate", "precision")}
        how |= {"latent_dim": run.latent_dim, "full_covariance": chosen.full_covariance}
        how |= {} if self.likelihood == "bernoulli" else {"likelihood": self.likelihood}  # the default is in no key
        if run.after:
            later = 1000 * run.after
            from vaept.vae.ensemble import Seed

            seeds = [Seed(s, s + later, s + later) for s in range(self.aftermath_members)]
            return how | {"epochs": self.aftermath[run.after - 1]}, seeds
        how |= {"epochs": run.epochs or self.epochs, "schedule": chosen.schedule(self.schedule)}
        if chosen.perturbed:
            how["potential"] = chosen.potential or "dipole"
        return how, [chosen.seed(number) for number in self.numbers(run)]

    def without_comparisons(self):
        """The same without its price list, two labs and trainings of several lengths."""
        return replace(self, prices=(), labs=(), lengths=(), further_dims=())

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
        return found + self.comparisons()

    def comparisons(self):
        """The runs of the price list, of the two labs and of trainings of several lengths, after what tunes their λ."""
        prices = [(d, name) for d in self.latent_dims for name in self.prices]
        labs = [(d, name) for d in self.latent_dims for name in self.labs]
        for d in self.further_dims:
            prices += [(d, name) for name in self.further_dims_arms if name in self.prices]
            labs += [(d, name) for name in self.further_dims_arms if name in self.labs]
        found = [run for pair in dict.fromkeys(prices + labs) for run in self.tuning_runs(*pair)]
        for d, name in prices:
            members = self.members if name in self.arms_of(d) and d in self.latent_dims else self.prices_members
            found.append(Run(d, name, members=members, place="prices", title=f"price of {name}, d = {d}"))
        for d, name in labs:
            own = {"members": self.labs_members, "place": "labs"}
            found += [
                Run(d, name, lab=lab, first=1000 * lab, **own, title=f"{name}, d = {d}, lab {lab + 1}")
                for lab in (0, 1)
            ]
        for epochs in (factor * self.couplings_epochs for factor in self.lengths):
            dose = {"members": self.lengths_members, "epochs": epochs, "place": "lengths"}
            found.append(Run(self.couplings_dim, "warm", **dose, title=f"λ = 0, {epochs} epochs"))
            for c in self.lengths_couplings:
                title = f"λ = {c:g}, {epochs} epochs"
                found.append(Run(self.couplings_dim, "throughout", c, **dose, title=title))
        return found

    def tuning_runs(self, latent_dim, name):
        """The runs among which the λ of an arm is chosen, one for each coupling; [] if it is given."""
        if arm(name).field is None or arm(name).coupling is not None or not self.tuning:
            return []
        own = {key: self.tuning[key] for key in ("members", "epochs")} | {"validation": True, "place": "tuning"}
        title = f"to choose λ for {name}, d = {latent_dim}"
        return [Run(latent_dim, name, c, **own, title=f"{title}: {c:g}") for c in self.tuning["couplings"]]


@functools.cache
def _tables():
    return tomllib.loads(resources.files("vaept.companion").joinpath("profiles.toml").read_text("utf-8"))


def profiles():
    """All named profiles, as a dict from name to `Profile`."""
    return {name: msgspec.convert({"name": name} | table, Profile) for name, table in _tables()["profiles"].items()}


def profile(name):
    """The profile of this name, or that of a TOML file; raises InputError, with the known names, if there is none.

    A file holds what differs from the profile that its `base` names ("quick" if none), and is called by its own name.
    """
    if str(name).endswith(".toml"):
        return _of_file(Path(name))
    return _named("profile", name, profiles())


def _of_file(path):
    try:
        own = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} cannot be read as a profile: {error}.") from error
    base = own.pop("base", "quick")
    table = {each.name: getattr(profile(base), each.name) for each in fields(Profile)} | {"name": path.stem}
    if path.stem in profiles():
        raise InputError(f"{path} has the name of a profile that there is already; call it something else.")
    if unknown := set(own) - set(table) | {"name"} & set(own):
        raise InputError(f"{path} has {', '.join(sorted(unknown))}; a profile has base, {', '.join(list(table)[1:])}.")
    try:
        found = msgspec.convert(table | own, Profile)
    except msgspec.ValidationError as error:
        raise InputError(f"{path} is no profile: {error}.") from error
    return _usable(found, path)


def _usable(found, path):
    """The profile itself, once each of its ensembles has settings that can be trained."""
    from vaept import arguments  # of libraries that help texts do not wait for
    from vaept.vae.ensemble import Settings

    least = {"members": 2, "couplings_members": 2, "aftermath_members": 2, "couplings_epochs": 1}
    least |= {"likelihood_images": 1, "importance_samples": 1}
    for name, minimum in least.items():
        arguments.integer(getattr(found, name), f"{name} of {path}", minimum)
    if not found.latent_dims or found.couplings_dim not in found.latent_dims or not found.couplings:
        raise InputError(f"{path} needs latent_dims, couplings_dim among them, and couplings.")
    if lacking := set(NEEDED) - set(found.arms):
        raise InputError(f"The arms of {path} lack {', '.join(sorted(lacking))}, which the ledger needs.")
    for run in found.runs():
        how, _ = found.training(run)
        Settings(**how | ({"coupling": run.coupling or found.coupling} if "potential" in how else {}))
    return found


def code_paths():
    """The code paths by which a study can be carried out, as a dict from name to what they set."""
    return _tables()["code_paths"]


def arm(name):
    """The arm of this name; raises InputError, with the known names, if there is none."""
    return msgspec.convert({"name": name} | _named("arm", name, _tables()["arms"]), Arm)


def _named(what, name, known):
    if not isinstance(name, str) or name not in known:
        raise InputError(f'Unknown {what} "{name}": choose one of {", ".join(known)}.')
    return known[name]
