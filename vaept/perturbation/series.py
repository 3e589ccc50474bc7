"""Rayleigh–Schrödinger series to any order, for levels that may be degenerate, and what a divergent series is worth.

Units ħ = m = 1. For H₀ + λV, a row of coefficients c_k stands for one state's energy Σ c_k λᵏ. First the level is cut
out of the rest: Bloch's wave operator, solved order by order, gives its effective Hamiltonian, a power series of small
matrices. Then that series is split: the eigenspaces at the first order that is no multiple of the identity are the
correct zeroth-order states; divided by that power of λ, the rest is again a perturbed level structure, to each of whose
levels the same is done. Every number carries a bound on its error: only that tells a splitting from rounding.
Sources: Kato 1949, Prog. Theor. Phys. 4, 514; Bloch 1958, Nucl. Phys. 6, 329; Bender & Wu 1969, Phys. Rev. 184, 1231
(anharmonic oscillator); Bender & Orszag 1978, ch. 3 and 8 (divergent series, Padé).
"""

import itertools
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.interpolate import pade
from scipy.linalg import LinAlgError, LinAlgWarning, eigh
from scipy.sparse.csgraph import connected_components

from vaept import arguments
from vaept.errors import InputError
from vaept.spectrum.oscillator import quantum_numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

ROUNDING = 1e-14  # relative to what a number is made of: below this it is rounding, and becomes 0
MAX_ORDER = 500  # time grows with its square, and coefficients of divergent series leave float64 long before
MAX_EXPONENT = 100
MAX_STATES, MAX_MOVES = 20_000, 5_000_000  # of the oscillator's states, from which V can return to a level, and between
FAR = 1e10  # couplings times the growth of a series, beyond which powers of the inverse are used


@dataclass(frozen=True)
class Resummation:
    """What a series says at given couplings. Arrays have the shape of the couplings.

    Attributes
    ----------
    pade : float or ndarray
        Value of the Padé approximant.
    pade_degrees : tuple of int
        Degrees of its numerator and its denominator.
    truncated : float or ndarray
        Sum of the plain series up to and including its smallest non-zero term (optimal truncation).
    truncation_error, truncation_order : float or ndarray, int or ndarray of int
        Magnitude of that term: a bound where the truth lies between successive partial sums, else an estimate. Order.

    Examples
    --------
    >>> result = resum([1, -1, 1, -1], 2.0)  # 1/(1 + λ), which diverges there
    >>> result.pade_degrees, round(float(result.pade), 6)
    ((2, 1), 0.333333)
    """

    pade: float | np.ndarray
    pade_degrees: tuple[int, int]
    truncated: float | np.ndarray
    truncation_error: float | np.ndarray
    truncation_order: int | np.ndarray


def series(
    h0_levels: "ArrayLike", v: "ArrayLike | sparse.sparray", level: "int", order: "int", *, tol: "float" = 1e-10
) -> "np.ndarray":
    """Series of the energies of H₀ + λV that start from one level of H₀.

    Parameters
    ----------
    h0_levels : array, shape (n,)
        Eigenvalues of H₀, in any order, each as often as it occurs.
    v : array or scipy.sparse array, shape (n, n)
        V in the eigenbasis of H₀: real, symmetric, in the units of `h0_levels`.
    level, order : int
        Index of a distinct level, 0 for the ground level of any multiplicity; and the highest power of λ, 0 to 500.
    tol : float
        Levels that are connected by gaps of at most `tol` · max|h0_levels| are one level. Splittings that relative
        errors `tol` in the elements of V could cause are none. 0 ≤ tol < 1.

    Returns
    -------
    ndarray, shape (multiplicity, order + 1)
        A row for each state: the coefficients of λ⁰, λ¹, …. Rows ascend as the energies do for small λ > 0.
        A coefficient whose terms cancel to rounding is exactly 0.

    Raises
    ------
    InputError
        If the levels are no finite vector, V has another size or is not finite, real and symmetric, another argument is
        out of range, there is no such level, or a coefficient exceeds the range of float64.

    Examples
    --------
    >>> series([1.0, 1.0, 3.0], [[0, 1, 0], [1, 0, 0], [0, 0, 0]], level=0, order=2)
    array([[ 1., -1.,  0.],
           [ 1.,  1.,  0.]])
    """
    energies = arguments.array(h0_levels, "h0_levels", shape=("n",))
    v = _symmetric(v, energies.size)
    level, order = arguments.integer(level, "level", 0), arguments.integer(order, "order", 0, MAX_ORDER)
    tol = arguments.number(tol, "tol", 0, below=1)
    groups = _groups(energies, tol * np.abs(energies).max())
    if level >= len(groups):
        raise InputError(f"level must be below {len(groups)}, the number of distinct levels; it is {level}.")
    return _level_series(energies, v, groups[level], order, tol)


