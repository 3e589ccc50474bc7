"""The store in which results are kept, each in a folder that is named by what made it.

The name holds a hash of everything that made the result: the parameters, the checksum of the data, the version of torch
and the code of the modules it came through (comments and docstrings left out). The same request finds it again; a
change of any of these makes a new one. A folder appears under its name only when it is complete, so a run that was
killed leaves no half result, and continues from its last checkpoint.
"""

import ast
import functools
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import filelock
import pooch

from vaept.storage import ensure_writable

PACKAGE = Path(__file__).parent
CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "notebooks").is_dir() else None


def default_store():
    """Where results are kept: $VAEPT_STORE, else _build/runs in a checkout, else the user's cache folder."""
    if os.environ.get("VAEPT_STORE"):
        return Path(os.environ["VAEPT_STORE"])
    return CHECKOUT / "_build" / "runs" if CHECKOUT else Path(pooch.os_cache("vaept")) / "runs"


@dataclass(frozen=True)
class RunStore:
    """Results in folders named by what made them.

    Attributes
    ----------
    root : Path
        The folder that holds them; it is made if needed.

    Raises
    ------
    InputError
        If the folder cannot be made or written.
    """

    root: Path

    def __post_init__(self):
        ensure_writable(self.root)

    def obtain(self, kind: str, request: dict, make: Callable[[Path], None]) -> Path:
        """The folder of a result, made now if it is not there.

        Parameters
        ----------
        kind : str
            What it is, such as "ensemble"; begins the folder's name.
        request : dict
            Everything that decides the result, as JSON values.
        make : callable
            Called with an empty folder, or the one that an interrupted call left, to write the files there.

        Returns
        -------
        Path
        """
        request = json.loads(json.dumps(request, sort_keys=True))
        key = hashlib.sha256(json.dumps([kind, request], sort_keys=True).encode()).hexdigest()[:16]
        folder = self.root / f"{kind}-{key}"
        # Two chapters, or two commands, may ask for one result at the same time: the second waits for the first.
        with filelock.FileLock(self.root / f".{kind}-{key}.lock"):
            if not folder.is_dir():
                partial = self.root / f".{kind}-{key}.partial"
                partial.mkdir(exist_ok=True)
                start = time.perf_counter()
                make(partial)
                record = {"kind": kind, "key": key, "request": request} | _circumstances(time.perf_counter() - start)
                (partial / "provenance.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
                partial.rename(folder)
        return folder


def _circumstances(seconds):
    """When, where, with what and how fast a result was made, for its provenance."""
    return {
        "seconds": round(seconds, 3),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in ("vaept", "torch", "numpy", "scipy", "scikit-learn")},
    }


def imported_modules(source):
    """Names of the modules of this package that Python source imports, as a set."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "vaept":
            names |= {alias.name for alias in node.names if (PACKAGE / f"{alias.name}.py").exists()}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vaept."):
            names.add(node.module.removeprefix("vaept."))
    return names


@functools.cache
def source_hash(*modules):
    """SHA-256 of the code of modules of this package and of all its modules that they import, at any depth.

    Comments, docstrings and layout do not count, so that explaining something better does not train it again.
    """
    seen, queue = {}, list(modules)
    while queue:
        name = queue.pop()
        if name not in seen:
            source = (PACKAGE / f"{name}.py").read_text("utf-8")
            seen[name] = hashlib.sha256(_code(source).encode()).hexdigest()
            queue += imported_modules(source)
    return hashlib.sha256(json.dumps(sorted(seen.items())).encode()).hexdigest()


def _code(source):
    """Python source as a syntax tree in text, without comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
