"""Latents of encoders that others trained: anything that gives a mean, and perhaps a variance, for each example."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from vaept import arguments
from vaept.errors import InputError
from vaept.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Any

    from numpy.typing import ArrayLike

MEANS = ("mu", "mean", "z_mean", "loc", "embedding")  # what results call the posterior's mean
SECOND = {"logvar": lambda values: values, "variance": np.log, "std": lambda values: 2 * np.log(values)}
SPREADS = {"logvar": ("logvar", "log_var", "z_log_var", "log_covariance"), "variance": ("variance", "var")}
SPREADS |= {"std": ("std", "scale", "stddev")}  # what results call its spread


@dataclass(frozen=True, eq=False)
class Latents:
    """Latents of n examples under one trained encoder.

    Attributes
    ----------
    mu : ndarray of float64, shape (n, d)
        Posterior means.
    logvar : ndarray of float64, shape (n, d), or None
        Logarithms of the posterior variances, where the encoder gives them.

    Examples
    --------
    >>> Latents(np.zeros((5, 2))).logvar is None
    True
    """

    mu: np.ndarray
    logvar: np.ndarray | None = None

    def save(
        self, path: "str | Path", *, labels: "ArrayLike | None" = None, names: "Sequence[str] | None" = None
    ) -> "None":
        """Write an .npz that `vaept report` reads, with integer labels (n,) and different names (n,) if given.

        Raises
        ------
        InputError
            If their numbers are not n, or the file cannot be written.
        """
        parts = {"mu": self.mu} | ({} if self.logvar is None else {"logvar": self.logvar})
        if labels is not None:
            parts["y"] = arguments.labels(labels, "labels", len(self.mu))
        if names is not None:
            parts["names"] = np.asarray(names).astype(str)
            if parts["names"].shape != (len(self.mu),) or len(set(parts["names"])) < len(self.mu):
                raise InputError(f"names must be {len(self.mu)} different ones.")
        content = io.BytesIO()
        np.savez(content, **parts)  # type: ignore[arg-type]
        write_bytes(path, content.getvalue())


def from_encoder(
    encode: "Callable[[Any], object]",
    data: "np.ndarray | torch.Tensor | Sequence[Any]",
    *,
    second: "str" = "logvar",
    batch_size: "int" = 1000,
) -> "Latents":
    """The posterior means and variances that a trained encoder gives for data.

    Parameters
    ----------
    encode : callable
        Takes a batch, shape (b, …), and returns the mean, shape (b, d); or a tuple or list of it and a measure of
        spread of the same shape (what follows, such as a sample, is not used); or an object or mapping that has them
        under names such as mu and logvar, loc and scale, embedding and log_covariance. A torch module, or a method of
        one, is given float32 tensors on its device, without gradients and in evaluation mode; anything else arrays.
    data : array, shape (n, …)
        Passed on in batches, as it is.
    second : {"logvar", "variance", "std"}
        What the second of a tuple is.
    batch_size : int

    Returns
    -------
    Latents

    Raises
    ------
    InputError
        If `encode` returns something else, another number of rows, what is not finite, variances that are not
        positive, or for the same batch something else each time (a sample instead of the mean).

    Examples
    --------
    >>> found = from_encoder(lambda x: (x[:, :2], np.full((len(x), 2), 0.25)), np.eye(5), second="variance")
    >>> found.mu.shape, np.exp(found.logvar[0])
    ((5, 2), array([0.25, 0.25]))
    """
    if not callable(encode):
        raise InputError(f"encode must be a function or a torch module; it is {arguments.brief(encode)}.")
    second, step = arguments.choice(second, "second", SECOND), arguments.integer(batch_size, "batch_size", 1)
    if not hasattr(data, "__getitem__") or not len(data):
        raise InputError("data must be an array of at least one example.")
    module = encode if isinstance(encode, torch.nn.Module) else getattr(encode, "__self__", None)
    run = _of_module(encode, module) if isinstance(module, torch.nn.Module) else encode
    first = _parts(run(data[:step]), second)
    again = _parts(run(data[:step]), second)[0]
    if again.shape != first[0].shape or not np.allclose(again, first[0], rtol=1e-3, atol=1e-6, equal_nan=True):
        raise InputError("encode gives other latents each time: it must return the posterior's mean, not a sample.")
    found = [first] + [_parts(run(data[start : start + step]), second) for start in range(step, len(data), step)]
    mu = np.concatenate([mean for mean, _ in found])
    if len(mu) != len(data):
        raise InputError(f"encode gave {len(mu)} rows for {len(data)} examples; it must give one for each.")
    logvar = None if first[1] is None else np.concatenate([spread for _, spread in found])
    mu = arguments.points(mu, "the means that encode gives")
    if logvar is not None:
        logvar = arguments.array(logvar, "the spreads that encode gives", shape=mu.shape)
    return Latents(mu, logvar)


def _of_module(encode, module):
    """`encode` for arrays, with its module in evaluation mode while it runs."""
    device = next((each.device for each in module.parameters()), torch.device("cpu"))

    def run(batch):
        training = module.training
        module.eval()
        try:
            with torch.no_grad():
                return encode(torch.tensor(np.asarray(batch), dtype=torch.float32, device=device))
        finally:
            module.train(training)

    return run


def _parts(result, second):
    """Mean and logarithm of the variance, or None, of what an encoder returned for a batch, as arrays (b, d)."""
    get = result.get if isinstance(result, Mapping) else lambda name: getattr(result, name, None)
    spreads = {
        kind: value for kind, names in SPREADS.items() for name in names if (value := _given(get, name)) is not None
    }
    mean = next((value for name in MEANS if (value := _given(get, name)) is not None), None)
    if mean is not None:
        kind, spread = next(iter(spreads.items()), (None, None))
    elif isinstance(result, tuple | list):
        mean, spread, kind = *(*result, None, None)[:2], second  # type: ignore[misc]
    else:
        mean, spread = result, None
    mean = _array(mean)
    if spread is None:
        return mean, None
    spread = _array(spread)
    if kind != "logvar" and not (spread > 0).all():
        raise InputError(f'What encode gives as {kind} must be positive; logarithms are second="logvar".')
    return mean, SECOND[kind](spread)


def _given(get, name):
    """What a result has under a name, unless it is a method, as `mean` is of an array."""
    value = get(name)
    return None if callable(value) else value


def _array(values):
    """What an encoder returned as an array (b, d) of float64."""
    values = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.empty(())
    if found.ndim != 2:
        raise InputError(f"encode must return arrays of shape (b, d); it returned {arguments.brief(values)}.")
    return found
