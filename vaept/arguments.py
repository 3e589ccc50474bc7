"""Checks of arguments: each takes what a user gave and returns it in the type that the package works with, or refuses.

They are called once, where an argument enters the package. A value that has that type already passes bit for bit
unchanged, so nothing here decides a number. Tensors, also such as need a gradient, lists, tables and masked arrays
without masked values are read as arrays; complex numbers without an imaginary part as real ones. Every refusal is an
`InputError` that says what was given, what is needed and, where it is not plain, what to do.
"""

import math
import numbers
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vaept.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    import torch
    from numpy.typing import DTypeLike

LARGEST = 1e100  # in size, of any number: its square and cube are still finite
LARGEST_SEED = 2**32 - 1  # what numpy, scikit-learn and torch all take
ROUNDING = 1e-6  # how far beyond 0 and 1 a rescaling in single precision may leave a value
LONGEST_NAME = 255  # bytes, of a file
LARGEST_PIXEL = 1e15  # of images that need not lie in [0, 1]: sums of their squares are finite in single precision
MOST_NUMBERS = 2**28  # in one array: 2 GiB
REAL = "fiub"  # kinds of dtype that hold real numbers


def integer(value: "Any", name: "str", minimum: "int | None" = None, maximum: "int | None" = None) -> "int":
    """An int from `minimum` to `maximum`, both included, of anything that counts as an integer (no bool, no 2.0)."""
    given, value = value, _scalar(value)
    whole = not isinstance(value, bool) and hasattr(value, "__index__")
    if not whole or not _within(int(value), minimum, maximum):
        raise InputError(f"{name} must be an integer{_limits(minimum, maximum)}; it is {brief(given)}.")
    return int(value)