def oscillator_series(
    potential: "Mapping[tuple[int, ...], float]",
    dim: "int",
    level: "int",
    order: "int",
    *,
    omega: "float" = 1.0,
    tol: "float" = 1e-10,
) -> "np.ndarray":
    """Series of a level of the isotropic oscillator that is perturbed by a polynomial.

    H₀ = −½Δ + ½ω²|x|² on ℝᵈ has the levels ω(N + d/2). The basis holds every state from which V can return to the
    level within `order` steps, and matrix elements of powers are those of the infinite matrices: nothing is
    truncated. Float64 leaves errors below 1e-12 of a coefficient, unless its terms cancel.

    Parameters
    ----------
    potential : mapping of tuple of int to float
        V(x) = Σ c · x₁^e₁ ⋯ x_d^e_d as {(e₁, …, e_d): c}, e_i at most 100; {(2, 2): 1.0} is x²y².
    dim, level : int
        Dimension d, at least 1, and N, from 0.
    order : int
        The highest power of λ; 0 to 500, as long as V reaches no more than 20 000 states on the way.
    omega, tol : float
        ω > 0, which is ½ for the prior's oscillator; and as for `series`.

    Returns
    -------
    ndarray, shape (C(N+d−1, d−1), order + 1)
        As of `series`.

    Raises
    ------
    InputError
        If exponents are not `dim` integers from 0, a coefficient is not finite, another argument is out of range, or a
        coefficient of the result exceeds the range of float64.

    Examples
    --------
    >>> oscillator_series({(4,): 1.0}, dim=1, level=0, order=3).round(6)
    array([[ 0.5   ,  0.75  , -2.625 , 20.8125]])
    """
    dim, level = arguments.integer(dim, "dim", 1), arguments.integer(level, "level", 0)
    order, omega = arguments.integer(order, "order", 0, MAX_ORDER), arguments.number(omega, "omega", above=0)
    terms, tol = _monomials(potential, dim), arguments.number(tol, "tol", 0, below=1)
    states = quantum_numbers(level, dim)
    # A term goes from the level back to it in at most `order` steps, hence no farther than half of them.
    states = _reachable(states[states.sum(axis=1) == level], terms, order // 2)
    shells = states.sum(axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        v = _polynomial_matrix(terms, states, omega)
    if not np.isfinite(v.data).all() or abs(v).max() > arguments.LARGEST:
        raise InputError(f"The elements of V exceed {arguments.LARGEST:g} at omega = {omega:g}; change the units.")
    return _level_series(omega * (shells + dim / 2), v, np.flatnonzero(shells == level), order, tol)


def resum(coefficients: "ArrayLike", coupling: "ArrayLike") -> "Resummation":
    """Value of a series at given couplings, also where it diverges.

    Up to order K, the Padé approximant has degrees K − K//2 over K//2: diagonal, or with a numerator one degree higher.
    Where it does not exist (a series that ends), the degree of its denominator is lowered until one does.

    Parameters
    ----------
    coefficients : array, shape (K + 1,)
        One row of a series: the coefficients of λ⁰, λ¹, ….
    coupling : float or array
        λ, in any shape.

    Returns
    -------
    Resummation

    Raises
    ------
    InputError
        If there are no coefficients, they or the couplings are not finite, the approximant has a pole at a coupling, or
        a value exceeds the range of float64.

    Examples
    --------
    >>> coefficients = oscillator_series({(4,): 1.0}, dim=1, level=0, order=10)[0]
    >>> resum(coefficients, [0.0, 0.1]).pade.round(3)
    array([0.5  , 0.559])
    """
    c = arguments.array(coefficients, "coefficients", shape=("order + 1",), largest=np.finfo(float).max)
    coupling = arguments.array(coupling, "coupling", shape=[(), ("n", "…")])
    with np.errstate(all="ignore"):
        value, degrees = _pade(c, coupling)
        terms = c * coupling[..., None] ** np.arange(c.size)
        if not np.isfinite(terms).all():
            # A power may leave the range of float64 where the term does not.
            size = np.log(np.abs(c)) + np.arange(c.size) * np.log(np.abs(coupling[..., None]))
            signs = np.sign(c) * np.sign(coupling[..., None]) ** np.arange(c.size)
            terms = np.where(np.isfinite(terms), terms, np.where(c == 0, 0, signs * np.exp(size)))
        sums = terms.cumsum(axis=-1)
    # A zero is no small term: where a symmetry forbids odd orders, every other one is 0.
    last = np.where(terms == 0, np.inf, np.abs(terms)).argmin(axis=-1)
    smallest, truncated = (np.take_along_axis(a, last[..., None], axis=-1)[..., 0] for a in (np.abs(terms), sums))
    bad = ~(np.isfinite(value) & np.isfinite(truncated) & np.isfinite(smallest))
    if bad.any():
        raise InputError(
            f"At coupling {coupling[bad].ravel()[0]:g} the series has no finite value: its approximant has a pole "
            "there, or its terms exceed the range of float64. Give another coupling or fewer coefficients."
        )
    # Without coupling the series is exact.
    return Resummation(value[()], degrees, truncated[()], np.where(coupling == 0, 0, smallest)[()], last[()])


def _pade(c, coupling):
    """Near-diagonal Padé approximant of Σ c_k λᵏ at the couplings, with its degrees."""
    order = c.size - 1
    # In units of the series' own growth the linear system is better posed.
    growth = np.max(np.abs(c[1:]) ** (1 / np.arange(1, c.size)), initial=0) or 1.0
    for degree in range(order // 2, 0, -1):
        with warnings.catch_warnings():
            # At high order the system is nearly singular as a rule, and the value none the worse for it.
            warnings.simplefilter("ignore", LinAlgWarning)
            try:
                numerator, denominator = pade(c / growth ** np.arange(c.size), degree)
            except LinAlgError:
                continue
        x = growth * coupling
        value = numerator(x) / denominator(x)
        # Far out powers overflow: those of 1/x do not, and one of x is left if the numerator's degree is higher.
        far = np.where(np.abs(x) > FAR, x, FAR)
        p, q = numerator.coeffs, denominator.coeffs
        beyond = np.polynomial.polynomial.polyval(1 / far, p) / np.polynomial.polynomial.polyval(1 / far, q)
        value = np.where(np.abs(x) > FAR, beyond * far ** (p.size - q.size), value)
        return value, (order - degree, degree)
    return np.polynomial.polynomial.polyval(coupling, c), (order, 0)


@dataclass(frozen=True)
class _Rounded:
    """A matrix and, to first order, a bound on its error in units of the relative error of what went in."""

    value: np.ndarray | sparse.sparray
    error: np.ndarray | sparse.sparray

    def __add__(self, other):
        return _Rounded(self.value + other.value, self.error + other.error)

    def __sub__(self, other):
        return _Rounded(self.value - other.value, self.error + other.error)

    def __matmul__(self, other):
        size = abs(other.value)
        return _Rounded(self.value @ other.value, abs(self.value) @ (size + other.error) + self.error @ size)

    def __getitem__(self, index):
        return _Rounded(self.value[index], self.error[index])


def _constant(constant, m):
    return _Rounded(constant * np.eye(m), abs(constant) * np.eye(m))


def _level_series(energies, v, inside, order, tol):
    """Series of the states `inside`, which are one level of H₀; v is a csr array. Shape (multiplicity, order + 1)."""
    arguments.memory((order + 1) * len(energies) * len(inside), "The wave operator")
    center, block_of = energies[inside].mean(), connected_components(v, directed=False)[1]
    found = []
    # V mixes no states of two blocks; nor does rounding, when each block is treated alone.
    for block in np.unique(block_of[inside]):
        members = np.flatnonzero(block_of == block)
        first = np.intersect1d(members, inside)
        members = np.append(first, np.setdiff1d(members, first))
        own = v[members][:, members]
        with np.errstate(over="ignore", invalid="ignore"):
            h = _effective([_Rounded(own, abs(own))], center - energies[members], len(first), order)
        finite = [bool(np.isfinite(part.value).all() and np.isfinite(part.error).all()) for part in h]
        if not all(finite):
            raise InputError(
                f"The coefficients exceed the range of float64 from order {finite.index(False)} on; ask for a lower "
                "order, or give V in smaller units."
            )
        found.append(_split([_constant(center, len(first)), *h[1:]], tol))
    rows, errors = (np.concatenate(part) for part in zip(*found, strict=True))
    if not np.isfinite(rows).all():
        raise InputError("The coefficients exceed the range of float64; ask for a lower order.")
    rows[np.abs(rows) <= ROUNDING * errors] = 0
    return _sorted_rows(rows, tol * errors.max(axis=0))


def _effective(terms, distances, m, order):
    """Effective Hamiltonian of the first m of n states: (m, m) coefficients of λ⁰ (left 0), …, λ^order.

    The wave operator Ω = Σ Ω_k λᵏ is 1 on the level; h = VΩ there, and HΩ = Ωh elsewhere gives Ω. `terms` are V's
    coefficients (n, n) of λ, λ², …; `distances` (n,) the level's energy minus each state's.
    """
    n = len(distances)
    resolvent = np.append(np.zeros(m), 1 / distances[m:])[:, None]
    # What moves all states alike is taken out: else it would have to cancel between many terms.
    shifts = np.zeros(order)
    shifts[: len(terms)] = [term.value.diagonal()[:m].mean() for term in terms[:order]]
    terms = [_Rounded(term.value - s * sparse.eye_array(n), term.error) for term, s in zip(terms, shifts, strict=False)]
    nothing = _Rounded(np.zeros((n, m)), np.zeros((n, m)))
    omega, h = [_Rounded(np.eye(n, m), nothing.error)], [_constant(0, m)]
    for k in range(1, order + 1):
        image = sum((term @ x for term, x in zip(terms, reversed(omega), strict=False)), nothing)
        h.append(image[:m])
        image -= sum((omega[i] @ h[k - i] for i in range(1, k)), nothing)
        omega.append(_Rounded(resolvent * image.value, abs(resolvent) * image.error))
    return [h[0], *(part + _constant(s, m) for part, s in zip(h[1:], shifts, strict=True))]


def _split(h, tol):
    """Series of the eigenvalues of Σ h_k λᵏ, each h_k (m, m), and their errors: two arrays of shape (m, len(h)).

    The series is S⁻¹ h′ S for symmetric h′ and S = 1 + O(λ), so that the first h_k that is no multiple of the identity
    is h′_k, hence symmetric; later ones need not be, and the reduction does not ask for it.
    """
    m = len(h[0].value)
    # Rows of coefficients that all states share as long as nothing is split.
    common, errors = np.array([[np.trace(a.value) / m for a in h]]), np.array([[a.error.max() for a in h]])
    for k in range(len(h)):
        values, states = eigh(h[k].value)
        groups = _groups(values, tol * errors[0, k])
        if len(groups) > 1:
            break
    else:
        return [np.repeat(head, m, axis=0) for head in (common, errors)]
    found = []
    for group in groups:
        mine = np.append(group, np.setdiff1d(np.arange(m), group))
        turn, center, size = states[:, mine], values[group].mean(), len(group)
        terms = [_Rounded(turn.T @ a.value @ turn, abs(turn.T) @ a.error @ abs(turn)) for a in h[k + 1 :]]
        first = _Rounded(center * np.eye(size), np.full((size, size), errors[0, k]))
        tails = _split([first, *_effective(terms, center - values[mine], size, len(terms))[1:]], tol)
        heads = [np.repeat(head[:, :k], size, axis=0) for head in (common, errors)]
        found.append([np.hstack(pair) for pair in zip(heads, tails, strict=True)])
    return [np.concatenate(part) for part in zip(*found, strict=True)]


def _groups(values, gap):
    """Indices of the values that gaps of at most `gap` connect; a list of arrays, ascending by value."""
    ascending = np.argsort(values, kind="stable")
    return np.split(ascending, np.flatnonzero(np.diff(values[ascending]) > gap) + 1)


def _sorted_rows(rows, gaps):
    """Rows ascending by their first coefficients; where these are equal up to gaps[0], by the next ones."""
    if len(rows) == 1 or rows.shape[1] == 0:
        return rows
    groups = _groups(rows[:, 0], gaps[0])
    return np.concatenate([np.hstack([rows[g, :1], _sorted_rows(rows[g, 1:], gaps[1:])]) for g in groups])


def _symmetric(v, n):
    """V as a symmetric csr array of shape (n, n), without elements that are rounding beside their row and column."""
    if sparse.issparse(v):
        v = sparse.coo_array(v)
        if v.shape != (n, n):
            raise InputError(f"v must have shape ({n}, {n}), as h0_levels has {n} values; its shape is {v.shape}.")
        v = sparse.csr_array((arguments.array(v.data, "v"), v.coords), v.shape)
    else:
        # A complex one becomes real where the phases of the states of H₀ are so chosen.
        v = sparse.csr_array(arguments.array(v, "v", shape=(n, n)))
    asymmetry, size = abs(v - v.T).max(), abs(v).max()
    if asymmetry > 1e-10 * size:
        raise InputError(f"v must be symmetric; v − vᵀ is up to {asymmetry:.2g}, v up to {size:.2g}. Give (v + vᵀ)/2.")
    v = ((v + v.T) / 2).tocoo()
    # A rotation among equal levels leaves rounding in place of zeros, which would hide that V does not mix two states.
    greatest, (row, column) = abs(v).max(axis=1).toarray().ravel(), v.coords
    real = np.abs(v.data) > ROUNDING * np.sqrt(greatest[row] * greatest[column])
    return sparse.csr_array((v.data[real], (row[real], column[real])), v.shape)


def _monomials(potential, dim):
    """The polynomial as a list of (exponents, coefficient)."""
    if not isinstance(potential, Mapping):
        raise InputError(
            "potential must map exponents to coefficients, as {(2, 2): 1.0} does; it is "
            f"{arguments.brief(potential)}."
        )
    terms = []
    for key, coefficient in potential.items():
        exponents = tuple(key) if np.iterable(key) else (key,)
        if len(exponents) != dim:
            raise InputError(f"Exponents must be tuples of dim = {dim} integers; {key!r} has {len(exponents)}.")
        coefficient = arguments.number(coefficient, f"The coefficient of {arguments.brief(key)}")
        name = f"An exponent of {arguments.brief(key)}"
        terms.append((tuple(arguments.integer(e, name, 0, MAX_EXPONENT) for e in exponents), coefficient))
    return terms


def _shifts(exponents):
    """All changes of the quantum numbers that x₁^e₁ ⋯ x_d^e_d makes."""
    return itertools.product(*(range(-e, e + 1, 2) for e in exponents))


def _reachable(states, terms, steps):
    """The states and all that the polynomial reaches from them in a number of steps; shape (n, dim)."""
    n_shifts = sum(math.prod(e + 1 for e in exponents) for exponents, _ in terms)
    _check_size(len(states), n_shifts)
    shifts = np.array([(0,) * states.shape[1], *{s for exponents, _ in terms for s in _shifts(exponents)}])
    for _ in range(steps):
        moved = (states[:, None] + shifts).reshape(-1, states.shape[1])
        states = np.unique(moved[(moved >= 0).all(axis=1)], axis=0)
        _check_size(len(states), n_shifts)
    return states


def _check_size(n_states, n_shifts):
    if n_states > MAX_STATES or n_states * n_shifts > MAX_MOVES:
        raise InputError(
            f"potential leads to {n_states} states on the way to the order, by {n_shifts} ways from each; at most "
            f"{MAX_STATES} and in all {MAX_MOVES} can be followed. Lower order, level, dim or the exponents."
        )


def _polynomial_matrix(terms, states, omega):
    """V among states of the oscillator; a csr array."""
    index = {state: i for i, state in enumerate(map(tuple, states.tolist()))}
    v = sparse.csr_array((len(states), len(states)))
    for exponents, coefficient in terms:
        powers = [_power_elements(states[:, axis], e, omega) for axis, e in enumerate(exponents)]
        for shift in _shifts(exponents):
            rows = np.array([index.get(target, -1) for target in map(tuple, (states + shift).tolist())])
            column = np.flatnonzero(rows >= 0)
            value = coefficient * math.prod(p[s + e] for p, s, e in zip(powers, shift, exponents, strict=True))
            v += sparse.csr_array((value[column], (rows[column], column)), v.shape)
    return v


def _power_elements(n, exponent, omega):
    """⟨n + s|x^e|n⟩ at [s + e] for s = −e … e and an array of n, shape (2e + 1, len(n)).

    x|n⟩ = (√(n+1)|n+1⟩ + √n|n−1⟩)/√(2ω) is applied e times: sums of positive terms, exact to a few roundings.
    """
    final = n + np.arange(-exponent, exponent + 1)[:, None]
    up, down = np.sqrt(np.maximum(final, 0) / (2 * omega)), np.sqrt(np.maximum(final + 1, 0) / (2 * omega))
    elements = (final == n).astype(float)
    for _ in range(exponent):
        padded = np.pad(elements, ((1, 1), (0, 0)))
        elements = up * padded[:-2] + down * padded[2:]
    return elements
