"""What people have instead of what was asked for, given to every public function.

Each case is a function with arguments that it takes. One or two of them are replaced by what a user may hold instead
(another container, dtype, memory order, shape, number, an object of another class), and the function is called as it
is, inside `torch.no_grad()` or `inference_mode()`, or with double precision as torch's default. Then there are two ways
out: an error of ours that names an argument in a sentence or two, or a finite answer. Where only the container was
changed, and not what it holds, the answer must be that of the plain call. No argument is changed, and numpy warns of
nothing.

`VAEPT_EXAMPLES=20` tries 20 times as many; `pytest -s` shows how many were answered and how many refused.
"""

import contextlib
import dataclasses
import fractions
import functools
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from vaept import datasets, files, perturbation, spectrum
from vaept.errors import VaeptError
from vaept.landscape import density, dynamics, lowest_paths, states, stationary
from vaept.landscape.energy import FreeEnergy
from vaept.landscape.slowest import slowest_level
from vaept.perturbation import fields, potentials
from vaept.spectrum import oscillator
from vaept.uses import (
    baselines,
    clustering,
    denoising,
    detours,
    generation,
    interchange,
    modes,
    outliers,
    paths,
    relaxation,
)
from vaept.uses import member as members
from vaept.uses.classifier import Classifier, fit_classifier
from vaept.vae import agreement, consensus, evaluation, marginal_likelihood, recommendation
from vaept.vae.ensemble import Ensemble, Seed
from vaept.vae.fitting import fit
from vaept.vae.model import VAE

TIMES = int(os.environ.get("VAEPT_EXAMPLES", 1))
RNG = np.random.default_rng(0)


