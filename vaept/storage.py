"""Tensors in files that cannot be half written or silently wrong.

A file is one safetensors file (no pickles: reading one runs no code) with a JSON header that bears a format
number, a kind and a SHA-256 of the tensors.
"""

import contextlib
import hashlib
import json
import tempfile

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from vaept.errors import DamagedFileError, InputError

FORMAT = 1


def ensure_writable(folder):
    """Make a folder if needed and try that files can be written there.

    Raises
    ------
    InputError
        If not; the message says why.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be written ({error.strerror}). Choose another.") from error


def write_tensors(path, kind, header, tensors):
    """Write tensors with a JSON header and a checksum; an existing file is replaced only by a whole one.

    Parameters
    ----------
    path : Path
    kind : str
        What the file holds; `read_tensors` asks for it.
    header : dict
        JSON values.
    tensors : dict of str to tensor

    Raises
    ------
    InputError
        If the file cannot be written, as on a full disk.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = {"format": FORMAT, "kind": kind, "checksum": _checksum(tensors)} | header
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(save(tensors, metadata={"vaept": json.dumps(header)}))
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise InputError(
            f"{path} cannot be written: {error.strerror}. Choose another folder or free some space."
        ) from error


def read_tensors(path, kind):
    """The header (dict) and the tensors (dict) that `write_tensors` wrote, checked.

    Raises
    ------
    InputError
        If there is no such file.
    DamagedFileError
        If it was truncated or altered, holds another kind, or was written by another version.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("vaept", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise DamagedFileError(f"{path} is damaged or is no {kind} file ({error}). Make it again.") from error
    if header.get("kind") != kind:
        raise DamagedFileError(f"{path} is no {kind} file of this package.")
    if header.get("format") != FORMAT:
        raise DamagedFileError(
            f"{path} has format {header.get('format')}; this version of vaept reads format {FORMAT}. "
            "Train it again, or use the version that wrote it."
        )
    if header.get("checksum") != _checksum(tensors):
        raise DamagedFileError(f"{path} is damaged: its content does not match its checksum. Make it again.")
    return header, tensors


def _checksum(tensors):
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy())
    return digest.hexdigest()
