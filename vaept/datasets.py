"""Images to train on: the embedded digits, MNIST, blood cells, or arrays of the user's own.

Every source becomes one `Dataset`: images as float32 rows in [0, 1], split into a training and a test part
the same way at every call. Nothing else in the package knows where images come from. Sources: the
Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak 1998; the copy inside scikit-learn),
MNIST (Y. LeCun, C. Cortes, C. Burges 1998; the official IDX files) and blood cells (G. X. Y. Zheng et al. 2017,
Nature Communications 8, 14049; the sample inside scanpy), whose "images" are rows of gene activities.
"""

import hashlib
import importlib.util
import math
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pooch

from vaept import arguments
from vaept.array_files import read_idx, read_npz
from vaept.errors import DownloadError, InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Dataset", "from_arrays", "load"]

NAMED = ("digits", "mnist", "cells")
MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
CELLS = "10x_pbmc68k_reduced.h5ad"
CELLS_SHA256 = "e71d41e737c941559b7c57c9243bdb3d2c889c2adfdf00e3422ac6b46783676f"
CELLS_REMEDY = 'Install scanpy anew: pip install --force-reinstall "scanpy==1.11.*"'
CLIPPED = 3  # standardised activities of genes beyond ± this are cut
MIN_EXAMPLES = 60  # leaves twelve test images, which the neighbour overlap needs
TEST_FRACTION = 0.2
MAX_NAME = 60  # characters of a data set's name


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images of one kind, split into a training and a test part.

    One can be made of arrays that are split already; `from_arrays` splits them. Arrays are copied if they can be
    written to.

    Attributes
    ----------
    name : str
        What was loaded: "digits", "mnist", "cells", or the stem of the user's file. Letters, digits and plain
        punctuation: what figures and pages would take for markup becomes "-".
    train, test : ndarray of float32, shape (n, pixels)
        Images in [0, 1], flattened, read-only. May be given unflattened, as any real numbers of that range.
    train_labels, test_labels : ndarray of int64, shape (n,), or None
        Classes, where known, as numbers from 0: rows of `classes`. Training never sees them. May be given as any
        integers, if `classes` is not given.
    image_shape : tuple of int
        The shape of one image before flattening, without sides of 1; its product is `pixels`. Images with three values
        a point, (rows, columns, 3) or (3, rows, columns), are shown in colour.
    checksum : str
        SHA-256 of the images, the given labels and the image shape; always computed.
    classes : tuple of int
        The labels as they were given, ascending; () without labels.
    notes : tuple of str
        Sentences on what was changed when the data were read.

    Raises
    ------
    InputError
        If an array cannot be used.

    Examples
    --------
    >>> images = np.random.default_rng(0).random((10, 4, 4))
    >>> Dataset("mine", images[:8], images[8:]).pixels
    16
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    image_shape: tuple | None = None
    checksum: str | None = None
    classes: tuple | None = None
    notes: tuple = ()

    def __post_init__(self):
        shape = self.image_shape
        if shape is None:
            shape = arguments.array(self.train, "train", shape=("n", "pixels", "…"), dtype=None).shape[1:]
        sides = arguments.integers(shape, "image_shape")
        train, test = (
            _own(arguments.images(getattr(self, part), part, math.prod(sides))) for part in ("train", "test")
        )
        labels, classes = _numbered((self.train_labels, self.test_labels), (len(train), len(test)), self.classes)
        shape = tuple(side for side in sides if side > 1) or (1,)
        digest = hashlib.sha256(repr(shape).encode())
        for array in (train, test, *(np.array(classes)[own] for own in labels if own is not None)):
            digest.update(np.ascontiguousarray(array))
        name, notes = _plain_name(self.name), list(self.notes)
        if len(shape) < len(sides) and len(sides) > 1:
            notes.append(f"Sides of 1 were dropped: the shape {sides} of an image is {shape} here.")
        if name != self.name:
            notes.append(f"Figures and pages call the data {name}.")
        own = {"name": name, "notes": tuple(dict.fromkeys(notes)), "train": train, "test": test}
        own |= {"train_labels": labels[0], "test_labels": labels[1], "classes": classes}
        own |= {"image_shape": shape, "checksum": digest.hexdigest()}
        for name, value in own.items():
            object.__setattr__(self, name, value)

    @property
    def pixels(self) -> "int":
        """Number of values in one image."""
        return self.train.shape[1]


