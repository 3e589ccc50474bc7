r"""The flow whose stable points are the stationary points of an energy with a given index.

It is the steepest descent with the gradient reversed along the k lowest eigenvectors of the Hessian (E & Zhou 2011,
Nonlinearity 24, 1831), followed in steps that solve the flow of the local quadratic expansion exactly (Page & McIver
1988, J. Chem. Phys. 88, 922): near the end they are Newton's. Points have shape (n, d); all searches run at once.
Paths without known saddles start from a string of images (E, Ren & Vanden-Eijnden 2007, J. Chem. Phys. 126, 164103).
"""

from dataclasses import dataclass

import numpy as np

from vaept.errors import InputError

FLAT = 1e-6  # curvatures that are smaller than this times the largest count as zero
STEP_TOLERANCE = 1e-9  # Newton's step at a stationary point, times the size of the region


@dataclass(frozen=True, eq=False)
class Region:
    """The box that searches may not leave, and the size of the region of interest."""

    low: np.ndarray
    high: np.ndarray
    size: float

    @classmethod
    def around(cls, energy, points, name):
        size = float(np.ptp(points, axis=0).max())
        if energy.bounds is None:
            size = size or 1.0
            return cls(points.min(0) - size, points.max(0) + size, size)
        outside = ((points < energy.bounds[0]) | (points > energy.bounds[1])).any(axis=1)
        if outside.any():
            raise InputError(
                f"{name} must lie within the bounds of the energy, from {energy.bounds[0].tolist()} to "
                f"{energy.bounds[1].tolist()}; {outside.sum()} do not, the first is {points[outside][0].tolist()}."
            )
        return cls(*energy.bounds, size or float(np.ptp(energy.bounds, axis=0).max()))

    def holds(self, points):
        return ((points >= self.low) & (points <= self.high)).all(axis=1)


@dataclass(frozen=True, eq=False)
class Flow:
    """Where searches ended, which of them at a stationary point, and the points on their ways if recorded."""

    points: np.ndarray
    done: np.ndarray
    trails: list

    @property
    def arrived(self):
        return self.points[self.done]


def follow(energy, points, index, region, n_steps, *, longest=0.1, record=False):
    """Follow the flow whose stable points have the given index, from points (n, d).

    A step is refused if the gradient after it is not near what the expansion foretold; steps grow and shrink
    accordingly, up to `longest` times the size of the region. Recorded ways, which are results, take a closer look.
    """
    allowed = 0.1 if record else 0.5
    z = points.copy()
    n, d = z.shape
    if not n:
        return Flow(z, np.zeros(0, dtype=bool), [])
    radius = np.full(n, 0.5 * longest * region.size)
    sign = np.where(np.arange(d) < index, -1.0, 1.0)
    done, active = np.zeros(n, dtype=bool), np.arange(n)
    trails = [[point] for point in points] if record else []
    _, gradient, hessian = energy.expansion(z)
    for _ in range(n_steps):
        curvatures, axes = np.linalg.eigh(hessian[active])
        slopes = np.einsum("nij,ni->nj", axes, gradient[active])
        steepest = np.abs(curvatures).max(axis=1, keepdims=True)
        newton = slopes / np.maximum(np.abs(curvatures), np.maximum(FLAT * steepest, 1e-300))
        arrived = np.linalg.norm(newton, axis=1) <= STEP_TOLERANCE * region.size
        last = np.einsum("nij,nj->ni", axes, np.where(curvatures > 0, -1, 1) * newton)
        z[active[arrived]] += last[arrived]
        done[active[arrived]] = True
        active, curvatures, axes, slopes = (part[~arrived] for part in (active, curvatures, axes, slopes))
        if not len(active):
            break
        along = quadratic_flow(sign * slopes, sign * curvatures, radius[active])
        step = np.einsum("nij,nj->ni", axes, along)
        inside = region.holds(z[active] + step) & (radius[active] > 1e-12 * region.size)
        active, step = active[inside], step[inside]
        if not len(active):
            break
        _, new_gradient, new_hessian = energy.expansion(z[active] + step)
        foretold = gradient[active] + np.einsum("nij,nj->ni", hessian[active], step)
        larger = np.maximum(np.linalg.norm(gradient[active], axis=1), np.linalg.norm(new_gradient, axis=1))
        error = np.linalg.norm(new_gradient - foretold, axis=1) / np.maximum(larger, 1e-300)
        radius[active] *= np.clip(0.7 * np.sqrt(allowed / np.maximum(error, 1e-12)), 0.3, 2)
        radius = np.minimum(radius, longest * region.size)
        good = error <= allowed
        moved = active[good]
        z[moved] += step[good]
        gradient[moved], hessian[moved] = new_gradient[good], new_hessian[good]
        if record:
            for row in moved:
                trails[row].append(z[row].copy())
    if record:
        for row in np.flatnonzero(done):
            trails[row].append(z[row].copy())
    return Flow(z, done, trails)


def quadratic_flow(slopes, curvatures, longest):
    """Displacement s_k = −slope_k (1 − exp(−c_k t))/c_k, with t → ∞ or such that its length is `longest`."""

    def at(log_time):
        time = np.exp(log_time)[:, None]
        exponent = np.maximum(curvatures * time, -300)
        small = np.abs(exponent) < 1e-9
        return -slopes * np.where(small, time, -np.expm1(-exponent) / np.where(small, 1, curvatures))

    low = np.log(longest / np.maximum(np.linalg.norm(slopes, axis=1), 1e-100)) - 40
    high = low + 80
    for _ in range(25):
        middle = (low + high) / 2
        too_long = np.linalg.norm(at(middle), axis=1) > longest
        low, high = np.where(too_long, low, middle), np.where(too_long, middle, high)
    return at(low)


def relaxed_string(energy, a, b, n_images):
    """Images from a to b, evenly spaced, each at rest across the direction of the string; shape (n_images, d)."""
    images = np.linspace(a, b, n_images)
    for _ in range(200):
        tangent = images[2:] - images[:-2]
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        _, gradient, hessian = energy.expansion(images[1:-1])
        along = tangent[:, :, None] * tangent[:, None]
        across = np.eye(len(a)) - along
        # A stiff spring along the path takes that direction out of the expansion.
        stiff = np.linalg.norm(hessian, axis=(1, 2))[:, None, None] * along
        curvatures, axes = np.linalg.eigh(across @ hessian @ across + stiff)
        slopes = np.einsum("nij,njk,nk->ni", axes.transpose(0, 2, 1), across, gradient)
        spacing = np.linalg.norm(np.diff(images, axis=0), axis=1).mean()
        step = np.einsum("nij,nj->ni", axes, quadratic_flow(slopes, curvatures, np.full(len(slopes), spacing / 2)))
        images[1:-1] += step
        images = evenly_spaced(images, n_images)
        if np.linalg.norm(step, axis=1).max() < 0.01 * spacing:
            break
    return images


def evenly_spaced(images, n):
    """n points with equal distances along the straight pieces between images (m, d); shape (n, d)."""
    length = np.append(0, np.cumsum(np.linalg.norm(np.diff(images, axis=0), axis=1)))
    places = np.linspace(0, length[-1], n)
    return np.stack([np.interp(places, length, column) for column in images.T], axis=1)
