r"""Where the states of a potential or a density live: the frame in which `vaept.spectrum._galerkin` sets up its basis.

Energies are U, or −log ρ; ħ = m = 1. Points all over space, spread by distance, give the energy below which
phase space has room for the wanted states; the region below it is sampled again, closer and closer, and gives the
centre, the axes, the frequencies and the reach of the basis. All points are fixed, so equal input gives equal output.
Sources: Weyl 1912 (counting states in phase space); Niederreiter 1992 (evenly spread points); Stein 1981 (derivatives
by integration by parts); Agmon 1982 (how far states reach).
"""

import functools
import math
import warnings

import numpy as np
from scipy.special import ndtri

from vaept import arguments
from vaept.errors import InputError
from vaept.spectrum._galerkin import Frame

FAR = 1e4  # energies are looked at out to this distance from the origin
N_EXPLORE = 1024  # points per dimension


def potential_frame(energy, dim, n_levels, tol):
    """Frame for the lowest states of a potential, and its lowest value far away (float)."""
    points, volumes, values = explore(energy, dim, "potential")
    far = values[np.linalg.norm(points, axis=1) > 0.5 * FAR].min()

    def room(values, volumes):
        return phase_space(values, volumes, dim, n_levels, far)[0]

    if not room(values, volumes).any():
        raise InputError(
            f"The potential is nowhere lower than its least value {far:.6g} at distance {FAR:g} from the origin: it "
            "binds no state that could be found. Confine it in every direction, or shift and scale the coordinates."
        )
    points, volumes, values = close_in(energy, points, volumes, values, room)
    weights, top = phase_space(values, volumes, dim, n_levels, far)
    centre, covariance = moments(points, weights)
    momentum = 2 * np.average(np.maximum(top - values, 0), weights=weights) / (dim + 2)
    exponent = 0.5 * np.log(1 / tol) + 4
    return make_frame(energy, centre, covariance, points[weights > 0], exponent, momentum, top), far


def density_frame(energy, dim, tol):
    """Frame for the states of a density, `energy` being −log ρ, and where its continuous spectrum begins (float)."""

    def mass(values, volumes):
        return volumes * np.exp(values.min() - values)

    points, volumes, values = close_in(energy, *explore(energy, dim, "log_density"), mass)
    centre, covariance = moments(points, mass(values, volumes))
    threshold = continuum(energy, centre, covariance)
    # Small levels ask for the tails to a precision relative to them: so far out is far enough for levels of 1e-12.
    exponent = 0.5 * np.log(1 / tol) + 10
    return make_frame(energy, centre, covariance, points[values < values.min() + 10], exponent), threshold


def checked(function, dim, name):
    """The function, its values checked for shape and NaN; +inf (of U or −log ρ) passes unless all must be finite."""
    arguments.function(function, name, f"an array (n, {dim})")
    forbidden = -np.inf if name == "potential" else np.inf

    def values_at(points, finite=False):
        # A value may overflow far out, where nothing but its size matters.
        with np.errstate(all="ignore"):
            values = arguments.array(function(points), f"What {name} returns", largest=None)
        if values.shape != (len(points),):
            raise InputError(
                f"{name} must map an array of shape (n, {dim}) to shape (n,); it mapped {points.shape} to "
                f"{values.shape}."
            )
        bad = ~np.isfinite(values) if finite else np.isnan(values) | (values == forbidden)
        if bad.any():
            raise InputError(
                f"{name} must be finite; it is {values[bad][0]} at x = {points[bad][0].tolist()}. Give a function "
                "that is defined on all of space, with steep smooth walls for hard ones."
            )
        return values

    return values_at


def log_gradient(log_density, gradient, basis):
    """∇log ρ along the frame's axes at the nodes of a basis, shape (nodes, d)."""
    points, axes = basis.grid(), basis.frame.axes
    if gradient is not None:
        return arguments.array(gradient(points), "What gradient returns", shape=points.shape) @ axes
    # A fraction of the shortest wavelength that the basis resolves: truncation and rounding are both negligible.
    return differences(log_density, points, axes, 0.25 * basis.scale / np.sqrt(basis.sizes))