def load(source: "str | os.PathLike[str]") -> "Dataset":
    """Load a data set by name or from a file.

    Parameters
    ----------
    source : str or path
        "digits" (embedded, 1 797 images of 8 × 8), "mnist" (70 000 images of 28 × 28; taken from the folder
        ``$VAEPT_DATA_DIR/mnist`` if that variable is set, else downloaded once into a cache), "cells" (700 blood
        cells × 765 genes, in the package scanpy 1.11), or the path of an ``.npz`` file with `x` and optionally `y`,
        as for `from_arrays`. The cells' values are logarithms of counts that those who made the sample standardised
        gene by gene (over these cells, deviations are 0.6 to 1.4); here they are cut at ±3, beyond which 1.9 % lie,
        all above, and brought to [0, 1] by (x + 3)/6. Their classes are ten cell types, numbered as in `notes`.

    Returns
    -------
    Dataset
        MNIST keeps its official split; other sources give a fifth to the test part, by a fixed shuffle.

    Raises
    ------
    InputError
        If the source is unknown, its content cannot be used, or the package that has it is missing.
    DownloadError
        If MNIST is in no cache and no mirror answers.

    Examples
    --------
    >>> data = load("digits")
    >>> data.train.shape, data.image_shape
    ((1438, 64), (8, 8))
    """
    if not isinstance(source, str | os.PathLike):
        raise InputError(
            f"The data must be a name or the path of a file; it is {arguments.brief(source)}. Of arrays "
            "vaept.datasets.from_arrays makes a data set."
        )
    if source == "digits":
        return _digits()
    if source == "mnist":
        return _mnist()
    if source == "cells":
        return _cells()
    path = arguments.path(source, "source")
    if path.suffix.lower() == ".npz":
        name = path.stem if path.stem not in NAMED else f"{path.stem} (own file)"
        return _split(*read_npz(path), name, f" in {path}")
    what = "No .npz file:" if os.path.exists(path) else "Unknown data set"
    what = "A folder is no data set:" if os.path.isdir(path) else what
    raise InputError(f"{what} {arguments.brief(str(path))}: give {', '.join(NAMED)} or the path of an .npz file.")


def from_arrays(x: "ArrayLike", y: "ArrayLike | None" = None, *, name: "str" = "data") -> "Dataset":
    """A `Dataset` of arrays, a fifth of which become its test part, by a fixed shuffle.

    Parameters
    ----------
    x : array, shape (n, …)
        At least 60 images: real numbers in [0, 1], or uint8, which is divided by 255 unless it holds only 0 and 1, of
        which a UserWarning tells.
    y : array of int, shape (n,), optional
        Their classes, any integers.
    name : str
        What figures and pages call the data.

    Raises
    ------
    InputError
        If the arrays cannot be used.

    Examples
    --------
    >>> data = from_arrays(np.random.default_rng(0).random((100, 8, 8)))
    >>> data.train.shape, data.test.shape, data.image_shape
    ((80, 64), (20, 64), (8, 8))
    """
    return _split(x, y, name, "")


def _split(x, y, name, where, notes=()):
    """`from_arrays`; `where` says in messages where the arrays are."""
    is_bytes = str(getattr(x, "dtype", "")) in ("uint8", "torch.uint8")
    x = arguments.array(x, f"x{where}", shape=("n", "…"), dtype=None)
    if x.ndim < 2 or x.size == 0:
        raise InputError(f"x{where} must have shape (n, …) with at least one value an image; it has {x.shape}.")
    if len(x) < MIN_EXAMPLES:
        raise InputError(f"x{where} has {len(x)} images; at least {MIN_EXAMPLES} are needed to train and test.")
    if is_bytes and x.max() > 1:
        x, notes = x / np.float32(255), ("Bytes were divided by 255.",)
    elif is_bytes and x.max() == 1:
        notes = ("Bytes that are 0 or 1 only were taken as 0 and 1, not divided by 255.",)
        warnings.warn(f"x{where}: {notes[0]}", stacklevel=3)
    x = arguments.unit(x, f"x{where}")
    y = None if y is None else arguments.labels(y, f"y{where}", len(x))
    order = np.random.default_rng(0).permutation(len(x))
    cut = round(len(x) * TEST_FRACTION)
    test, train = order[:cut], order[cut:]
    parts = [_frozen(np.asarray(x[rows], dtype=np.float32)) for rows in (train, test)]
    labels = (None, None) if y is None else (y[train], y[test])
    return Dataset(name, *parts, *labels, notes=notes)


def _digits():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return _split(bunch.images / 16.0, bunch.target, "digits", "")


