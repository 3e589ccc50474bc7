"""Files of arrays, read with suspicion: .npz archives and gzipped IDX files that may be damaged or made to harm.

Sizes are compared with what is there before memory is taken, what is read is compared with its checksum, and every
failure is a sentence that names the file.
"""

import gzip
import io
import math
import os
import warnings
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib import format as npy

from vaept.arguments import REAL, printable
from vaept.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

HAS_DESCRIPTOR = 0x8  # flag of a zip entry: its sizes and checksum are repeated behind it
DESCRIPTOR_BYTES = (12, 16, 20, 24)  # with or without a signature, sizes in 32 or 64 bits
MAX_READ = 2**20  # bytes asked of a file at once; a directory of arrays is far smaller
MAX_NPY_HEADER = 12 + 10_000  # bytes; the 10 000 are numpy's own limit on what it parses
MAX_DIMENSIONS = 64  # numpy's own limit
DEFLATE_LIMIT = 1032  # no deflated byte can stand for more: two bits are the least for a run of 258
# Zeros shrink 1029-fold. One-hot rows of 100 000 float32 reach 1017; beyond 1024 fewer than one value in some 700 kB
# differs from its neighbours, so that a large array like this holds no images.
BOMB_RATIO, BOMB_BYTES = 1024, 2**28
MEMORY_SHARE = 0.5  # of the memory for an array and its converted copy; shuffling needs nearly as much again
FALLBACK_MEMORY = 2**32  # bytes; where the system does not say how much memory there is
COPY_BYTES = {"x": 4, "y": 8}  # a value of the copies that a Dataset holds


def read_npz(path: "Path") -> "tuple[np.ndarray, np.ndarray | None]":
    """The arrays x and y of an .npz file.

    Returns
    -------
    x, y : ndarrays, shape (n, …) and (n,)
        Real numbers and integers; y is None if the file has none.

    Raises
    ------
    InputError
        If there is no such file, or it is no archive of such arrays.
    """
    try:
        if path.is_dir():
            raise InputError(f"{printable(path)} is a folder; give an .npz file, as numpy.savez writes it.")
        if not path.is_file():
            raise InputError(f"There is no file {printable(path)}.")
        # An old or damaged header can make numpy and the parser warn; what matters of that is refused below.
        with _CappedReader(io.FileIO(path)) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            magic = stream.read(len(npy.MAGIC_PREFIX))
            if magic in (b"", npy.MAGIC_PREFIX):
                raise ValueError("it is a single array (.npy) under another name" if magic else "it is empty")
            return _images_and_labels(path, stream)
    except InputError:
        raise
    except Exception as error:  # whatever zipfile, zlib and numpy raise on damaged content
        reason = printable(error).rstrip(".") or type(error).__name__
        raise InputError(
            f"{path} is not a readable .npz archive of plain arrays: {reason}. Write it again with numpy.savez."
        ) from error


def read_idx(path):
    """Read a gzipped IDX file of unsigned bytes, as a read-only array of uint8 with the shape that the file states.

    Format: http://yann.lecun.com/exdb/mnist, section "file formats". An InputError says why a file is none.
    """
    try:
        with gzip.open(path) as stream:
            shape = _idx_shape(stream, path)
            stated = math.prod(shape)
            content = bytearray()
            # In pieces, as a stated size may be false; the byte beyond makes gzip compare the checksum.
            while piece := stream.read(min(MAX_READ, stated + 1 - len(content))):
                content += piece
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path} is not a whole gzip file: {error}. Download it again.") from error
    if len(content) != stated:
        found = f"more than {stated}" if len(content) > stated else len(content)
        raise InputError(f"{path} states the shape {shape} but holds {found} bytes. Download it again.")
    array = np.frombuffer(content, np.uint8).reshape(shape)
    array.setflags(write=False)
    return array


def _idx_shape(stream, path):
    head = stream.read(4)
    dimensions = head[3] if len(head) == 4 else 0
    sizes = stream.read(4 * dimensions)
    whole = len(head) == 4 and len(sizes) == 4 * dimensions and dimensions <= MAX_DIMENSIONS
    if not whole or head[:3] != b"\0\0\x08":
        raise InputError(f"{path} is not an IDX file of unsigned bytes. Download it again.")
    shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
    if math.prod(shape) * (1 + COPY_BYTES["x"]) > memory():
        raise InputError(
            f"{path} states the shape {shape}, which takes more than the {memory() / 2**30:.3g} GiB of memory that "
            "may be used here. Download it again."
        )
    return shape


class _CappedReader(io.BufferedReader):
    """A file that refuses to give much at once, as zipfile believes whatever size of the directory it finds."""

    def read(self, size=-1):  # zipfile leaves out the size only near the end
        if size > MAX_READ:
            raise ValueError(f"its directory has {size} bytes, far more than the names of a few arrays need")
        return super().read(size)


