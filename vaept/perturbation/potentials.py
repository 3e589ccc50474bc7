"""Potentials: what is added to the prior's oscillator while a model is trained.

A potential V turns the prior N(0, I), the ground state of H₀, into the normalised ground state p_s(z|u) of H₀ + sV.
Its strength s runs from 0, the plain prior, to 1. With p_s the objective of training stays an exact lower bound on
log p(x|u), and the cost of the potential is read off as a difference of two KL divergences. A potential has one method,
`kl`; a new one is a class here and an entry of `POTENTIALS`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from vaept import arguments
from vaept.errors import InputError

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import ArrayLike


class Dipole(nn.Module):
    """A field u(x) pulls at the latent: V = −¼ Σ_k c_k u_k(x) z_k, up to a constant.

    The ground state of H₀ + sV, with H₀ of `vaept.spectrum.oscillator`, is N(s c⊙u(x), I): the bowl |z|²/8, moved.

    Parameters
    ----------
    coupling : tensor, shape (d,)
        c_k = λ ε_k, the strength of the pull on each coordinate.
    """

    needs_field = True

    def __init__(self, coupling):
        super().__init__()
        self.register_buffer("coupling", coupling)

    def kl(self, posterior, z, noise, field, strength):
        """KL(q(z|x) ‖ p_s(z|u)) in nats, exact.

        Parameters
        ----------
        posterior : vaept.vae.model.Posterior
            Of n images.
        z, noise : tensor, shape (n, d)
            A sample and the noise that it was made from; not used here, other potentials need them.
        field : tensor, shape (n, d)
            u(x) of the same images.
        strength : float
            s, from 0 to 1.

        Returns
        -------
        tensor, shape (n,)
        """
        return posterior.kl(strength * self.coupling * field)


class Wells(nn.Module):
    """Wells that are learned with the model and know nothing of x: V(z) alone.

    p_s(z) = Σ_k w_k N(z; s c⊙m_k, I) is normalised for every strength and equals the plain prior at s = 0. Weights w_k
    and centres m_k are learned. A mixture as a prior: Tomczak & Welling 2018.

    Parameters
    ----------
    coupling : tensor, shape (d,)
        c, the scale of the centres.
    """

    needs_field = False
    WELLS = 10

    def __init__(self, coupling):
        super().__init__()
        self.register_buffer("coupling", coupling)
        self.centres = nn.Parameter(torch.zeros(self.WELLS, len(coupling), dtype=torch.float32))
        self.logits = nn.Parameter(torch.zeros(self.WELLS, dtype=torch.float32))

    def initialise(self, generator):
        """Draw the centres from the plain prior; equal weights."""
        with torch.no_grad():
            self.centres.normal_(generator=generator)
            self.logits.zero_()

    def log_density(self, z, strength=1.0):
        """log p_s(z) in nats for z of shape (…, d); shape (…)."""
        distance = ((z.unsqueeze(-2) - strength * self.coupling * self.centres) ** 2).sum(-1)
        log_weights = self.logits.log_softmax(-1)
        return (log_weights - 0.5 * distance).logsumexp(-1) - 0.5 * z.shape[-1] * math.log(2 * math.pi)

    def kl(self, posterior, z, noise, field, strength):
        """log q(z|x) − log p_s(z) at the sample z: an unbiased estimate of the KL divergence, shape (n,)."""
        return posterior.log_density(noise) - self.log_density(z, strength)


MAX_DIM = 10_000
POTENTIALS = {"dipole": Dipole, "wells": Wells}


@dataclass(frozen=True)
class Schedule:
    """When the reconstruction is turned on and the potential off, as fractions of the training.

    Attributes
    ----------
    warm_start : float
        Over this first part the weight of the reconstruction rises linearly from 0 to 1. Training then starts in
        the ground state of H₀ + V, which is known exactly, and leaves it slowly; 0: the weight is 1 from the start.
    fade : float, optional
        From here on the strength of the potential falls linearly; None: it drops at once at `switch_off`.
    switch_off : float, optional
        From here on the strength is exactly 0, so that the final objective is that of the plain model; None: it
        stays 1 to the end.

    Raises
    ------
    InputError
        If 0 ≤ warm_start < 1 and 0 ≤ fade ≤ switch_off < 1 do not hold: the schedule would not come to its end.

    Examples
    --------
    >>> schedule = Schedule(warm_start=0.2, fade=0.25, switch_off=0.75)
    >>> schedule.reconstruction_weight(0.1), schedule.strength(0.5)
    (0.5, 0.5)
    """

    warm_start: float = 0.0
    fade: float | None = None
    switch_off: float | None = None

    def __post_init__(self) -> "None":
        for name in ("warm_start", "fade", "switch_off"):
            if name == "warm_start" or getattr(self, name) is not None:
                object.__setattr__(self, name, arguments.number(getattr(self, name), name, 0, below=1))
        given = [v for v in (self.fade, self.switch_off) if v is not None]
        if given != sorted(given):
            raise InputError(
                "A schedule needs 0 ≤ warm_start < 1 and 0 ≤ fade ≤ switch_off < 1, fractions of the training, or it "
                f"never comes to its end; it has {self.warm_start!r}, {self.fade!r}, {self.switch_off!r}."
            )
        if self.fade is not None and self.switch_off is None:
            raise InputError(f"A schedule with fade={self.fade!r} needs switch_off=, where the field is gone.")

    @classmethod
    def of(cls, schedule: "Schedule | str | Mapping[str, Any]") -> "Schedule":
        """The schedule itself, or that of a name in `SCHEDULES`, or one made from a mapping of its attributes."""
        if isinstance(schedule, cls):
            return schedule
        if isinstance(schedule, str) and schedule in SCHEDULES:
            return SCHEDULES[schedule]
        if isinstance(schedule, Mapping) and set(schedule) <= set(cls.__dataclass_fields__):
            return cls(**schedule)
        raise InputError(f"schedule must be a Schedule or one of {', '.join(SCHEDULES)}; it is {schedule!r}.")

    def reconstruction_weight(self, progress: "float") -> "float":
        """Weight of the reconstruction when this fraction of the training is done."""
        return min(1.0, progress / self.warm_start) if self.warm_start else 1.0

    def strength(self, progress: "float") -> "float":
        """Strength of the potential when this fraction of the training is done; 1 is the end."""
        if self.switch_off is None or progress < (self.switch_off if self.fade is None else self.fade):
            return 1.0
        return (self.switch_off - progress) / (self.switch_off - self.fade) if progress < self.switch_off else 0.0  # type: ignore[operator]


SCHEDULES = {"constant": Schedule(), "adiabatic": Schedule(0.1), "switch-off": Schedule(0.1, 0.1, 0.5)}


def couplings(coupling: "ArrayLike", latent_dim: "int") -> "tuple[float, ...]":
    """The strength of the potential on each coordinate, λ ε_k.

    Parameters
    ----------
    coupling : float or sequence of float
        λ ≥ 0, for which ε_k falls evenly from 1.1 to 0.9 over the coordinates (1 if there is one); or λ ε_k itself.
    latent_dim : int
        d.

    Returns
    -------
    tuple of float, of length d

    Raises
    ------
    InputError
        If a value is negative or not finite, or their number is not d.
    """
    latent_dim = arguments.integer(latent_dim, "latent_dim", 1, MAX_DIM)
    values = arguments.array(coupling, "coupling", shape=[(), (latent_dim,)], minimum=0)
    if values.ndim or latent_dim == 1:
        return tuple(values.ravel().tolist())
    return tuple(float(values) * (1.1 - 0.2 * k / (latent_dim - 1)) for k in range(latent_dim))