class Table:
    """What is no array and can be made one, as a data frame."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype)


def _masked(x, masked):
    mask = np.zeros(np.shape(x), dtype=bool)
    mask.flat[:1] = masked
    return np.ma.masked_array(x, mask=mask)


def _ragged(x):
    return [*np.asarray(x).tolist()[:-1], [0.5]] if np.ndim(x) > 1 else [1.0, [2.0, 3.0]]


def _at(x, value):
    x = np.array(x, dtype=float)
    x.flat[x.size // 2 : x.size // 2 + 1] = value
    return x


def _column(x, value):
    x = np.array(x, dtype=float)
    x[..., :1] = value
    return x


def _rows(x, rows):
    return x[rows] if np.ndim(x) else x


def _twice(x):
    both = np.zeros(tuple(2 * n for n in np.shape(x)), dtype=x.dtype)
    every = tuple(slice(None, None, 2) for _ in np.shape(x))
    both[every] = x
    return both[every]


def _frozen(x):
    x = x.copy()
    x.setflags(write=False)
    return x


def _tensor(dtype, gradient=False):
    return lambda x: torch.tensor(np.ascontiguousarray(x)).to(dtype).requires_grad_(gradient)


# What holds the same numbers.
CONTAINERS = {
    "list": lambda x: x.tolist(),
    "tuple of rows": tuple,
    "table": Table,
    "Fortran": np.asfortranarray,
    "strided": _twice,
    "reversed": lambda x: x[::-1].copy()[::-1],
    "read-only": _frozen,
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "float16": lambda x: x.astype(np.float16),
    "float32": lambda x: x.astype(np.float32),
    "longdouble": lambda x: x.astype(np.longdouble),
    "complex": lambda x: x + 0j,
    "complex64": lambda x: x.astype(np.complex64),
    "unmasked": lambda x: _masked(x, False),
    "subclass": lambda x: x.view(np.recarray),
    "tensor": _tensor(torch.float64),
    "tensor with gradient": _tensor(torch.float64, True),
    "float32 tensor with gradient": _tensor(torch.float32, True),
    "half tensor": _tensor(torch.float16),
    "bfloat16 tensor": _tensor(torch.bfloat16),
    "list of tensors": lambda x: list(torch.tensor(np.ascontiguousarray(x)).requires_grad_(x.dtype.kind == "f")),
}
# What holds others.
CHANGES = {
    "NaN": lambda x: _at(x, np.nan),
    "infinite": lambda x: _at(x, -np.inf),
    "one far out": lambda x: _at(x, 300.0),
    "negative": lambda x: -np.abs(x * 1.0),
    "1e154": lambda x: _at(x, 1e154),
    "times 1e300": lambda x: x * 1e300,
    "times 1e99": lambda x: x * 1e99,
    "times 1e12": lambda x: x * 1e12,
    "times 1e-12": lambda x: x * 1e-12,
    "times 1e-160": lambda x: x * 1e-160,
    "times 1e-300": lambda x: x * 1e-300,
    "plus 1e9": lambda x: x + 1e9,
    "zero": np.zeros_like,
    "one": np.ones_like,
    "constant column": lambda x: _column(x, 0.5),
    "duplicates": lambda x: _rows(x, np.arange(len(x)) // 4),
    "few distinct": lambda x: _rows(x, np.arange(len(x)) % 3),
    "lattice": lambda x: np.round(x),
    "one row": lambda x: _rows(x, slice(0, 1)),
    "two rows": lambda x: _rows(x, slice(0, 2)),
    "a row less": lambda x: _rows(x, slice(1, None)),
    "empty": lambda x: _rows(x, slice(0, 0)),
    "no column": lambda x: x[..., :0],
    "a column less": lambda x: x[..., 1:],
    "wider": lambda x: np.concatenate([x, x], axis=-1),
    "transposed": lambda x: x.T,
    "flat": lambda x: x.ravel(),
    "another axis": lambda x: x[None],
    "a last axis": lambda x: x[..., None],
    "a scalar": lambda x: x.flat[0] if x.size else 0.0,
    "bool": lambda x: x > np.mean(x),
    "uint8": lambda x: (255 * np.abs(x) % 256).astype(np.uint8),
    "int": lambda x: np.round(x).astype(int),
    "imaginary": lambda x: x + 1j,
    "masked": lambda x: _masked(x, True),
    "ragged": _ragged,
    "strings": lambda x: x.astype(str),
    "words": lambda x: np.full(np.shape(x), "a"),
    "objects": lambda x: np.array(x, dtype=object),
    "None inside": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 0, None, x),
    "dates": lambda x: np.round(x).astype("datetime64[D]"),
    "sparse": lambda x: sparse.csr_array(np.atleast_2d(x)[:2].reshape(min(2, len(np.atleast_2d(x))), -1)),
    "sparse tensor": lambda x: torch.tensor(np.ascontiguousarray(x)).to_sparse(),
    "meta tensor": lambda x: torch.zeros(x.shape, device="meta"),
    "generator": lambda x: (row for row in x),
    "set": lambda x: {1.0, 2.0},
    "dict": lambda x: {"x": 1},
    "none": lambda x: None,
    "text": lambda x: "digits",
    "function": lambda x: np.sin,
}
# What nobody can have meant, so that an answer would be a guess.
SENSELESS = {"NaN", "infinite", "imaginary", "masked", "ragged", "strings", "words", "objects", "None inside", "dates"}
SENSELESS |= {"meta tensor", "generator", "set", "dict", "text", "function"}
SAME_NUMBERS = {
    "numpy": lambda v: np.array(v)[()],
    "array": np.array,
    "tensor": torch.tensor,
    "tensor with gradient": lambda v: torch.tensor(float(v), dtype=torch.float64, requires_grad=True),
    "uint8": lambda v: np.uint8(v) if 0 <= v < 256 and v == int(v) else v,
    "float32": lambda v: np.float32(v),
    "complex": lambda v: complex(v),
}
COUNTS = ("numpy", "array", "tensor", "uint8")  # which of these hold an integer
NUMBERS = [-(10**18), -1, 0, 1, 2, 3, 5, 17, 2**31, 2**32, 10**18, 10**400, -0.5, 0.0, 1e-300, 1e-12, 0.5, 1.0, 2.0]
NUMBERS += [1e12, 1e100, 1e300, np.nan, np.inf, -np.inf, "3", "", b"3", None, True, [2], (), np.array([1, 2]), 0.5j]
NUMBERS += [np.float32(0.25), np.float16(2), np.array(np.nan), np.datetime64("2020-01-01"), np.bool_(False), np.sin]
NUMBERS += [fractions.Fraction(1, 2), {}]
WORDS = ["", "other", None, 3, 0.5, ["a"], b"digits", (), np.array("a"), np.nan, {}, "DIGITS", "a\0b", "x" * 300]
OBJECTS = [None, "text", 3, {}, [], np.zeros((3, 2)), np.sin, type, object()]
MODES = {
    "plain": contextlib.nullcontext,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
}


@contextlib.contextmanager
def _double():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


MODES["double precision"] = _double


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A function and arguments that it takes; the rest is how much of it to try."""

    name: str
    call: Callable
    base: dict
    examples: int
    words: tuple  # what messages may name besides the arguments
    shape: Callable | None  # of the answer, from the arguments
    finite: bool  # False where NaN or infinity is documented


def case(name, call, examples, /, *, words=(), shape=None, finite=True, **base):
    """A `Case` of a function with these arguments."""
    return Case(name, call, base, examples, words, shape, finite)


