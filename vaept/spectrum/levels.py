r"""Energy spectra of latent spaces: from a potential, from a density, or from nothing but samples.

Units ħ = m = 1; H = −½Δ + U on ℝᵈ. A density ρ stands for the Hamiltonian whose ground state is √ρ at energy 0, U = ¼Δ
log ρ + ⅛|∇log ρ|²; its levels are also the relaxation rates of ½(Δ + ∇log ρ·∇), the Langevin dynamics dz = ½∇log ρ dt +
dW (Risken 1989, ch. 5). Potentials and densities are looked over for where their states live (`_survey`) and solved in
an oscillator basis that grows until two sizes agree (`_galerkin`), samples by the generator Galerkin method in
polynomials and soft cells (`_sampled`).
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from vaept import arguments
from vaept.errors import ConvergenceError, InputError
from vaept.spectrum import _galerkin, _sampled, _survey, _vetting

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import ArrayLike

    Function: TypeAlias = Callable[[np.ndarray], np.ndarray]  # of points

MAX_DIM = 8  # the grids of a potential or a density grow as 6^d at least
MAX_LEVELS = 500  # the solvers' time grows with their square
MAX_BOOTSTRAP = 10_000


@dataclass(frozen=True)
class Spectrum:
    """Levels of a Hamiltonian and its eigenfunctions.

    Attributes
    ----------
    levels : ndarray, shape (n_levels,)
        Ascending, every member of a multiplet listed. From densities and samples they are energies above the ground
        state, `levels[0]` is 0, and NaN stands for a level that a continuum has swallowed. From samples they are
        estimates, not bounds: a finite space of functions moves levels up, sampling moves them down.
    residuals : ndarray, shape (n_levels,)
        ‖(H − E)ψ‖ of the normalised states: an exact level lies no farther than this from each level, and as a
        rule no farther than its square. From samples, within the chosen functions: the solver's rounding alone.
    intervals : ndarray of shape (n_levels, 2), or None
        95 % intervals of sampled levels; NaN where the level is. Half their width is the 95 % quantile of the norm by
        which resampling perturbs the level's multiplet; the choice of the space of functions is not in it.

    Examples
    --------
    >>> spectrum = from_potential(lambda z: (z**2).sum(axis=1) / 2, 2, 6)
    >>> spectrum.levels.round(6)
    array([1., 2., 2., 3., 3., 3.])
    >>> spectrum.multiplicities
    array([1, 2, 3])
    """

    levels: np.ndarray
    residuals: np.ndarray
    intervals: np.ndarray | None = None
    _functions: Callable = field(default=None, repr=False, compare=False)  # type: ignore[assignment]

    @property
    def multiplicities(self) -> "np.ndarray":
        """Multiplicity of each distinct level, in the tolerance 1e-7 of `group`; ndarray of int."""
        return self.group()

    def group(self, tolerance: "float" = 1e-7) -> "np.ndarray":
        """Sizes of the groups of numerically equal levels; ndarray of int, shape (distinct levels,).

        Levels are equal if a chain of neighbours connects them that differ by at most `tolerance` times the energy
        above the ground level or, where the levels were sampled, whose intervals overlap. The ground level is never
        degenerate: a tiny gap above it stays a gap. The last group may go on above the last level that was asked for.
        """
        tolerance, known = arguments.number(tolerance, "tolerance", 0), np.isfinite(self.levels)
        finite = self.levels[known]
        if self.intervals is None:
            apart = np.diff(finite) > tolerance * (finite[1:] - finite[0])
        else:
            intervals = self.intervals[known]
            apart = intervals[1:, 0] > np.maximum.accumulate(intervals[:, 1])[:-1]
        starts = np.flatnonzero(np.concatenate([[True], apart, [True]]))
        return np.diff(starts)

    def eigenfunctions(self, points: "ArrayLike") -> "np.ndarray":
        """Eigenfunctions at points, array (n, d): ndarray of shape (n, n_levels).

        From a potential the states ψ_k, with ∫ψ² = 1. From a density or samples the relaxation modes f_k = ψ_k/ψ₀, with
        f₀ = 1 and ⟨f_k²⟩ = 1 under the density. Signs, and rotations within a multiplet, are arbitrary. Raises
        InputError if the points are no finite (n, d) array, or so far out that no mode has a finite value there.
        """
        return self._functions(points)


def from_potential(potential: "Function", dim: "int", n_levels: "int", *, tol: "float" = 1e-10) -> "Spectrum":
    """Lowest levels of H = −½Δ + U on ℝᵈ.

    Parameters
    ----------
    potential : callable
        U: maps an array (n, d) of points to (n,) energies. Points reach 10⁴ from the origin; +inf is allowed far out.
    dim : int
        d; 1 to 4 for any smooth confining potential, up to 8 for a nearly harmonic one.
    n_levels : int
        How many levels, every member of a multiplet counted; at most 500, in one dimension 206.
    tol : float
        Two sizes of the basis agree to a tenth of tol · max(1, |E|). Rounding allows no less than some 10⁻¹⁵ times the
        largest U where the states live.

    Returns
    -------
    Spectrum

    Raises
    ------
    InputError
        If an argument is out of range, or if the potential has the wrong shape, is not finite, is unbounded below or
        does not rise above the wanted levels (a continuum).
    ConvergenceError
        If the levels do not agree to `tol` in the largest basis: a singular, very wide or high-dimensional potential.

    Examples
    --------
    >>> from_potential(lambda z: z[:, 0] ** 4, 1, 3).levels.round(4)
    array([0.668 , 2.3936, 4.6968])
    """
    dim, n_levels, tol = _arguments(dim, n_levels, tol)
    energy = _survey.checked(potential, dim, "potential")
    frame, far = _survey.potential_frame(energy, dim, n_levels, tol)

    def make_operator(basis):
        return _galerkin.PotentialOperator(basis, energy(basis.grid(), finite=True).reshape(basis.shape))

    def allowed(levels):
        return 0.1 * tol * np.maximum(1, np.abs(levels))

    solution, ratio = _galerkin.converge(make_operator, frame, n_levels, allowed)
    if solution.levels[-1] >= far:
        raise InputError(
            f"The potential falls to {far:.6g} at distance {_survey.FAR:g}, which is not above level {n_levels - 1} "
            f"near {solution.levels[-1]:.6g}: a continuum begins below it. Ask for fewer levels, or confine the "
            "potential."
        )
    _require(ratio, tol, solution)
    return Spectrum(solution.levels, solution.residuals, None, partial(_states, solution))


def from_log_density(
    log_density: "Function", dim: "int", n_levels: "int", *, tol: "float" = 1e-8, gradient: "Function | None" = None
) -> "Spectrum":
    """Levels of a density's Hamiltonian above its ground state: the relaxation rates of ½(Δ + ∇log ρ·∇).

    Parameters
    ----------
    log_density : callable
        log ρ + constant: maps an array (n, d) of points to (n,). Points reach 10⁴ from the origin; −inf may be far out.
    dim, n_levels : int
        As for `from_potential`; the ground state's zero counts.
    tol : float
        Relative: two sizes of the basis agree to a tenth of tol · level, down to levels of about 10⁻¹².
    gradient : callable, optional
        ∇log ρ: maps (n, d) to (n, d). It is compared with differences of log ρ; without it they take its place.

    Returns
    -------
    Spectrum

    Warns
    -----
    UserWarning
        If the tails are exponential or heavier: the spectrum is then continuous above a threshold.

    Raises
    ------
    InputError
        If an argument is out of range, or the density is not finite, not normalisable or not that of `gradient`.
    ConvergenceError
        If the levels do not agree to `tol` in the largest basis.

    Examples
    --------
    >>> from_log_density(lambda z: -(z**2).sum(axis=1) / 2, 1, 4).levels.round(6)
    array([0. , 0.5, 1. , 1.5])
    """
    dim, n_levels, tol = _arguments(dim, n_levels, tol)
    log_density = _survey.checked(log_density, dim, "log_density")

    def energy(points):
        return -log_density(points)

    frame, threshold = _survey.density_frame(energy, dim, tol)
    if gradient is not None:
        _survey.check_gradient(log_density, gradient, frame)
    if threshold == 0:
        return _only_ground_state(n_levels, dim)

    def make_operator(basis):
        slopes = _survey.log_gradient(log_density, gradient, basis).T
        return _galerkin.DensityOperator(basis, slopes.reshape(dim, *basis.shape))

    solution, ratio = _galerkin.converge(make_operator, frame, n_levels, partial(_relative, tol))
    levels = np.append(0.0, solution.levels[1:])
    if math.isinf(threshold):
        _require(ratio, tol, solution)
    else:
        levels[1:][(ratio[1:] > 1) | (levels[1:] >= threshold)] = np.nan
    return Spectrum(levels, solution.residuals, None, partial(_modes, solution, log_density))


def from_samples(
    samples: "ArrayLike", n_levels: "int", *, degree: "int | None" = None, bootstrap: "int" = 300, seed: "int" = 0
) -> "Spectrum":
    """Levels of the density that samples were drawn from, above its ground state, without the density.

    Parameters
    ----------
    samples : array, shape (n, d)
        Independent draws. Copies of a row count as weights. Values may be rounded, but not to a coarse grid.
    n_levels : int
        How many levels, the ground state's zero and every member of a multiplet counted; at most 500.
    degree : int, optional
        Of polynomials as the only functions; at most 100. Without it, what half of the samples finds is judged on the
        others: the degree, or low polynomials, soft cells around clusters and bounded functions of three slow modes.
    bootstrap : int
        Resamples for the intervals, at most 10 000; 0 for none.
    seed : int

    Returns
    -------
    Spectrum
        Levels above 0 are NaN if tails fall off as a power of the distance.

    Warns
    -----
    UserWarning
        If the tails are so heavy; or if a few rows lie far from all others: these are left out.

    Raises
    ------
    InputError
        If the samples are not finite, too few, on a coarse grid, or have constant or dependent coordinates.

    Examples
    --------
    >>> from_samples(np.random.default_rng(0).standard_normal((2000, 2)), 3, degree=1).levels.round(1)
    array([0. , 0.5, 0.5])
    """
    x, n_levels = arguments.points(samples, "samples"), arguments.integer(n_levels, "n_levels", 1, MAX_LEVELS)
    bootstrap = arguments.integer(bootstrap, "bootstrap", 0, MAX_BOOTSTRAP)
    generator = np.random.default_rng(arguments.seed(seed))
    _sampled.degrees_to_try(_vetting.Copies.of(x), x.shape[1], n_levels, degree)
    apart, heavy = _vetting.outliers_of(x)
    if heavy:
        _warn("The samples' tails fall off as a power of the distance: the spectrum is continuous above 0.")
        return _only_ground_state(n_levels, x.shape[1], with_intervals=bootstrap > 0)
    kept, lone = np.arange(len(x)), apart
    while True:
        kept = np.delete(kept, lone)
        solution, lone = _sampled.solve(x[kept], n_levels, degree, generator)
        if not len(lone):
            break
    if len(kept) < len(x):
        left_out = arguments.brief(np.delete(np.arange(len(x)), kept).tolist())
        _warn(f"Rows {left_out} of the samples (from 0) lie far from all others and are left out.")
    intervals = _sampled.intervals_of(solution, bootstrap, generator)[:n_levels] if bootstrap else None
    return Spectrum(
        solution.levels[:n_levels], solution.residuals[:n_levels], intervals, solution.modes.first(n_levels)
    )


def _relative(tol, levels):
    """Errors that are allowed to levels of a density."""
    errors = 0.1 * tol * levels + 1e-30
    # Level 0 is known; what is computed for it tells how well the ground state fits in the basis.
    errors[0] = 10 * errors[1:].min(initial=1.0)
    return errors


def _warn(text):
    warnings.warn(text, UserWarning, stacklevel=3)


def _states(solution, points):
    """ψ_k of a solution."""
    basis = solution.basis
    return basis.evaluate(solution.vectors, arguments.points(points, "points", len(basis.shape)))


def _modes(solution, log_density, points):
    """f_k = ψ_k/√ρ of a solution, ρ normalised on the solution's grid."""
    basis = solution.basis
    points = arguments.points(points, "points", len(basis.shape))
    grid = basis.grid()
    ground = np.abs(basis.evaluate(solution.vectors[:, :1], grid)[:, 0])
    best = ground.argmax()
    # √ρ = ψ₀ fixes the constant that log ρ lacks, best where ψ₀ is largest.
    shift = 2 * np.log(ground[best]) - log_density(grid[[best]])[0]
    half = 0.5 * (log_density(points) + shift)
    with np.errstate(over="ignore", invalid="ignore"):
        modes = basis.evaluate(solution.vectors, points) * np.exp(-half)[:, None]
    modes[:, 0] = 1
    _sampled.check_modes(modes, points)
    return modes


def _only_ground_state(n_levels, dim, *, with_intervals=False):
    """The spectrum of a density whose continuum begins at 0."""
    levels = np.where(np.arange(n_levels) == 0, 0.0, np.nan)
    intervals = np.column_stack([levels, levels]) if with_intervals else None
    return Spectrum(levels, np.full(n_levels, np.nan), intervals, partial(_constant, dim, levels))


def _constant(dim, levels, points):
    """The ground state's f₀ = 1 where it is all there is."""
    return np.tile(np.where(levels == 0, 1.0, np.nan), (len(arguments.points(points, "points", dim)), 1))


def _arguments(dim, n_levels, tol):
    return (
        arguments.integer(dim, "dim", 1, MAX_DIM),
        arguments.integer(n_levels, "n_levels", 1, MAX_LEVELS),
        arguments.number(tol, "tol", above=0, below=1),
    )


def _require(ratio, tol, solution):
    if (ratio > 1).any():
        worst = int(np.argmax(ratio))
        raise ConvergenceError(
            f"Level {worst} still moves by about {ratio[worst]:.1g} times what tol = {tol:g} allows, in a basis of "
            f"{len(solution.basis)} functions, the largest that is tried. Ask for fewer levels or a larger tol."
        )