def check_gradient(log_density, gradient, frame):
    """Refuse a ∇log ρ that is not that of log ρ: compared with differences along the frame's axes where ρ is large."""
    dim = len(frame.centre)
    points = frame.centre + ndtri(evenly_spread(16 * dim, dim)) * frame.scale @ frame.axes.T
    density = log_density(points)
    points = points[density >= density.max() - 10 - 2 * dim]
    arguments.function(gradient, "gradient", f"an array (n, {dim})")
    given = arguments.array(gradient(points), "What gradient returns", shape=points.shape)
    fine, coarse = (differences(log_density, points, frame.axes, step * frame.scale) for step in (0.01, 0.02))
    # In units of the frame; what two steps disagree about, differences do not know.
    error, known, doubt = (np.abs(part) * frame.scale for part in (given @ frame.axes - fine, fine, fine - coarse))
    allowed = 1e-3 * np.maximum(1, known.max(axis=1, keepdims=True)) + 10 * doubt
    worst = (error / allowed).max(axis=1).argmax()
    if (error > allowed)[worst].any():
        raise InputError(
            f"gradient is not that of log_density: at x = {points[worst].tolist()} it gives {given[worst].tolist()}, "
            f"differences of log_density {(fine[worst] @ frame.axes.T).tolist()}. Look for its sign, its scale and the "
            "order of its columns, or leave it out."
        )


def differences(function, points, axes, steps):
    """Central differences of the eighth order along axes (the columns), with a step for each; shape (n, axes)."""
    result = np.zeros((len(points), len(steps)))
    for i, (direction, step) in enumerate(zip(axes.T, steps, strict=True)):
        for k, weight in enumerate((4 / 5, -1 / 5, 4 / 105, -1 / 280), start=1):
            ahead, behind = (function(points + sign * k * step * direction, finite=True) for sign in (1, -1))
            result[:, i] += weight / step * (ahead - behind)
    return result


def explore(energy, dim, name):
    """Points at all distances from the origin, the volumes they stand for, and energies; checks that these confine."""
    points, volumes = spread_points(dim)
    values = energy(points)
    radii = np.linalg.norm(points, axis=1)
    if not np.isfinite(values).any():
        raise InputError(f"{name} is infinite everywhere within {FAR:g} of the origin.")
    near = radii < 0.1 * FAR
    if values[~near].min() < values[near].min():
        what = "The potential still falls" if name == "potential" else "The density still grows"
        raise InputError(
            f"{what} at distance {radii[values.argmin()]:.3g} from the origin: it is not bounded, or lies too far out. "
            "Confine it, or shift and scale the coordinates."
        )
    if name == "log_density" and values[~near].min() < values[near].min() + math.log(10) * dim:
        raise InputError("The density hardly falls towards infinity: it cannot be normalised. Confine it.")
    return points, volumes, values


def spread_points(dim):
    """Points whose distances from the origin are spread evenly over seven decades, and the volumes they stand for."""
    cube = evenly_spread(N_EXPLORE * dim, dim + 1)
    normal = ndtri(cube[:, 1:])
    directions = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    axes = np.repeat(np.eye(dim), 64, axis=0)
    radii = np.append(FAR * 10 ** (-7 * cube[:, 0]), np.tile(np.geomspace(1e-3, FAR, 64), dim))
    points = radii[:, None] * np.concatenate([directions, axes])
    sphere = 2 * np.pi ** (dim / 2) / math.gamma(dim / 2)
    volumes = sphere * radii**dim * 7 * np.log(10) / (2 * len(cube))
    volumes[len(cube) :] = 0  # points on the axes are there to be looked at only
    return np.concatenate([points, -points]), np.concatenate([volumes, volumes])


def evenly_spread(n_points, dim):
    """Points of the open unit cube: the additive recurrence of the generalised golden ratio."""
    ratio = 2.0
    for _ in range(60):
        ratio = (1 + ratio) ** (1 / (dim + 1))
    return (0.5 + np.outer(np.arange(1, n_points + 1), ratio ** -np.arange(1.0, dim + 1))) % 1


