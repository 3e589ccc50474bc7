"""The store in which results are kept, each in a folder that is named by what made it.

The name holds a hash of everything that made the result: the parameters, the checksum of the data, and the code that it
came through (`vaept.companion.keys`). The same request finds it again; a change of any of these makes a new one. A
folder appears under its name only when it is complete, so a run that was killed leaves no half result, and continues
from its last checkpoint; a half without checkpoints is deleted when a store is opened. Beside the result lies
provenance.json, which says how it was made and holds a checksum of every file; a result that fails this check is made
again, never used.
"""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from vaept.errors import DamagedFileError, InputError
from vaept.files import ensure_writable, file_checksum, read_json, write_json
from vaept.processes import lock

PROVENANCE = "provenance.json"
CHECKPOINTS = "members"  # the folder, beside a result in the making, of what an interrupted call continues from


@dataclass(frozen=True)
class RunStore:
    """Results in folders below `root`, named by what made them; an InputError says why `root` cannot be written."""

    root: Path
    _checked: set = field(default_factory=set, repr=False, compare=False)

    def __post_init__(self):
        ensure_writable(self.root)
        for left in self.root.glob(".*-*.*"):  # halves and locks of killed processes; those that are held are in use
            with contextlib.suppress(InputError), lock(left.with_suffix(".lock")):
                _clear(left.with_suffix(".partial"))

    def obtain(self, kind: str, request: dict, make: Callable[[Path], None]) -> Path:
        """The folder of a result, made now if it is not there.

        Parameters
        ----------
        kind : str
            What it is, such as "ensemble"; begins the folder's name.
        request : dict
            Everything that decides the result, as JSON values.
        make : callable
            Called with a folder to write the files to. It is empty, or holds the folder `CHECKPOINTS` of an interrupted
            call; that is deleted once the result is made.

        Warns
        -----
        UserWarning
            If a file of the result was damaged; the message names it, and the result is made again.
        """
        return self.obtain_together(kind, [request], lambda folders: make(folders[0]))[0]

    def obtain_together(self, kind, requests, make):
        """The folders of several results; those that are missing are made in one call.

        As for `obtain`, but `make` is called with a dict from the place of each missing one among the requests to its
        folder.
        """
        folders = [self.root / self.name(kind, request) for request in requests]
        # Two chapters, or two commands, may ask for one result at the same time: the second waits for the first.
        with contextlib.ExitStack() as locks:
            for name in sorted({folder.name for folder in folders}):
                locks.enter_context(lock(self.root / f".{name}.lock", wait=True))
            missing = {}
            for place, folder in enumerate(folders):
                if not self._found(folder):
                    missing[place] = self.root / f".{folder.name}.partial"
                    _clear(missing[place])
                    missing[place].mkdir(exist_ok=True)
            start = time.perf_counter()
            if missing:
                make(missing)
            for place, partial in missing.items():
                shutil.rmtree(partial / CHECKPOINTS, ignore_errors=True)
                record = {"kind": kind, "key": folders[place].name.rpartition("-")[2], "request": requests[place]}
                record |= _circumstances((time.perf_counter() - start) / len(missing))
                write_json(partial / PROVENANCE, "provenance", record | {"checksums": _checksums(partial)})
                partial.rename(folders[place])
                self._checked.add(folders[place])
        return folders

    @property
    def used(self):
        """The folders of results that were found or made, as a list."""
        return sorted(self._checked)

    def has(self, kind, request):
        """Whether a result is there."""
        return self._found(self.root / self.name(kind, request))

    def _found(self, folder):
        if not folder.is_dir():
            return False
        try:
            self._check(folder)
        except DamagedFileError as error:
            warnings.warn(f"{error} The result is made again.", stacklevel=5)
            shutil.rmtree(folder)
        return folder.is_dir()

    def name(self, kind, request):
        """The name of the folder of a result, there or not."""
        text = json.dumps([kind, json.loads(json.dumps(request))], sort_keys=True)
        return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def _check(self, folder):
        """Raise DamagedFileError if a file of a result is not what was written; once for each result."""
        if folder in self._checked:
            return
        kept, found = provenance(folder)["checksums"], _checksums(folder)
        for name in sorted(kept.keys() | found.keys()):
            if kept.get(name) != found.get(name):
                what = "is missing" if name not in found else "was added" if name not in kept else "is damaged"
                raise DamagedFileError(f"{folder / name} {what}: its checksum is not the one in {PROVENANCE}.")
        self._checked.add(folder)


def provenance(folder):
    """The record of how a result was made, as a dict; raises DamagedFileError if it is missing or was altered."""
    try:
        return read_json(folder / PROVENANCE, "provenance")
    except InputError as error:
        raise DamagedFileError(str(error)) from error


def _clear(partial):
    """Delete what no call can continue from of an interrupted one: everything but checkpoints."""
    if not any((partial / CHECKPOINTS).glob("[!.]*")):  # a lock is no checkpoint
        shutil.rmtree(partial, ignore_errors=True)
    for path in partial.glob("*"):
        if path.name != CHECKPOINTS:
            path.unlink() if path.is_file() else shutil.rmtree(path)


def _checksums(folder):
    """SHA-256 of every file of a result but its provenance, as a dict from its path in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != PROVENANCE)
    return {path.relative_to(folder).as_posix(): file_checksum(path) for path in files}


def _circumstances(seconds):
    """When, where, with what and how fast a result was made, for its provenance."""
    return {
        "seconds": round(seconds, 3),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in ("vaept", "torch", "numpy", "scipy", "scikit-learn")},
    }
