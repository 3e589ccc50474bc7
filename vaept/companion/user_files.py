"""Latents that other trainers wrote, read from what they write: .npz, .npy, .csv, .parquet and .h5ad files.

A run is `mu` (n, d) and, where the file has them, `logvar` (n, d), labels `y` (n,) and `names` (n,) of the examples. In
tables columns "logvar…" and "y" are these, a first column of texts or one called "name" or "index" the names, and all
others coordinates. Without names the data themselves, `x` (n, …) in an .npz, tell examples apart.
"""

import csv
import hashlib
import shutil
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import numpy as np

from vaept import arguments
from vaept.array_files import read_npz
from vaept.errors import InputError

LEAST_SPREAD = 1e-100  # of latents, whose squares must be numbers
NAMES = ("name", "names", "index", "id", "cell", "", "__index_level_0__")  # what a column of names may be called


@dataclass(frozen=True, eq=False)
class Run:
    """Latents of one file; all but `path` and `mu` may be None. `place` is the row of the file of each example."""

    path: Path
    mu: np.ndarray
    logvar: np.ndarray | None = None
    y: np.ndarray | None = None
    names: np.ndarray | None = None
    place: np.ndarray | None = None

    def rows(self, order):
        """The run with its examples in another order."""
        parts = {name: value[order] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return replace(self, **({"place": order} | parts))


def read(path, key=None):
    """The `Run` of a file; `key` names the latents of an .h5ad file.

    Raises
    ------
    InputError
        If there is no such file, it holds no latents, or a package is needed to read it; the message says which.
    """
    path = arguments.path(path, "path")
    suffix = path.suffix.lower()
    if suffix not in (*READERS, ".h5ad"):
        raise InputError(f"{path} is none of the files that can be read: {', '.join(READERS)}, .h5ad.")
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        parts = _h5ad(path, key) if suffix == ".h5ad" else READERS[suffix](path)
    except InputError:
        raise
    except Exception as error:  # whatever a foreign file makes the parsers raise
        raise InputError(f"{path} cannot be read as latents: {arguments.printable(error)}. Write it again.") from error
    mu = arguments.points(parts["mu"], f"mu in {path.name}")
    if (mu == mu[0]).all():
        raise InputError(f"All examples of {path} are at one place, so that nothing can be compared. Leave it out.")
    if np.ptp(mu, axis=0).max() < LEAST_SPREAD:
        raise InputError(f"The values of mu in {path.name} hardly differ, by less than {LEAST_SPREAD:g}; rescale them.")
    logvar = parts.get("logvar")
    if logvar is not None:
        logvar = arguments.array(logvar, f"logvar in {path.name}", shape=mu.shape, maximum=200)
    y, names = parts.get("y"), parts.get("names")
    y = None if y is None else _labels(y, f"y in {path.name}", len(mu))
    names = None if names is None else np.asarray(names).astype(str)
    if names is not None and (len(names) != len(mu) or len(set(names)) < len(names)):
        raise InputError(f"The names of the examples in {path.name} must be {len(mu)} different ones.")
    return Run(path, mu, logvar, y, names)


def data(path):
    """The array x (n, …) of an .npz file, or the numbers of any other; errors are those of `read`."""
    return read_npz(path)[0] if path.suffix.lower() == ".npz" else read(path).mu


def read_labels(path, n):
    """Labels of n examples from a file: an .npy, an .npz with `y`, or text with one label a line."""
    path = arguments.path(path, "labels")
    if not path.is_file():
        raise InputError(f"There is no file {path} of labels.")
    try:
        if path.suffix.lower() in (".npy", ".npz"):
            found = np.load(path, allow_pickle=False)
            found = found if isinstance(found, np.ndarray) else found["y"]
        else:
            found = np.array(path.read_text("utf-8").split("\n"))
            found = found[:n] if not any(found[n:]) else found
    except Exception as error:
        raise InputError(f"{path} cannot be read as labels: {arguments.printable(error)}.") from error
    return _labels(found, f"labels in {path.name}", n)


def in_one_order(runs):
    """The runs with the examples that all of them name, in the order of the first; and sentences on what was mended.

    Raises
    ------
    InputError
        If the runs hold different numbers of examples and no names, or their labels show that the order differs.
    """
    first, notes = runs[0], []
    if all(run.names is not None for run in runs):
        common = set.intersection(*(set(run.names) for run in runs))
        if len(common) < max(len(run.mu) for run in runs):
            notes.append(f"Only the {len(common)} examples that every run names are compared.")
        if not common:
            raise InputError("The runs have no name of an example in common. Give runs of the same examples.")
        kept = [name for name in first.names if name in common]
        changed = []
        for number, run in enumerate(runs):
            place = {name: row for row, name in enumerate(run.names)}
            order = np.array([place[name] for name in kept])
            if not (np.diff(order) > 0).all():
                changed.append(run.path.name)
            runs[number] = run.rows(order)
        if changed:
            notes.append(f"Another order of the examples was found by their names and mended: {', '.join(changed)}.")
    elif len({len(run.mu) for run in runs}) > 1:
        counts = ", ".join(f"{run.path.name} {len(run.mu)}" for run in runs)
        raise InputError(f"The runs have different numbers of examples and not all name them: {counts}. Add `names`.")
    for run in runs[1:]:
        if runs[0].y is not None and run.y is not None and (wrong := int((runs[0].y != run.y).sum())):
            raise InputError(
                f"{wrong} labels of {run.path.name} are not those of {first.path.name}: the order of the examples "
                "differs. Put them in one order, or add `names`, by which it is found."
            )
    return runs, notes


def write_back(run, latents, path):
    """Write other latents of a run to a file of the same format; those of an .h5ad file into a copy of it."""
    suffix = run.path.suffix.lower()
    if suffix == ".h5ad":
        shutil.copyfile(run.path, path)
        with _package("h5py", path).File(path, "r+") as file:
            n = len(file["obs"][file["obs"].attrs["_index"]])
            own = np.full((n, latents.shape[1]), np.nan)  # of what other runs do not hold
            own[slice(None) if run.place is None else run.place] = latents
            file["obsm"]["X_oriented"] = own
    elif suffix == ".npz":
        content = {"mu": latents} | {k: v for k, v in (("y", run.y), ("names", run.names)) if v is not None}
        with path.open("wb") as stream:
            np.savez(stream, **content)
    elif suffix == ".npy":
        with path.open("wb") as stream:
            np.save(stream, latents)
    else:
        columns = {f"mu{k}": column for k, column in enumerate(latents.T)}
        columns |= {k: v for k, v in (("y", run.y), ("name", run.names)) if v is not None}
        if suffix == ".csv":
            with path.open("w", encoding="utf-8", newline="") as stream:
                rows = zip(*(column.tolist() for column in columns.values()), strict=True)
                csv.writer(stream).writerows([columns, *rows])
        else:
            arrow = _package("pyarrow", path)
            import_module("pyarrow.parquet").write_table(arrow.table(columns), path)


def _labels(values, name, n):
    values = np.asarray(values)
    if values.shape != (n,):
        raise InputError(f"{name} must hold a label of each of {n} examples; the shape is {values.shape}.")
    return np.unique(values.astype(str), return_inverse=True)[1] if values.dtype.kind not in "iu" else values


def _package(name, path):
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(f"{path.name} needs the package {name}: pip install {name}. Or write an .npz.") from error


def _npz(path):
    with np.load(path, allow_pickle=False) as file:
        if "mu" not in file:
            raise InputError(f"{path} needs an array mu (n, d); it holds {', '.join(file.files) or 'nothing'}.")
        parts = {part: file[part] for part in ("mu", "logvar", "y", "names") if part in file}
        if "x" in file and "names" not in parts:
            names = np.array([hashlib.sha256(row.tobytes()).hexdigest() for row in file["x"]])
            parts |= {"names": names} if len(set(names)) == len(names) == len(parts["mu"]) else {}
        return parts


def _csv(path):
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.reader(stream) if row]
    if not rows:
        raise InputError(f"{path} is empty.")
    header = [f"{k}" for k in range(len(rows[0]))] if all(map(_numeric, rows[0])) else rows.pop(0)
    if len({len(row) for row in rows} | {len(header)}) > 1 or not rows:
        raise InputError(f"The rows of {path} must have as many entries as its first, {len(header)}.")
    return _columns(header, [np.array(column) for column in zip(*rows, strict=True)], path)


