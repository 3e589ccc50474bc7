r"""Free energies F = −log ρ of latent densities, with their gradients and Hessians.

F is in units of kT, ρ a density on ℝᵈ known up to a factor; points have shape (n, d). A mixture of Gaussians is
evaluated by cells of space, each of which knows the components that matter in it; any other energy is a function in
torch, differentiated automatically.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch

from vaept import arguments
from vaept.errors import InputError
from vaept.landscape.density import AggregatePosterior

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

MAX_CELL_DIM = 3  # above it, cells are too many to be shared by points
MIN_CELL_COMPONENTS = 1000
MAX_DIM = 1000  # of a function: a point's Hessian takes as many derivatives
CELL_MEMORY = 2**25  # numbers held in cells


class FreeEnergy:
    """F = −log ρ with its gradient and Hessian.

    Parameters
    ----------
    source : AggregatePosterior or callable
        A mixture of Gaussians, with exact derivatives. In up to three dimensions, components that carry less than
        10⁻¹² of the density are left out. Or a function in torch that maps a tensor (n, d) of float64 to energies
        (n,), each a twice differentiable function of its own row.
    dim : int, optional
        d; needed for a function, at most 1 000.
    bounds : pair of arrays of shape (d,), optional
        Corners of the box in which points are sensible; searches that leave it are given up. Without it: of a
        mixture the box of all components, eight standard deviations wide; of a function as the searches need it.

    Attributes
    ----------
    dim : int
    bounds : ndarray of shape (2, d), or None

    Raises
    ------
    InputError
        If an argument is of the wrong kind. The methods raise it if points are no finite (m, d) array, or if the
        energy has the wrong shape, is not finite or cannot be differentiated.

    Examples
    --------
    >>> energy = FreeEnergy(double_well(barrier=3.0), dim=2)
    >>> energy([[0.0, 0.0], [1.0, 0.0]])
    array([3., 0.])
    """

    def __init__(
        self,
        source: "AggregatePosterior | Callable[[torch.Tensor], torch.Tensor]",
        dim: "int | None" = None,
        *,
        bounds: "ArrayLike | None" = None,
    ) -> "None":
        if isinstance(source, AggregatePosterior):
            self._terms, self.dim = _Mixture(source), source.mean.shape[1]
            if dim is not None and arguments.integer(dim, "dim", 1) != self.dim:
                raise InputError(f"The mixture has {self.dim} dimensions, not dim = {dim}.")
            reach = 8 * np.sqrt(source.variance)
            self.bounds: "np.ndarray | None" = np.array([(source.mean - reach).min(0), (source.mean + reach).max(0)])
        else:
            arguments.function(source, "source, if it is no AggregatePosterior,", "a tensor (n, d)")
            self.dim = arguments.integer(dim, "dim", 1, MAX_DIM)
            self._terms, self.bounds = _Function(source), None  # type: ignore[assignment]
        if bounds is not None:
            self.bounds = arguments.array(bounds, "bounds", shape=(2, self.dim))
            if not (self.bounds[0] < self.bounds[1]).all():
                raise InputError(f"bounds must be two corners of shape ({self.dim},), the lower one first.")

    def __call__(self, points: "ArrayLike") -> "np.ndarray":
        """F at points (m, d); shape (m,)."""
        return self._evaluate(points, 0)[0]

    def gradient(self, points: "ArrayLike") -> "np.ndarray":
        """∇F at points (m, d); shape (m, d)."""
        return self._evaluate(points, 1)[1]

    def expansion(self, points: "ArrayLike") -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
        """F, ∇F and ∇∇F at points (m, d); shapes (m,), (m, d), (m, d, d)."""
        return self._evaluate(points, 2)

    def _evaluate(self, points, order):
        z = arguments.points(points, "points", self.dim)
        arguments.memory(len(z) * self.dim**order, "The derivatives of the energy")
        parts = self._terms(z, order)
        for part in parts:
            bad = ~np.isfinite(part).reshape(len(z), -1).all(axis=1)
            if bad.any():
                raise InputError(
                    f"The energy or a derivative of it is not finite at {z[bad][0].tolist()}. Give an energy that is "
                    "finite and twice differentiable wherever the searches go, or bounds that keep them away."
                )
        return parts


class _Mixture:
    """−log q of an AggregatePosterior, by cells that know the components that matter in them."""

    def __init__(self, mixture):
        self.mixture = mixture
        n, d = mixture.mean.shape
        self.in_cells = d <= MAX_CELL_DIM and n >= MIN_CELL_COMPONENTS
        self.width = 2 * np.median(np.sqrt(mixture.variance))
        self.cells, self.held = {}, 0

    def __call__(self, z, order):
        if not self.in_cells:
            return [-part for part in self.mixture.derivatives(z, order)]
        n, d = z.shape
        parts = [np.empty((n, *(d,) * k)) for k in range(order + 1)]
        keys, cell_of = np.unique(np.floor(z / self.width), axis=0, return_inverse=True)
        by_cell = np.argsort(cell_of.ravel(), kind="stable")
        for key, rows in zip(keys, np.split(by_cell, np.cumsum(np.bincount(cell_of.ravel()))[:-1]), strict=True):
            mixture, centre, shift = self._cell(key)
            for part, own in zip(parts, mixture.derivatives(z[rows] - centre, order), strict=True):
                part[rows] = -own
            parts[0][rows] += shift
        return parts

    def _cell(self, key):
        """Components of a cell around its centre as origin, the centre, and −log of the share of all components."""
        name = tuple(key)
        if name not in self.cells:
            if self.held > CELL_MEMORY:
                self.cells, self.held = {}, 0
            low, mean = key * self.width, self.mixture.mean
            rows, centre = self.mixture.near(low, low + self.width), low + self.width / 2
            local = AggregatePosterior(mean[rows] - centre, self.mixture.variance[rows])
            self.cells[name] = local, centre, np.log(len(mean) / len(rows))
            self.held += 4 * local.mean.size + len(rows)
        return self.cells[name]


class _Function:
    """A torch function and its derivatives by automatic differentiation."""

    def __init__(self, function):
        self.function = function

    def __call__(self, z, order):
        # Also where the caller has switched gradients off.
        with torch.inference_mode(False), torch.enable_grad():
            x = torch.tensor(np.ascontiguousarray(z), dtype=torch.float64, requires_grad=True)
            try:
                value = self.function(x)
            except (RuntimeError, TypeError) as error:  # as numpy's functions raise
                raise InputError(f"The energy must be computed in torch ({arguments.printable(error)}).") from error
            if not isinstance(value, torch.Tensor) or value.shape != (len(z),):
                found = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
                raise InputError(f"The energy must map a tensor {z.shape} to a tensor ({len(z)},); it gave {found}.")
            if not (value.requires_grad and value.is_floating_point()):
                raise InputError(
                    "The energy must be real and computed in torch from its argument, to be differentiated."
                )
            value = value.double()
            parts = [value]
            if order:
                # The empty term keeps derivatives that do not depend on the point differentiable once more.
                total = value.sum() + 0 * (x**2).sum() if order > 1 else value.sum()
                gradient = torch.autograd.grad(total, x, create_graph=order > 1)[0]
                parts.append(gradient)
            if order > 1:
                rows = [torch.autograd.grad(column.sum(), x, retain_graph=True)[0] for column in gradient.T]
                hessian = torch.stack(rows, dim=1)
                parts.append((hessian + hessian.transpose(1, 2)) / 2)
        return tuple(part.detach().numpy() for part in parts)


def checked(energy: "FreeEnergy") -> "FreeEnergy":
    """The energy itself, if it is a `FreeEnergy`."""
    if not isinstance(energy, FreeEnergy):
        raise InputError(
            f"energy must be a FreeEnergy; it is {arguments.brief(energy)}. Make one: FreeEnergy(function, dim)."
        )
    return energy