def changes_of(value):
    """Names of what an argument can be replaced by."""
    if isinstance(value, np.ndarray):
        return [*CONTAINERS, *CHANGES]
    if isinstance(value, bool | str):
        return [f"word {i}" for i in range(len(WORDS))]
    if isinstance(value, int | float):
        return [*SAME_NUMBERS, *(f"number {i}" for i in range(len(NUMBERS)))]
    if value is None:
        return [f"number {i}" for i in range(len(NUMBERS))]
    if isinstance(value, tuple | list | dict | range):
        return [f"word {i}" for i in range(len(WORDS))] + [f"number {i}" for i in range(len(NUMBERS))]
    return [f"object {i}" for i in range(len(OBJECTS))]


def changed(value, change):
    """The replacement of a value by the name of a change."""
    kind, _, place = change.partition(" ")
    lists = {"word": WORDS, "number": NUMBERS, "object": OBJECTS}
    if kind in lists and place.isdigit():
        return lists[kind][int(place)]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = (CONTAINERS | CHANGES)[change] if isinstance(value, np.ndarray) else SAME_NUMBERS[change]
        return made(value)


def holds_the_same(value, other, change):
    """Whether a replacement holds the numbers of what it replaces."""
    if isinstance(value, np.ndarray):
        if change not in CONTAINERS:
            return False
        if isinstance(other, torch.Tensor):
            other = other.detach().to(torch.float64).numpy()
        elif change == "list of tensors":
            other = torch.stack(other).detach().numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = np.asarray(other)
        whole = value.dtype.kind in "fb" or other.dtype.kind in "iu"
        return whole and np.array_equal(other, value)
    if isinstance(value, bool) or change not in (COUNTS if isinstance(value, int) else SAME_NUMBERS):
        return False
    return float(np.real(other.detach().numpy() if isinstance(other, torch.Tensor) else complex(other))) == value


def numbers_in(answer):
    """All arrays in an answer, in a fixed order."""
    if isinstance(answer, torch.Tensor):
        return [answer.detach().numpy()]
    if isinstance(answer, torch.nn.Module):
        return [each.detach().numpy() for each in answer.state_dict().values()]
    if isinstance(answer, np.ndarray | np.generic | int | float):
        return [np.asarray(answer)]
    if dataclasses.is_dataclass(answer):
        values = [getattr(answer, each.name) for each in dataclasses.fields(answer) if not each.name.startswith("_")]
        return numbers_in(values)
    if isinstance(answer, dict):
        return numbers_in([answer[key] for key in sorted(answer)])
    if isinstance(answer, list | tuple):
        return [array for each in answer for array in numbers_in(each)]
    return []


def frozen(value):
    """What tells whether a value was changed."""
    if isinstance(value, np.ndarray):
        return value.tobytes() if value.dtype != object else repr(value)
    if isinstance(value, torch.Tensor):
        return (value.shape, value.requires_grad, value.grad) if value.is_meta else (repr(value), value.grad)
    return repr(value)


def outcome(case, changes, mode="plain"):
    """Call with some arguments replaced and check what comes; "answered" or "refused"."""
    arguments = dict(case.base)
    same = True
    for name, change in changes.items():
        arguments[name] = changed(case.base[name], change)
        same = same and holds_the_same(case.base[name], arguments[name], change)
    before = {name: frozen(value) for name, value in arguments.items() if not hasattr(value, "__next__")}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for kind in (RuntimeWarning, ConvergenceWarning, FutureWarning, DeprecationWarning):
                warnings.simplefilter("error", kind)
            with MODES[mode]():
                answer = case.call(**arguments)
    except VaeptError as error:
        said = str(error)
        assert changes, f"what is right was refused: {said}"
        assert len(said) < 600 and "\n" not in said and said.rstrip().endswith((".", ")")), said
        named = [*case.base, *case.words, "GiB"]  # or the memory that it would take
        assert any(word.casefold() in said.casefold() for word in named), f"no argument is named: {said}"
        assert not same, f"what holds the same numbers was refused: {said}"
        return "refused"
    for name, change in changes.items():
        assert change not in SENSELESS, f"{name} was taken, with {change}"
        if name == "seed" and change.startswith("number"):
            assert isinstance(arguments[name], int) and 0 <= arguments[name] < 2**32, f"{arguments[name]} was a seed"
    for name, value in before.items():
        assert frozen(arguments[name]) == value, f"{name} was changed"
    found = numbers_in(answer)
    for array in found:
        if case.finite and array.dtype.kind in "fc":
            assert np.isfinite(array).all(), f"the answer is not finite: {array}"
        assert array.dtype.kind != "c", "the answer is complex"
    if case.shape is not None:
        assert np.shape(found[0]) == case.shape(**arguments), (np.shape(found[0]), case.shape(**arguments))
    if same:
        for array, right in zip(found, right_answer(case), strict=True):
            assert array.shape == right.shape
            if right.dtype.kind in "fc":
                size = np.abs(right[np.isfinite(right)]).max(initial=0)
                np.testing.assert_allclose(array, right, rtol=1e-5, atol=1e-7 * size)
            else:
                np.testing.assert_array_equal(array, right)
    return "answered"