def _cells():
    package = importlib.util.find_spec("scanpy")  # not imported, which takes long and is not needed
    if package is None:
        raise InputError('The cells come with the package scanpy 1.11, which is missing: pip install "vaept[cells]".')
    path = Path(package.origin).parent / "datasets" / CELLS
    if not path.is_file():
        raise InputError(f"{path} is missing. {CELLS_REMEDY}.")
    _check_official(path, CELLS_SHA256, CELLS_REMEDY)
    import h5py  # which scanpy needs

    with h5py.File(path) as file:
        x, labels = file["X"][:], file["obs"][:]["bulk_labels"]
        types = [name.decode() for name in file["uns/bulk_labels_categories"][:]]
    notes = (
        "Each image is a cell, and its values say how active its genes are: logarithms of counts, standardised gene by "
        f"gene, cut at ±{CLIPPED} and brought to [0, 1].",
        f"Classes: {', '.join(f'{number} {name}' for number, name in enumerate(types))}.",
    )
    return _split((np.clip(x, -CLIPPED, CLIPPED) + CLIPPED) / (2 * CLIPPED), labels, "cells", "", notes)


def _own(array):
    """The array itself if nobody can write to it, else a copy like that."""
    base = array if array.base is None else array.base
    return array if not getattr(base, "flags", array.flags).writeable else _frozen(array.copy())


def _frozen(array):
    array.setflags(write=False)
    return array


def _numbered(given, sizes, classes):
    """Labels of both parts as numbers from 0, or None; and the classes that they stand for, as a tuple."""
    if all(labels is None for labels in given):
        return (None, None), ()
    names = ("train_labels", "test_labels")
    if any(labels is None for labels in given):
        missing = names[[labels is None for labels in given].index(True)]
        raise InputError(f"{missing} is missing; give labels of both parts, or of neither.")
    found = [arguments.labels(own, name, n) for own, name, n in zip(given, names, sizes, strict=True)]
    if classes is not None:
        classes = arguments.labels(classes, "classes", len(classes) if np.iterable(classes) else 0)
        if (np.diff(classes) <= 0).any():
            raise InputError(f"classes must ascend; they are {arguments.brief(classes.tolist())}.")
    else:
        classes = np.unique(np.concatenate(found))
        found = [np.searchsorted(classes, labels) for labels in found]
    for labels, name in zip(found, names, strict=True):
        if labels.min() < 0 or labels.max() >= len(classes):
            raise InputError(f"{name} must be rows of classes, from 0 to {len(classes) - 1}; leave classes out.")
    return [_frozen(np.array(labels, dtype=np.int64)) for labels in found], tuple(int(label) for label in classes)


def _plain_name(name):
    """A name that no figure and no page takes for markup."""
    plain = re.sub(r"[^\w .,+()-]+", "-", str(name)).strip(" _-")
    return plain[:MAX_NAME].strip(" _-") or "data"


def _mnist():
    folder = os.environ.get("VAEPT_DATA_DIR")
    files = _mnist_from_folder(Path(folder) / "mnist") if folder else _mnist_from_cache()
    train, train_labels, test, test_labels = (read_idx(files[name]) for name in MNIST_SHA256)
    parts = (_frozen(images / np.float32(255)) for images in (train, test))
    return Dataset("mnist", *parts, train_labels, test_labels)


def _mnist_from_folder(folder):
    if not folder.is_dir():
        raise InputError(
            f"VAEPT_DATA_DIR is set, but there is no folder {folder}. Put the four official MNIST files there, "
            "or unset VAEPT_DATA_DIR to download them."
        )
    files = {name: folder / name for name in MNIST_SHA256}
    for name, path in files.items():
        if not path.is_file():
            raise InputError(f"{path} is missing. Put it there, or unset VAEPT_DATA_DIR to download it.")
        _check_official(path, MNIST_SHA256[name], "Replace it")
    return files


def _check_official(path, official, remedy):
    found = pooch.file_hash(str(path), alg="sha256")
    if found != official:
        raise InputError(f"{path} is not the official file: its SHA-256 is {found}, not {official}. {remedy}.")


def _mnist_from_cache():
    """Paths of the four files in the cache; what is missing or damaged there is downloaded again."""
    files, how = {}, {"path": Path(pooch.os_cache("vaept")) / "mnist", "progressbar": True}
    for name, official in MNIST_SHA256.items():
        failures = []
        for mirror in MNIST_MIRRORS:
            try:
                # pooch downloads to a temporary name and renames only what has the right hash.
                files[name] = pooch.retrieve(mirror + name, f"sha256:{official}", name, **how)
                break
            except (OSError, ValueError) as error:  # requests' exceptions are OSErrors, a wrong hash a ValueError
                failures.append(f"{mirror}: {error}")
        else:
            raise DownloadError(
                f"{name} could not be downloaded (" + "; ".join(failures) + "). Check the network; or put the four "
                "official files into a folder mnist and set VAEPT_DATA_DIR to the folder above it; or run on the "
                "embedded digits, which need no download (PROFILE=digits)."
            )
    return files