def _images_and_labels(path, stream):
    """The arrays x and y (None if absent) of an open .npz file; nothing large is read before all headers fit."""
    with zipfile.ZipFile(stream) as archive:
        entries = _entries(archive, stream)
        if "x" not in entries:
            names = printable(", ".join(sorted(entries))) or "nothing"
            raise InputError(f"{path} needs an array named x of shape (n, …) with the images; it holds {names}.")
        headers = {name: _header(archive, entries[name], name) for name in ("x", "y") if name in entries}
        _check_headers(path, headers)
        arrays = {}
        for name in headers:
            with archive.open(entries[name]) as entry:
                arrays[name] = npy.read_array(entry, allow_pickle=False)
                entry.read(1)  # at the end zipfile compares the checksum
    return arrays["x"], arrays.get("y")


def _entries(archive, stream):
    """The entries of an archive by the name of their array, once it is sure that its directory hides none.

    The entries must fill the file from its first byte to the directory without a gap, each under the name that
    the directory gives: a damaged directory that drops or renames the labels would otherwise go unnoticed.
    """
    infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    start, *ends = [*(info.header_offset for info in infos), archive.start_dir]  # type: ignore[misc]
    if start != 0:
        raise ValueError("its directory does not match what stands at its start")
    entries = {}
    for info, end in zip(infos, ends, strict=True):
        name, shown = info.orig_filename.removesuffix(".npy"), printable(info.orig_filename)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{shown} is compressed by a method that numpy does not write ({info.compress_type})")
        if name in entries:
            raise ValueError(f"its directory names {shown} twice")
        archive.open(info).close()  # zipfile compares the names, and reads up to the content
        gap = end - stream.tell() - info.compress_size
        if gap != 0 and not (info.flag_bits & HAS_DESCRIPTOR and gap in DESCRIPTOR_BYTES):
            raise ValueError(f"its directory does not match what stands after {shown}")
        entries[name] = info
    return entries


def _header(archive, info, name):
    """Shape and dtype that the .npy header of an entry states, once they agree with the size of the entry."""
    limit = 1 if info.compress_type == zipfile.ZIP_STORED else DEFLATE_LIMIT
    if info.file_size > limit * info.compress_size:
        raise ValueError(f"{name} cannot have {info.file_size} bytes, as {info.compress_size} are stored")
    if info.file_size > max(BOMB_BYTES, BOMB_RATIO * info.compress_size):
        raise ValueError(f"the {info.file_size} bytes of {name} are nearly all the same, which no images are")
    with archive.open(info) as entry:
        stream = io.BytesIO(entry.read(MAX_NPY_HEADER))  # a header that states more ends early
    try:
        # Version 3 differs from 2 only in the encoding of field names, and arrays with fields are refused anyway.
        old = npy.read_magic(stream) == (1, 0)
        shape, _, dtype = (npy.read_array_header_1_0 if old else npy.read_array_header_2_0)(stream)
    except Exception as error:
        raise ValueError(f"the .npy header of {name} is damaged") from error
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize + stream.tell() != info.file_size:
        raise ValueError(
            f"the header of {name} states {printable(dtype)} values of shape {printable(shape)}, which does not "
            f"agree with its size of {info.file_size} bytes"
        )
    return shape, dtype


def _check_headers(path, headers):
    """Refuse arrays that are no images and labels, or are too large, by their (shape, dtype)."""
    shape, dtype = headers["x"]
    if len(shape) < 2 or math.prod(shape[1:]) == 0:
        found = printable(shape)
        raise InputError(f"x in {path} must have shape (n, …) with at least one value an image; it has {found}.")
    if dtype.kind not in REAL:
        raise InputError(f"x in {path} must hold real numbers; its dtype is {printable(dtype)}.")
    n = shape[0]
    if "y" in headers and (headers["y"][0] != (n,) or headers["y"][1].kind not in "iu"):
        found = "shape {}, dtype {}".format(*map(printable, headers["y"]))
        raise InputError(f"y in {path} must hold {n} integers, shape ({n},); it has {found}.")
    needed = sum(math.prod(sides) * (kind.itemsize + COPY_BYTES[name]) for name, (sides, kind) in headers.items())
    if needed > memory():
        raise InputError(
            f"x in {path} has the shape {shape} and the dtype {dtype}, which takes more than the "
            f"{memory() / 2**30:.3g} GiB of memory that may be used here. Give fewer or smaller images."
        )


def memory():
    """Bytes that an array and its converted copy, or a network and its training, may take."""
    try:
        page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on every system
        return FALLBACK_MEMORY
    return int(page * pages * MEMORY_SHARE) if min(page, pages) > 0 else FALLBACK_MEMORY
