"""Files that cannot be half written or silently wrong: tensors and JSON values, each with a checksum of all it says.

A tensor file is one safetensors file (no pickles: reading one runs no code) whose metadata are a JSON header, with a
format number and a kind, after a SHA-256 of that header and of names, types, shapes and content of the tensors. A JSON
file is an object with an entry "file": its kind, a format number and a SHA-256 of everything else. Every file is
written under a name of its own and renamed, so that of two writers one wins and neither leaves a mixture.
"""

import contextlib
import hashlib
import json
import math
import os
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load, save

from vaept import arguments
from vaept.errors import DamagedFileError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    import torch

FORMAT = 2
HEX = 64  # digits of a SHA-256
UNREADABLE = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError, MemoryError, OSError)


def ensure_writable(folder):
    """Make a folder if needed and try that files can be written there; an InputError says why they cannot."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be written ({error.strerror}). Choose another.") from error


def write_bytes(path, content):
    """Write a file; an existing one is replaced only by a whole one, whoever else writes it meanwhile.

    An InputError says why it cannot be written, as on a full disk.
    """
    path = arguments.path(path, "path")
    if not path.name:
        raise InputError(f"path must name a file; it is {str(path)!r}.")
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as stream:
            stream.write(content)
        partial.replace(path)
    except OSError as error:
        advice = "Free some space." if error.errno == 28 else "Choose another place."
        raise InputError(f"{path} cannot be written: {error.strerror}. {advice}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def remove_partials(folder):
    """Delete what killed writers left in a folder; only for the holder of its lock."""
    for path in folder.glob(".*.partial"):
        if path.is_file():
            path.unlink(missing_ok=True)


def write_tensors(
    path: "str | Path", kind: "str", header: "dict[str, Any]", tensors: "Mapping[str, torch.Tensor]"
) -> "None":
    """Write tensors with a JSON header and a checksum of both; raises InputError as `write_bytes` does.

    Parameters
    ----------
    path : str or Path
    kind : str
        What the file holds; `read_tensors` asks for it.
    header : dict
        JSON values.
    tensors : dict of str to tensor
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps({"format": FORMAT, "kind": kind} | header)
    # One entry, because the library writes several in an order that varies from process to process.
    write_bytes(path, save(tensors, metadata={"vaept": _checksum(text, tensors) + text}))


def read_tensors(path: "str | Path", kind: "str") -> "tuple[dict[str, Any], dict[str, torch.Tensor]]":
    """The header (dict) and the tensors (dict) that `write_tensors` wrote, checked.

    Raises
    ------
    InputError
        If there is no such file.
    DamagedFileError
        If it was truncated or altered, holds another kind, or was written by another version.
    """
    path = _existing(path)
    with reading(path, kind):
        content = path.read_bytes()  # once, because a writer may replace the file meanwhile
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")
        said = json.loads(content[8 : 8 + length]).get("__metadata__", {}).get("vaept", "")
        stated, text = ("", said) if said.startswith("{") else (said[:HEX], said[HEX:])  # format 1 had none in front
        header, found = json.loads(text), _checksum(text, tensors)
        own = (header["kind"], header["format"], stated)
    _verify(path, kind, *own, found)
    return header, tensors


def write_json(path, kind, value):
    """Write a dict of JSON values with a checksum; raises InputError as `write_bytes` does.

    Parameters
    ----------
    path : str or Path
    kind : str
        What the file holds; `read_json` asks for it.
    value : dict or dataclass
        Without an entry "file", which is taken for the checksum; arrays and dataclasses may be in it.
    """
    value = json.loads(json_text(value))
    content = value | {"file": {"kind": kind, "format": FORMAT, "sha256": _json_checksum(value)}}
    write_bytes(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def json_text(value):
    """JSON values as text; arrays and dataclasses may be in them."""
    return json.dumps(msgspec.to_builtins(value, enc_hook=_listed, str_keys=True))


def read_json(path, kind):
    """The dict that `write_json` wrote, checked; raises what `read_tensors` raises."""
    path = _existing(path)
    with reading(path, kind):
        content = json.loads(path.read_text("utf-8"))
        file = content.pop("file", {})
        own = (file.get("kind"), file.get("format"), file.get("sha256"))
    _verify(path, kind, *own, _json_checksum(content))
    return content


def restored(value, kind):
    """JSON values as an object of a class, checked against its annotations; lists of numbers become arrays of float64.

    Parameters
    ----------
    value : dict or list
        As `read_json` returns it; what is an object or an array already stays that.
    kind : type
        Such as a dataclass.

    Raises
    ------
    msgspec.ValidationError
        If something is missing, of another type or infinite; the message says where. `reading` names the file.
    """
    return msgspec.convert(value, kind, dec_hook=_array, str_keys=True)


@contextlib.contextmanager
def reading(path: "str | Path", kind: "str") -> "Iterator[None]":
    """Turn what can go wrong while the content of a file is taken apart into a DamagedFileError that names it."""
    try:
        yield
    except (DamagedFileError, InputError, msgspec.ValidationError) as error:
        why = str(error).rstrip(".")
        raise DamagedFileError(f"{path} is no usable {kind} file: {why}. {_way_out(path)}") from error
    except (SafetensorError, *UNREADABLE) as error:
        raise DamagedFileError(f"{path} is damaged ({type(error).__name__}: {error}). {_way_out(path)}") from error


def file_checksum(path):
    """SHA-256 of the bytes of a file, as hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _listed(value):
    """A numpy array or number as JSON can hold it."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"A {type(value).__name__} cannot be kept in a file.")


def _array(kind, value):
    if kind is not np.ndarray or isinstance(value, np.ndarray):
        return value
    cells = np.array(value, dtype=object)
    for cell in cells.flat:
        if type(cell) not in (int, float) or math.isinf(cell):
            raise InputError(f"must hold finite numbers or NaN; it holds {str(cell)[:40]!r}")
    return cells.astype(float)


def _existing(path: "str | Path") -> "Path":
    path = arguments.path(path, "path")
    if not os.path.isfile(path):
        raise InputError(f"There is no file {path}.")
    return path


def _verify(path, kind, own_kind, own_format, stated, found):
    """Raise DamagedFileError unless a file says of itself that it is what is asked for, and has the stated checksum."""
    if own_format != FORMAT:
        raise DamagedFileError(
            f"{path} has format {own_format}, of another version of vaept; this one reads format {FORMAT}. Make it "
            "again, or use the version that wrote it."
        )
    if stated != found:
        raise DamagedFileError(f"{path} is damaged: its content does not match its checksum. {_way_out(path)}")
    if own_kind != kind:
        raise DamagedFileError(f"{path} is no {kind} file of this package; it holds {own_kind!r}.")


def _way_out(path):
    return f"Delete {Path(path).name} and make it again."


def _checksum(text, tensors):
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.numpy())
    return digest.hexdigest()


def _json_checksum(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