@functools.cache
def right_answer(case):
    """The arrays of the answer to the arguments as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return numbers_in(case.call(**case.base))


def coarse(x, step=16):
    """Numbers that every type of floating point holds exactly."""
    return np.round(np.asarray(x) * step) / step


DIGITS = datasets.load("digits")
IMAGES, LABELS = DIGITS.train[:100], DIGITS.train_labels[:100]
SMALL = {"latent_dim": 2, "epochs": 1, "hidden": (8,), "batch_size": 32, "jobs": 1, "progress": False}
POINTS = coarse(RNG.standard_normal((12, 2)))
SAMPLES = RNG.standard_normal((300, 2))
VARIANCE = coarse(RNG.uniform(0.25, 1, (12, 2)))
LATENTS = coarse(RNG.standard_normal((3, 40, 2)))
FEATURES = coarse(RNG.standard_normal((30, 4)))
FIELD = coarse(RNG.standard_normal((40, 3)))
NOISY = coarse(IMAGES[:4] + 0.5 * RNG.standard_normal((4, 64)))
LEVELS = np.array([0.0, 1.0, 1.0, 2.0, 3.0])
MATRIX = coarse(RNG.standard_normal((5, 5)))
MATRIX = MATRIX + MATRIX.T


def with_progress_off(function):
    return lambda **arguments: function(**arguments, progress=False)


DATASET = datasets.Dataset("digits", IMAGES, DIGITS.test[:60], LABELS, DIGITS.test_labels[:60], (8, 8))
ENSEMBLE = fit(DATASET, seeds=[0, 1], field=coarse(RNG.standard_normal((100, 2))), coupling=1.0, **SMALL)
JUDGE = fit_classifier(IMAGES, LABELS, (8, 8), epochs=1, progress=False)
MEMBER = members.Member.of(ENSEMBLE, 0, DATASET, JUDGE)
MODEL = ENSEMBLE.members[0]
COMPONENTS = baselines.PrincipalComponents.of(IMAGES)
MIXTURE = density.AggregatePosterior(np.array([[-1.5, 0.0], [1.5, 0.5]]), np.full((2, 2), 0.5))
ENERGY = FreeEnergy(MIXTURE)
STARTS = coarse(np.tile([[-1.5, 0.0]], (12, 1)) + 0.25 * RNG.standard_normal((12, 2)))
STATIONARY = stationary.find_stationary_points(ENERGY, STARTS)
LOWEST = lowest_paths(ENERGY, STATIONARY)
WALK = dynamics.simulate(ENERGY, np.tile(STARTS, (2, 1)), step=0.1, n_steps=400, progress=False)
MODES_OF = spectrum.from_log_density(MIXTURE.log_density, 2, 3, tol=1e-4)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    PCA = fields.pca_field(IMAGES, 2)
    DIFFUSION = fields.diffusion_field(IMAGES, 2)

FOLDER = tempfile.TemporaryDirectory()
FILES = {kind: f"{FOLDER.name}/{kind}.safetensors" for kind in ("field", "ensemble", "classifier")}
PCA.save(FILES["field"])
ENSEMBLE.save(FILES["ensemble"])
JUDGE.save(FILES["classifier"])


def groups(n_groups):
    """Groups of a member whose spectrum is found from fewer draws."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(members, "SAMPLES", 2000)
        return clustering.groups(MEMBER, n_groups)