def integers(
    value: "Any", name: "str", minimum: "int | None" = 1, maximum: "int | None" = None, *, fewest: "int" = 1
) -> "tuple[int, ...]":
    """A tuple of integers from `minimum` to `maximum`, such as the sides of an image; of a single integer too."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, list | tuple | range):
        return (integer(value, name, minimum, maximum),)
    if len(value) < fewest:
        raise InputError(f"{name} must hold at least {fewest} integers; it holds {len(value)}.")
    return tuple(integer(each, f"{name}[{place}]", minimum, maximum) for place, each in enumerate(value))


def number(
    value: "Any",
    name: "str",
    minimum: "float | None" = None,
    maximum: "float | None" = None,
    *,
    above: "float | None" = None,
    below: "float | None" = None,
) -> "float":
    """A finite float within limits: `minimum` and `maximum` may be reached, `above` and `below` may not."""
    given, value = value, _scalar(value)
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    inside = real and abs(value) <= LARGEST and _within(value, minimum, maximum)
    if inside and (above is None or value > above) and (below is None or value < below):
        return float(value)
    limits = _limits(minimum, maximum)
    limits += _limits(above, below, "above {}", "below {}", "between {} and {}, both excluded")
    limits = limits or f" of at most {LARGEST:g} in size"
    raise InputError(f"{name} must be a finite number{limits}; it is {brief(given)}.")


def seed(value: "Any", name: "str" = "seed") -> "int":
    """An int that every random generator in use takes: from 0 to 2³² − 1."""
    return integer(value, name, 0, LARGEST_SEED)


def choice(value: "Any", name: "str", known: "Iterable[str]") -> "str":
    """The value itself, if it is one of the `known` words."""
    if not (isinstance(value, str) and value in known):
        raise InputError(f"{name} must be one of {', '.join(map(str, known))}; it is {brief(value)}.")
    return value


def instance(value: "Any", name: "str", kind: "type | tuple[type, ...]") -> "Any":
    """The value itself, if it is an object of a class of this package, or of one of several."""
    if not isinstance(value, kind):
        kinds = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise InputError(f"{name} must be of the class {kinds}; it is {brief(value, 40)} ({type(value).__name__}).")
    return value


def array(
    value: "Any",
    name: "str",
    *,
    shape: "tuple | list[tuple] | None" = None,
    dtype: "DTypeLike | None" = np.float64,
    minimum: "float | None" = None,
    maximum: "float | None" = None,
    largest: "float | None" = LARGEST,
) -> "np.ndarray":
    """A finite array of real numbers.

    Parameters
    ----------
    value : array_like
    name : str
        What to call it in a message.
    shape : tuple or list of tuples, optional
        What its shape must be, or several that it may have. A side is a number, or a letter or word that stands for
        any number from 1 on, the same wherever it occurs; "…" at the end for any further sides.
    dtype : dtype or None
        Of what is returned, a view if it is that of the given array; None keeps the given one.
    minimum, maximum : float, optional
        Limits of the values, which may be reached.
    largest : float or None
        Limit of their size; None lets all values pass, NaN and infinities too.
    """
    given = _plain(value, name)
    allowed = shape if isinstance(shape, list) else [shape or ()]
    if shape is not None and not any(_fits(given.shape, each) for each in allowed):
        shapes = " or ".join(f"({', '.join(map(str, each))}{',' * (len(each) == 1)})" for each in allowed)
        raise InputError(f"{name} must have shape {shapes}; its shape is {given.shape}.")
    if largest is not None and dtype is not None and np.dtype(dtype).kind == "f":
        largest = min(largest, float(np.finfo(dtype).max))
    _check_values(given, name, minimum, maximum, largest)
    return given if dtype is None else given.astype(dtype, copy=False)


def points(value: "Any", name: "str", dim: "int | None" = None, rows: "int" = 1) -> "np.ndarray":
    """Points as a finite float64 array of shape (n, dim), with at least so many rows; any dimension from 1 if None."""
    found = array(value, name, shape=("n" if rows else "n or 0", "d" if dim is None else dim))
    if len(found) < rows:
        raise InputError(f"{name} must have at least {rows} rows; there are {len(found)}.")
    return found


def images(value: "Any", name: "str", pixels: "int | None" = None, *, unit_interval: "bool" = True) -> "np.ndarray":
    """Images as float32 rows of shape (n, pixels).

    Parameters
    ----------
    value : array_like, shape (n, pixels) or (n, *image_shape)
    name : str
    pixels : int, optional
        How many values an image must have.
    unit_interval : bool
        Whether they must lie in [0, 1]. What is outside by no more than the rounding of a rescaling is set to 0 or 1.
    """
    found = _plain(value, name)
    size = math.prod(found.shape[1:])
    if found.ndim < 2 or found.size == 0 or size != (pixels or size):
        asked = f"(n, {pixels or 'pixels'}) or (n, *image_shape), n ≥ 1"
        raise InputError(f"{name} must have shape {asked}; its shape is {found.shape}.")
    if unit_interval:
        found = unit(found, name)
    else:
        _check_values(found, name, None, None, LARGEST_PIXEL)
    return np.ascontiguousarray(found.reshape(len(found), size), dtype=np.float32)


def unit(values: "np.ndarray", name: "str") -> "np.ndarray":
    """An array of values in [0, 1]; what is outside by rounding alone is set to 0 or 1."""
    if values.size == 0:
        raise InputError(f"{name} is empty; its shape is {values.shape}.")
    _check_values(values, name, None, None, LARGEST)
    low, high = values.min(), values.max()
    if low < -ROUNDING or high > 1 + ROUNDING:
        hint = "divide bytes by 255" if values.dtype.kind in "iu" and low >= 0 and high <= 255 else "rescale them"
        raise InputError(f"{name} must lie in [0, 1]; its values run from {low:g} to {high:g}: {hint}.")
    return values if low >= 0 and high <= 1 else values.clip(0, 1)


def labels(value: "Any", name: "str", n: "int | None" = None) -> "np.ndarray":
    """Classes of n examples, or of any number, as an int64 array of shape (n,); any integers will do."""
    found = _plain(value, name)
    n = len(found) if n is None and found.ndim else n
    if found.shape != (n,) or n == 0 or found.dtype.kind not in "iu":
        raise InputError(f"{name} must hold {n} integers, shape ({n},); it has {found.dtype} of shape {found.shape}.")
    if found.size and int(found.max()) > np.iinfo(np.int64).max:
        raise InputError(f"{name} must fit in 64 bits with a sign; it holds {found.max()}. Number the classes from 0.")
    return found.astype(np.int64, copy=False)


def mask(value: "Any", name: "str", n: "int") -> "np.ndarray":
    """Yes or no for each of n examples, as a bool array of shape (n,)."""
    found = _plain(value, name)
    if found.shape != (n,) or found.dtype != bool:
        raise InputError(f"{name} must be {n} bools, shape ({n},); it has {found.dtype} of shape {found.shape}.")
    return found


def path(value: "Any", name: "str") -> "Path":
    """A Path of a str or of an object that stands for one."""
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str) or "\0" in os.fspath(value):
        raise InputError(f"{name} must be a path, a str or a Path; it is {brief(value)}.")
    if any(len(part.encode("utf-8", "replace")) > LONGEST_NAME for part in Path(value).parts):
        raise InputError(f"{name} has a name of more than {LONGEST_NAME} bytes, too long for a file: {brief(value)}.")
    return Path(value)


def tensor(value: "Any", name: "str", shape: "tuple[str, int]") -> "torch.Tensor":
    """The tensor itself, if it is in single precision or less and of shape (n, width) or (…, width), as a module needs.

    Its values are not looked at: that is the business of those who take arrays.
    """
    import torch

    sides = 2 if shape[0] == "n" else getattr(value, "ndim", 0)
    if not (isinstance(value, torch.Tensor) and value.shape[-1:] == shape[-1:] and value.ndim == sides):
        found = f"of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else brief(value, 40)
        raise InputError(f"{name} must be a tensor of shape ({shape[0]}, {shape[-1]}); it is {found}.")
    if not value.is_floating_point() or value.dtype == torch.float64:
        raise InputError(f"{name} must be a tensor of float32; it is one of {value.dtype}. Give {name}.float().")
    return value


def function(value: "Any", name: "str", of: "str") -> "Any":
    """The value itself, if it can be called."""
    if not callable(value):
        raise InputError(f"{name} must be a function of {of}; it is {brief(value)}.")
    return value


def memory(n_numbers: "int", what: "str") -> "None":
    """Refuse to make an array of so many numbers if it takes more than 2 GiB."""
    n_numbers = min(n_numbers, 10**100)
    if n_numbers > MOST_NUMBERS:
        raise InputError(f"{what} would hold {n_numbers:.3g} numbers, {n_numbers / 2**27:.3g} GiB; ask for fewer.")


def device(value: "Any", name: "str" = "device") -> "torch.device":
    """A torch device that exists here."""
    import torch

    try:
        found = torch.device(value)
        torch.zeros(1, device=found).item()
    except (RuntimeError, AssertionError, TypeError, ValueError, NotImplementedError) as error:
        kinds = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
        raise InputError(f"The {name} {brief(value)} does not exist here; available: {', '.join(kinds)}.") from error
    return found


def brief(what: "object", limit: "int" = 80) -> "str":
    """Foreign content in so many printable characters, for a message."""
    try:
        text = repr(what)
    except Exception:  # a broken object of the user's
        text = f"a {type(what).__name__}"
    return printable(" ".join(printable(text, len(text)).split()), limit)


def printable(text: "object", limit: "int" = 200) -> "str":
    """Foreign text in at most so many characters, all printable, for a message."""
    text = "".join(c if c.isprintable() else " " for c in str(text))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _scalar(value):
    """What an array or tensor without sides holds; None, which is no number, for one with sides."""
    if hasattr(value, "__array__"):
        try:
            value = value.item() if np.ndim(value) == 0 and not np.ma.is_masked(value) else None
        except Exception:  # such as of a tensor without content
            return None
    return value.real if isinstance(value, complex) and value.imag == 0 else value


def _plain(value, name):
    """A plain array of real numbers, of any shape and content."""
    if isinstance(value, np.ma.MaskedArray):
        if n_masked := np.ma.count_masked(value):
            raise InputError(f"{name} has {n_masked} masked values; fill them or leave their rows out.")
        value = value.data
    if hasattr(value, "toarray"):
        raise InputError(f"{name} is sparse ({type(value).__name__}); give {name}.toarray().")
    try:
        if hasattr(value, "detach"):  # a tensor
            value = value.detach().cpu()
            value = value.float() if str(value.dtype) in ("torch.bfloat16", "torch.float16") else value
        if isinstance(value, list | tuple) and any(hasattr(part, "detach") for part in value):
            value = [part.detach().cpu() if hasattr(part, "detach") else part for part in value]
        found = np.asarray(value)
    except Exception as error:  # whatever the conversion of a user's object raises
        why = "its parts have different shapes" if isinstance(error, ValueError) else brief(str(error))
        raise InputError(f"{name} must be an array of real numbers; {why}.") from error
    if found.dtype.kind == "c":
        if np.any(found.imag != 0):
            with np.errstate(invalid="ignore"):
                size = np.abs(found.imag).max()
            raise InputError(f"{name} must be real; it is complex, with imaginary parts up to {size:.3g}.")
        found = found.real
    if found.dtype.kind not in REAL:
        what = type(value).__name__ if found.ndim == 0 else f"of dtype {found.dtype}"
        raise InputError(f"{name} must be an array of real numbers; it is {what}, such as {brief(value, 40)}.")
    return found


def _fits(found, shape):
    """Whether a shape is as `array` asks for it."""
    if shape and shape[-1] == "…":
        shape = shape[:-1]
        found = found[: len(shape)]
    if len(found) != len(shape):
        return False
    sides = {}
    for side, asked in zip(found, shape, strict=True):
        if isinstance(asked, str):
            if side == 0 and not asked.endswith("or 0"):
                return False
            asked = sides.setdefault(asked, side)
        if side != asked:
            return False
    return True


def _check_values(values, name, minimum, maximum, largest):
    if values.size == 0 or largest is None:
        return
    values = values.astype(np.int8) if values.dtype.kind == "b" else values
    finite = np.isfinite(values)
    if not finite.all():
        first = tuple(np.argwhere(~finite)[0].tolist())
        where = f", the first at {first if len(first) > 1 else first[0]}" if first else ""
        raise InputError(f"{name} must be finite; {(~finite).sum()} of its values are NaN or infinite{where}.")
    low, high = float(values.min()), float(values.max())
    if max(-low, high) > largest:
        raise InputError(f"{name} has values up to {max(-low, high):.3g} in size; rescale them.")
    if not (_within(low, minimum, maximum) and _within(high, minimum, maximum)):
        raise InputError(f"{name} must have values{_limits(minimum, maximum)}; they run from {low:g} to {high:g}.")


def _within(value, minimum, maximum):
    return (minimum is None or value >= minimum) and (maximum is None or value <= maximum)


def _limits(low, high, least="of at least {}", most="of at most {}", both="from {} to {}"):
    if low is not None and high is not None:
        return f" {both.format(low, high)}"
    if low is not None:
        return f" {least.format(low)}"
    return "" if high is None else f" {most.format(high)}"
