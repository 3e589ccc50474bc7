"""The correction for other trainers: two functions that stand alone and can be pasted into any loop in torch."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def perturbed_kl(
    mu: "torch.Tensor", logvar: "torch.Tensor", field_values: "torch.Tensor", coupling: "float | torch.Tensor"
) -> "torch.Tensor":
    """KL(N(μ, σ²) ‖ N(λ u, 1)) of every example in nats: what takes the place of the usual KL term of the loss.

    The prior is the ground state of the oscillator in a field that pulls at the latent, N(λ u(x), I); at λ = 0 it is
    the plain prior and this the usual term. The same as `vaept.perturbation.potentials.Dipole`.

    Parameters
    ----------
    mu, logvar : tensor, shape (n, d)
        Mean and logarithm of the variance of the posteriors.
    field_values : tensor, shape (n, d)
        u(x) of the same examples, of mean 0 and variance 1 over the training data; the same for every run.
    coupling : float or tensor of shape (d,)
        λ; times the strength of the moment, as from `switched_off`.

    Returns
    -------
    tensor, shape (n,)

    Examples
    --------
    >>> perturbed_kl(torch.zeros(3, 2), torch.zeros(3, 2), torch.ones(3, 2), 2.0)
    tensor([4., 4., 4.])
    """
    return 0.5 * ((mu - coupling * field_values) ** 2 + logvar.exp() - logvar - 1).sum(-1)


def switched_off(
    progress: "float", *, warm_start: "float" = 0.1, fade: "float" = 0.1, switch_off: "float" = 0.5
) -> "tuple[float, float]":
    """Weight of the reconstruction and strength of the field when a fraction of the training is done.

    The weight rises from 0 to 1 until `warm_start`; the strength is 1 until `fade`, then falls, and is 0 from
    `switch_off` on, so that the training ends as that of the plain model. The same as `vaept.perturbation.Schedule`.

    Parameters
    ----------
    progress : float
        From 0 to 1.
    warm_start, fade, switch_off : float
        Fractions of the training, with 0 ≤ fade < switch_off.

    Returns
    -------
    weight, strength : float
        From 0 to 1.

    Examples
    --------
    >>> [switched_off(progress) for progress in (0.05, 0.3, 0.9)]
    [(0.5, 1.0), (1.0, 0.5), (1.0, 0.0)]
    """
    weight = min(1.0, progress / warm_start) if warm_start else 1.0
    return weight, min(1.0, max(0.0, (switch_off - progress) / (switch_off - fade)))