def close_in(energy, points, volumes, values, weigh):
    """Points, volumes and energies in the region that counts, by its weights.

    Looks about the lowest point so far, at all distances, come closer by a factor each; Gaussians then fill the region.
    """
    for _ in range(40):
        weights = weigh(values, volumes)
        if weights.sum() ** 2 > 50 * (weights**2).sum():
            break
        spread, volumes = spread_points(points.shape[1])
        points = points[values.argmin()] + spread
        values = energy(points)
    for _ in range(4):
        centre, covariance = moments(points, weights)
        normal = ndtri(evenly_spread(N_EXPLORE * len(centre) // 2, len(centre)))
        normal = np.concatenate([normal, -normal])
        root = np.linalg.cholesky(1.5 * covariance)
        volumes = np.exp(0.5 * (normal**2).sum(axis=1)) * (2 * np.pi) ** (len(centre) / 2) * np.prod(np.diag(root))
        points, volumes = centre + normal @ root.T, volumes / len(normal)
        values = energy(points)
        weights = weigh(values, volumes)
    return points, volumes, values


def phase_space(values, volumes, dim, n_levels, far):
    """Shares of points in the classical phase space of the wanted states and one more, and the energy that bounds it.

    Below an energy E there is room for c_d/(2π)^d ∫(2(E − U))^(d/2) states, with c_d the volume of the unit ball.
    """
    ball = np.pi ** (dim / 2) / math.gamma(dim / 2 + 1) / (2 * np.pi) ** dim
    low = values[volumes > 0].min()

    def too_low(energy):
        return ball * (volumes * (2 * np.maximum(energy - values, 0)) ** (dim / 2)).sum() < n_levels + 1

    width = 1e-8
    while too_low(low + width) and width < 1e30:
        width *= 2
    left, top = low, low + width
    for _ in range(12):
        middle = (left + top) / 2
        left, top = (middle, top) if too_low(middle) else (left, middle)
    if np.isfinite(far):
        # Where the potential levels off, the states below that are all that can be bound.
        top = min(top, far - 0.02 * (far - low))
    return volumes * np.maximum(top - values, 0) ** (dim / 2), top


def moments(points, weights):
    """Weighted mean and covariance; the covariance is kept regular where few points carry all the weight."""
    with np.errstate(invalid="ignore", divide="ignore"):
        weights = weights / weights.sum()
        centre = weights @ points
        deviations = points - centre
        covariance = (deviations * weights[:, None]).T @ deviations
    if not (np.isfinite(covariance).all() and np.trace(covariance) > 0):
        raise InputError("The function is too steep for its states to be found; scale it, or the coordinates.")
    return centre, covariance + 1e-4 * np.trace(covariance) / len(centre) * np.eye(len(centre))


def make_frame(energy, centre, covariance, starts, exponent, momentum=1.0, top=None):
    """The frame of states whose amplitudes fall as `extent` says, from starts, and with a mean square momentum."""
    centre, axes, curvature = gaussian_frame(energy, centre, covariance)
    variance = along(axes, covariance)
    # The curvature is exact for an oscillator; on average it may be negative, and phase space then sets the width.
    curvature = np.maximum(curvature, 0.25 * momentum / variance)
    scale = 1 / np.sqrt(curvature if top is None else 2 * np.sqrt(curvature))
    reach = extent(energy, centre, axes, np.sqrt(variance), starts, top, exponent)
    # The basis stands in the middle of the states' reach where that is plainly lopsided.
    shift = (reach[:, 0] - reach[:, 1]) / 2
    shift = np.where(np.abs(shift) > 0.15 * reach.mean(axis=1), shift, 0)
    return Frame(centre + axes @ shift, axes, scale, np.maximum(reach[:, 0] - shift, reach[:, 1] + shift))


def along(axes, covariance):
    """Variances along the axes."""
    return np.einsum("ij,ik,kj->j", axes, covariance, axes)


def gaussian_frame(energy, centre, covariance):
    """Centre, axes and curvatures of the harmonic function that fits best on average over a Gaussian.

    Mean force and curvature come from the energies alone, by integration by parts.
    """
    dim = len(centre)
    nodes, weights = np.polynomial.hermite_e.hermegauss(7 if dim <= 4 else 3)
    normal = np.stack(np.meshgrid(*[nodes] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    weights = functools.reduce(np.multiply.outer, [weights / weights.sum()] * dim).ravel()
    axes = eigen_axes(covariance)[1]
    for _ in range(12):
        width = np.sqrt(along(axes, covariance))
        values = energy(centre + (normal * width) @ axes.T)
        if not np.isfinite(values).all():
            return centre, np.eye(dim), np.zeros(dim)
        weighted = weights * (values - values.min())
        force = normal.T @ weighted / width
        second = (normal * weighted[:, None]).T @ normal - weighted.sum() * np.eye(dim)
        last = axes
        curvature, axes = eigen_axes(axes @ (second / np.outer(width, width)) @ axes.T)
        if curvature.min() <= 0:
            break
        centre = centre - axes @ ((axes.T @ (last @ force)) / curvature)
    return centre, axes, curvature


def eigen_axes(matrix):
    """Eigenvalues and axes of a symmetric matrix; a nearly diagonal one counts as diagonal."""
    matrix = (matrix + matrix.T) / 2
    size = np.sqrt(np.abs(np.outer(np.diag(matrix), np.diag(matrix))))
    return np.linalg.eigh(np.where(np.abs(matrix) < 0.02 * size, np.diag(np.diag(matrix)), matrix))


def extent(energy, centre, axes, width, starts, top, exponent):
    """Distances from the centre, forth and back along the axes, at which amplitudes are down by exp(−exponent); (d, 2).

    Amplitudes fall as √ρ, or, with an energy `top`, as exp(−∫√(2(U − top))), along lines through the starts.
    """
    starts = np.concatenate([centre[None], starts[:: max(1, len(starts) // 24)]])
    reach = np.zeros((len(width), 2))
    for i, direction in enumerate(axes.T):
        steps = width[i] * np.append(0, np.geomspace(0.05, 100, 80))
        for side, sign in enumerate((1, -1)):
            lines = starts[:, None] + sign * steps[:, None] * direction
            values = energy(lines.reshape(-1, len(width))).reshape(len(starts), -1)
            if top is None:
                decay = (values - values.min()) / 2
            else:
                speed = np.minimum(np.sqrt(2 * np.maximum(values - top, 0)), 1e100)
                decay = np.cumsum((speed[:, 1:] + speed[:, :-1]) / 2 * np.diff(steps), axis=1)
                decay = np.column_stack([np.zeros(len(starts)), decay])
            last = len(steps) - 1 - np.argmax((decay < exponent)[:, ::-1], axis=1)
            ends = steps[np.minimum(last + 1, len(steps) - 1)]
            reach[i, side] = (sign * ((starts - centre) @ direction) + ends).max()
    return reach


def continuum(energy, centre, covariance):
    """Where the continuous spectrum of a density begins, ∞ if nowhere; warns unless it is ∞.

    Along a ray with log ρ ~ −κ r the potential tends to κ²/8. Steeper tails confine; with flatter ones it tends to 0.
    """
    dim = len(centre)
    directions = np.concatenate([np.eye(dim), ndtri(evenly_spread(32, dim))])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions = np.concatenate([directions, -directions])
    width = np.sqrt(np.trace(covariance))
    values = [energy(centre + r * width * directions) for r in (32, 64, 128)]
    light = ~np.isfinite(values).all(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        inner, outer = (values[1] - values[0]) / (32 * width), (values[2] - values[1]) / (64 * width)
        power = np.where(light | (inner <= 0), np.inf, np.log2(outer / inner))
    if (power > 0.05).all():
        return math.inf
    threshold = 0.0 if (power < -0.05).any() else float((outer[power <= 0.05] ** 2).min() / 8)
    warnings.warn(
        f"The density's tails are too heavy for a discrete spectrum: it is continuous above {threshold:.6g}. Levels "
        "that are not found below are NaN.",
        UserWarning,
        stacklevel=4,
    )
    return threshold