def _parquet(path):
    _package("pyarrow", path)
    table = import_module("pyarrow.parquet").read_table(path)
    return _columns(table.column_names, [column.to_numpy() for column in table.columns], path)


READERS = {
    ".npz": _npz,
    ".npy": lambda path: {"mu": np.load(path, allow_pickle=False)},
    ".csv": _csv,
    ".parquet": _parquet,
}


def _columns(header, columns, path):
    """The parts of a table."""
    parts = {"mu": [], "logvar": []}
    for number, (title, column) in enumerate(zip(header, columns, strict=True)):
        low = title.strip().lower()
        if low in ("y", "label", "labels"):
            parts["y"] = column if not all(map(_numeric, column)) else column.astype(float).astype(int)
        elif low in NAMES or (number == 0 and not any(map(_numeric, column[:100]))):
            parts["names"] = column
        else:
            if not all(map(_numeric, column)):
                bad = next(value for value in column if not _numeric(value))
                raise InputError(
                    f"The column {title} of {path.name} holds {arguments.brief(str(bad))}, which is no number."
                )
            parts["logvar" if low.startswith("logvar") else "mu"].append(column.astype(float))
    if not parts["mu"]:
        raise InputError(f"{path} has no column of numbers.")
    return {part: np.stack(v, axis=1) if isinstance(v, list) else v for part, v in parts.items() if len(v)}


def _numeric(value):
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _h5ad(path, key):
    with _package("h5py", path).File(path) as file:
        known = ", ".join(file.get("obsm", ())) or "none"
        if key is None or key not in file.get("obsm", ()):
            raise InputError(f"Say with --key which latents of {path.name} are meant; it holds: {known}.")
        obs = file["obs"]
        return {"mu": file["obsm"][key][:], "names": obs[obs.attrs["_index"]].asstr()[:]}