def recommended(**how):
    """A recipe of one candidate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recommendation, "FIELDS", {"principal": fields.pca_field})
        patch.setattr(recommendation, "RECIPES", recommendation.RECIPES[:1])
        return recommendation.recommend(DATASET, jobs=1, progress=False, **how)


def harmonic(z):
    return (z**2).sum(axis=1) / 2


def normal(z):
    return -(z**2).sum(axis=1) / 2


def rows_of(name, *sides):
    """The answer has a row for each row of an argument."""
    return lambda **arguments: (len(arguments[name]), *sides)


# fmt: off
CASES = [
    case("oscillator.levels", oscillator.levels, 30, n_levels=4),
    case("oscillator.multiplicity", oscillator.multiplicity, 30, level=3, dim=2),
    case("oscillator.quantum_numbers", oscillator.quantum_numbers, 40, max_level=3, dim=2),
    case("oscillator.eigenfunctions", oscillator.eigenfunctions, 60, points=POINTS, max_level=3),
    case("oscillator.hermite_functions", oscillator.hermite_functions, 40, z=POINTS, max_n=3),
    case("oscillator.energy", oscillator.energy, 60, mean=POINTS, variance=VARIANCE),
    case("oscillator.kl_bound", oscillator.kl_bound, 40, mean=POINTS, variance=VARIANCE),
    case("oscillator.level_populations", oscillator.level_populations, 50, mean=POINTS, variance=VARIANCE,
         n_levels=3),
    case("perturbation.series", perturbation.series, 80, h0_levels=LEVELS, v=MATRIX, level=1, order=3, tol=1e-10),
    case("perturbation.oscillator_series", perturbation.oscillator_series, 60, potential={(4,): 1.0}, dim=1, level=0,
         order=4, omega=1.0, tol=1e-10, words=("exponent", "coefficient")),
    case("perturbation.resum", perturbation.resum, 60, coefficients=np.array([0.5, 0.75, -2.625, 20.8125]),
         coupling=0.125),
    case("perturbation.resum at several", perturbation.resum, 40, coefficients=np.array([0.5, 0.75, -2.625, 20.8125]),
         coupling=np.array([0.0, 0.125, 1.0])),
    case("perturbation.orient", perturbation.orient, 80, latents=LATENTS, field=FIELD, coupling=1.0,
         group="orthogonal"),
    case("spectrum.from_potential", spectrum.from_potential, 50, potential=harmonic, dim=1, n_levels=3, tol=1e-06),
    case("spectrum.from_log_density", spectrum.from_log_density, 50, log_density=normal, dim=1, n_levels=3, tol=1e-06,
         finite=False),
    case("spectrum.from_samples", spectrum.from_samples, 100, samples=SAMPLES, n_levels=3, degree=2, bootstrap=20,
         seed=0),
    case("Spectrum.group", MODES_OF.group, 30, tolerance=1e-07),
    case("Spectrum.eigenfunctions", MODES_OF.eigenfunctions, 40, points=POINTS, shape=rows_of("points", 3)),
    case("AggregatePosterior", density.AggregatePosterior, 50, mean=POINTS, variance=VARIANCE),
    *(case(f"AggregatePosterior.{name}", getattr(MIXTURE, name), 30, points=POINTS, shape=rows_of("points", *sides))
      for name, *sides in (["log_density"], ["gradient", 2], ["expansion"], ["potential"], ["perturbation"])),
    case("AggregatePosterior.blurred", MIXTURE.blurred, 30, held_out=POINTS, words=("point", "latents")),
    case("AggregatePosterior.sample", MIXTURE.sample, 40, n=5, seed=0),
    case("AggregatePosterior.near", MIXTURE.near, 40, low=np.array([-1.0, -1.0]), high=np.array([0.0, 0.5]),
         share=0.0625),
    case("FreeEnergy", lambda **how: FreeEnergy(**how)(POINTS), 60, source=MIXTURE, dim=2,
         bounds=np.array([[-9.0, -9.0], [9.0, 9.0]]), words=("mixture", "variance", "energy")),
    case("FreeEnergy.gradient", ENERGY.gradient, 30, points=POINTS, shape=rows_of("points", 2)),
    case("FreeEnergy.expansion", ENERGY.expansion, 30, points=POINTS),
    case("landscape.find_stationary_points", stationary.find_stationary_points, 50, energy=ENERGY, starts=STARTS[:3],
         max_index=1, n_steps=50),
    case("landscape.lowest_paths", lowest_paths, 30, energy=ENERGY, stationary=STATIONARY, n_images=8,
         finite=False),
    case("LowestPaths.path", LOWEST.path, 30, i=0, j=1),
    case("MinimumEnergyPath.points", LOWEST.path(0, 1).points, 30, n=7),
    case("dynamics.simulate", with_progress_off(dynamics.simulate), 80, energy=ENERGY, starts=STARTS, step=0.125,
         n_steps=5, seed=0, keep_every=1),
    case("dynamics.first_passage_times", with_progress_off(dynamics.first_passage_times), 50, energy=ENERGY,
         starts=STARTS, target=lambda z: z[:, 0] > 0.5, step=0.125, max_steps=2000, seed=0, words=("walkers",)),
    case("dynamics.kramers_time", dynamics.kramers_time, 50, energy=ENERGY, minimum=STATIONARY.minima[0],
         saddle=STATIONARY.saddles[0]),
    case("dynamics.relaxation_times", dynamics.relaxation_times, 50, trajectories=WALK, observables=lambda z: z[:, 1],
         lags=(0.5, 1.5), seed=0, words=("walkers", "frames")),
    case("slowest.slowest_level", slowest_level, 8, mixture=MIXTURE, n_starts=100, n_branches=2, seed=0),
    case("states.metastable_states", states.metastable_states, 60,
         functions=np.column_stack([np.ones(40), LATENTS[0]]), n_states=2, seed=0, words=("function",)),
    case("potentials.couplings", potentials.couplings, 40, coupling=1.0, latent_dim=2),
    case("potentials.couplings of several", potentials.couplings, 40, coupling=np.array([1.0, 0.5]), latent_dim=2),
    case("potentials.Schedule", potentials.Schedule, 40, warm_start=0.125, fade=0.25, switch_off=0.5),
    case("potentials.Schedule.of", potentials.Schedule.of, 20, schedule="adiabatic"),
    case("topology.diffusion_field", fields.diffusion_field, 60, x=IMAGES, n_components=2, n_neighbors=6,
         landmarks=60, seed=0, words=("images", "duplicate", "diffusion field")),
    case("topology.neighbour_field", fields.neighbour_field, 25, x=IMAGES, n_components=2, landmarks=30,
         perplexity=5.0, seed=0, words=("images", "neighbour field")),
    case("topology.pca_field", fields.pca_field, 50, x=IMAGES, n_components=2, words=("images",)),
    case("topology.subspace_field", fields.subspace_field, 50, x=IMAGES, n_components=2, iterations=1,
         words=("images",)),
    case("topology.random_network_field", fields.random_network_field, 50, x=IMAGES, n_components=2, seed=0,
         words=("images",)),
    case("diffusion.graph_modes", perturbation.graph_modes, 40, points=LATENTS[0], n_modes=3, n_neighbors=8,
         words=("duplicate",)),
    case("topology.shuffled", fields.shuffled, 20, field=PCA, seed=0),
    case("topology.held_out_agreement", fields.held_out_agreement, 50, field=DIFFUSION, x_new=DATASET.test,
         n_neighbors=4, words=("images",)),
    case("Field.transform", DIFFUSION.transform, 40, x_new=DATASET.test[:8], shape=rows_of("x_new", 2)),
    case("degeneracy.compare", agreement.compare, 100, latents=LATENTS, n_neighbours=5, n_bootstrap=100, seed=0,
         finite=False),
    case("consensus.align", consensus.align, 60, runs=LATENTS, max_rounds=20, tol=1e-09),
    case("consensus.difference", consensus.difference, 60, first=LATENTS[0], second=LATENTS[1], seed=0,
         words=("run", "examples")),
    case("degeneracy.mean_over_pairs", agreement.mean_over_pairs, 60, values=MATRIX, n_bootstrap=100, seed=0,
         finite=False),
    case("degeneracy.shuffled_rows", agreement.shuffled_rows, 40, latents=LATENTS, seed=0),
    case("degeneracy.turned_posterior", agreement.turned_posterior, 60, mean=POINTS, variance=VARIANCE, angle=0.5,
         plane=(0, 1)),
    case("VAE", lambda **how: [tuple(each.shape) for each in VAE(**how).state_dict().values()], 60, pixels=6,
         latent_dim=2, hidden=(5,), likelihood="bernoulli", full_covariance=False, potential="dipole", coupling=1.0),
    case("Ensemble.posterior", ENSEMBLE.posterior, 60, images=IMAGES[:5]),
    case("Ensemble.decode", ENSEMBLE.decode, 60, latents=LATENTS[0, :5]),
    case("Seed.of", Seed.of, 20, seed=3),
    case("evaluation.elbo", evaluation.elbo, 80, model=MODEL, images=IMAGES[:5], field=FIELD[:5], strength=0.5,
         n_samples=2, seed=0),
    case("evaluation.turned_elbo", evaluation.turned_elbo, 60, model=MODEL, images=IMAGES[:12], mean=POINTS,
         variance=VARIANCE, rotation=np.eye(2)[::-1].copy(), n_samples=2, seed=0),
    case("marginal_likelihood.log_likelihood", marginal_likelihood.log_likelihood, 50, model=MODEL,
         images=IMAGES[:5], n_samples=3, seed=0),
    case("marginal_likelihood.exact_log_likelihood", marginal_likelihood.exact_log_likelihood, 50, model=MODEL,
         images=IMAGES[:5], n_points=21, tolerance=0.5),
    case("evaluation.active_units", evaluation.active_units, 40, model=MODEL, images=IMAGES[:5], threshold=0.0625),
    case("evaluation.evaluate", functools.partial(evaluation.evaluate, jobs=1), 40, ensemble=ENSEMBLE,
         images=IMAGES[:5], field=FIELD[:5], n_likelihood_images=2, n_importance_samples=2, words=("n_samples",)),
    case("member.encode", members.encode, 40, model=MODEL, images=IMAGES[:5], shape=rows_of("images", 2)),
    case("Member.of", members.Member.of, 30, ensemble=ENSEMBLE, number=1, dataset=DATASET, judge=JUDGE),
    case("Member.decode", MEMBER.decode, 40, latents=POINTS, shape=rows_of("latents", 8, 8)),
    case("clustering.agreement", clustering.agreement, 60, labels=LABELS, found=LABELS[::-1].copy()),
    case("clustering.along_mode", clustering.along_mode, 50, values=FEATURES[:, 0].copy(),
         energies=FEATURES[:, 1].copy(), n_frames=4),
    case("clustering.groups", groups, 10, n_groups=2),
    case("modes.few_labels", modes.few_labels, 50, points=FEATURES, labels=LABELS[:30], labelled=1, draws=2, seed=0),
    case("modes.between_classes", modes.between_classes, 50, values=FEATURES, labels=LABELS[:30]),
    case("modes.between_members", modes.between_members, 40, groups=np.stack([LABELS, LABELS[::-1]])),
    case("classifier.fit_classifier",
         lambda epochs, **how: fit_classifier(epochs=1 if epochs is None else epochs, progress=False, **how), 60,
         images=IMAGES, labels=LABELS, image_shape=(8, 8), epochs=1, seed=0, words=("classes",)),
    case("Classifier.features", JUDGE.features, 40, images=IMAGES[:5], shape=rows_of("images", 64)),
    case("Classifier.probabilities", JUDGE.probabilities, 40, images=IMAGES[:5], shape=rows_of("images", 10)),
    case("Classifier.accuracy", JUDGE.accuracy, 50, images=IMAGES[:5], labels=LABELS[:5]),
    case("denoising.add_noise", denoising.add_noise, 50, images=IMAGES[:4], noise=0.5, seed=0),
    case("denoising.denoise", denoising.denoise, 60, model=MODEL, noisy=NOISY, noise=0.5, n_steps=2),
    case("denoising.median", denoising.median, 50, noisy=NOISY, image_shape=(8, 8)),
    case("denoising.wavelet", denoising.wavelet, 50, noisy=NOISY, image_shape=(8, 8), noise=0.5),
    case("denoising.psnr", denoising.psnr, 50, clean=IMAGES[:4], restored=NOISY, finite=False),
    case("denoising.ssim", denoising.ssim, 50, clean=IMAGES[:4], restored=NOISY, image_shape=(8, 8)),
    case("outliers.plant", outliers.plant, 60, images=IMAGES, image_shape=(8, 8), share=0.125, seed=0,
         words=("image",)),
    case("outliers.scores", functools.partial(outliers.scores, MEMBER), 40, images=IMAGES[:5]),
    case("outliers.precision_at_k", outliers.precision_at_k, 60, score=FEATURES[:, 0].copy(),
         planted=FEATURES[:, 1] > 0.5, words=("outliers",)),
    case("generation.draw_latents", functools.partial(generation.draw_latents, MEMBER), 50,
         source="aggregate_posterior", n=4, seed=0),
    case("generation.frechet_distance", generation.frechet_distance, 60, a=FEATURES, b=FEATURES[:9] + 1),
    case("generation.precision_recall", generation.precision_recall, 60, real=FEATURES, generated=FEATURES[:9] + 1,
         k=3),
    case("interchange.interchange", with_progress_off(functools.partial(interchange.interchange, jobs=1)), 10,
         ensemble=ENSEMBLE, dataset=DATASET),
    case("interchange.turned_exchange", interchange.turned_exchange, 10, ensemble=ENSEMBLE, dataset=DATASET),
    case("interchange.exchanged", functools.partial(interchange.exchanged, ENSEMBLE), 40, image=IMAGES[0]),
    case("interchange.properties", interchange.properties, 60, pictures=IMAGES[:4].reshape(4, 8, 8), finite=False),
    case("baselines.PrincipalComponents.of", baselines.PrincipalComponents.of, 40, images=IMAGES),
    case("PrincipalComponents.scores", COMPONENTS.scores, 40, images=IMAGES[:5], n_components=2),
    case("PrincipalComponents.images", COMPONENTS.images, 40, scores=POINTS, shape=rows_of("scores", 64)),
    case("PrincipalComponents.best_number", COMPONENTS.best_number, 40, clean=IMAGES[:4], noisy=NOISY),
    case("baselines.nearest", baselines.nearest, 40, images=IMAGES, others=NOISY, shape=rows_of("others")),
    case("baselines.fit_autoencoder", baselines.fit_autoencoder, 30, images=IMAGES, settings=ENSEMBLE.settings, seed=0),
    case("baselines.restore", baselines.restore, 40, model=MODEL, noisy=NOISY, shape=rows_of("noisy", 64)),
    case("baselines.fit_mixture", lambda **how: baselines.fit_mixture(**how).means_, 40, points=SAMPLES[:60], seed=0),
    case("baselines.best_width", baselines.best_width, 40, images=IMAGES),
    case("detours.detours", detours.detours, 40, way=STARTS[:5], n_detours=3, seed=0),
    case("paths.ways_between", paths.ways_between, 40, paths=LOWEST, i=0, j=1, n=9),
    case("relaxation.relax", relaxation.relax, 10, energy=ENERGY, starts=np.tile(STARTS, (2, 1)), modes=MODES_OF,
         n_modes=1, seed=0, words=("autocorrelation",)),
    case("fitting.fit", lambda **how: fit(DATASET, epochs=1, jobs=1, progress=False, **how).members, 60,
         latent_dim=2, seeds=[0], hidden=(8,), likelihood="bernoulli", batch_size=50, learning_rate=0.0078125,
         precision="float32", field=coarse(RNG.standard_normal((100, 2))), coupling=1.0, schedule="constant",
         potential="dipole", device="cpu", words=("width", "a seed")),
    case("recommendation.recommend", recommended, 20, latent_dim=2, epochs=1, seed=0, hidden=(8,), batch_size=50,
         words=("components", "width")),
    case("datasets.Dataset", datasets.Dataset, 60, name="mine", train=IMAGES, test=DIGITS.test[:60],
         train_labels=LABELS, test_labels=DIGITS.test_labels[:60], image_shape=(8, 8), words=("labels", "image")),
    case("datasets.from_arrays", datasets.from_arrays, 60, x=IMAGES, y=LABELS, name="mine"),
    case("datasets.load", datasets.load, 20, source="digits", words=("data", "npz")),
    case("storage.read_tensors", lambda **how: files.read_tensors(**how)[1], 30, path=FILES["field"], kind="field",
         words=("file", "holds")),
    case("Ensemble.load", lambda path: Ensemble.load(path).members, 20, path=FILES["ensemble"], words=("file",)),
    case("Classifier.load", lambda path: Classifier.load(path).network, 20, path=FILES["classifier"],
         words=("file",)),
    case("Field.load", fields.Field.load, 20, path=FILES["field"], words=("file",)),
    case("topology.load_field", fields.load_field, 20, path=FILES["field"], words=("file",)),
]
# fmt: on
TRIED = Counter()


@pytest.fixture(scope="module", autouse=True)
def told():
    """Tell at the end how many inputs each function answered and refused."""
    yield
    for name in [*dict.fromkeys(name for name, _ in TRIED)]:
        print(f"{name}: {TRIED[name, 'answered']} answered, {TRIED[name, 'refused']} refused")
    sums = [sum(count for (_, each), count in TRIED.items() if each == kind) for kind in ("answered", "refused")]
    print(f"{len({name for name, _ in TRIED})} functions: {sums[0]} answered, {sums[1]} refused")


@st.composite
def examples(draw, case):
    """Which arguments to replace by what, and in which mode to call."""
    names = draw(st.lists(st.sampled_from(sorted(case.base)), max_size=2, unique=True))
    changes = {name: draw(st.sampled_from(changes_of(case.base[name]))) for name in names}
    return changes, draw(st.sampled_from(["plain", "plain", *MODES]))


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_an_answer_or_a_refusal(case):
    @settings(
        max_examples=TIMES * case.examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(examples(case))
    def one(example):
        changes, mode = example
        TRIED[case.name, outcome(case, changes, mode)] += 1

    one()
    assert TRIED[case.name, "answered"] and TRIED[case.name, "refused"]


def test_enough_is_tried():
    assert len(CASES) >= 30 and sum(case.examples for case in CASES) >= 2000
