"""Whether a book would come out as it is; then the command says what it said when that was made, and makes nothing.

What goes into a book: the options of the command, every source file of the checkout, the commit, the packages that are
installed, a file of the user's own, and results in the store. What comes out of it: the pages and the file that holds
them all. Inputs are compared by content; results and pages, which this program wrote, by name, size and time of change.
This module imports nothing that takes long.
"""

import hashlib
import json
import os
import sys
from fnmatch import fnmatch
from pathlib import Path

from vaept.companion.citation import made_from
from vaept.companion.places import CHECKOUT, default_store

LEFT_OUT = (".*", "_build", "build", "dist", "__pycache__", "*.egg-info")  # folders of the checkout without sources
ENVIRONMENT = ("VAEPT_DATA_DIR", "GITHUB_REPOSITORY")
IDLE = ("jobs",)  # options that change nothing


def inputs(options):
    """A hash of all that decides a book but results in the store; None outside a checkout, or if a file is unreadable.

    Parameters
    ----------
    options : dict
        Of the command `vaept reproduce`, by their names.
    """
    if CHECKOUT is None:
        return None
    asked = {name: str(value) for name, value in options.items() if name not in IDLE}
    own = [Path(str(options[name])) for name in ("profile", "data") if options[name]]
    given = [path for path in own if path.is_file()]
    made = [Path(options[name]).resolve() for name in ("store", "output") if options[name]]
    packages = sorted(path.name for folder in sys.path for path in Path(folder).glob("*.dist-info"))
    head = [asked, {name: os.environ.get(name) for name in ENVIRONMENT}, sys.version, packages]
    head += [made_from(CHECKOUT, "")["commit"], os.getcwd() if given else ""]
    found = hashlib.sha256(json.dumps(head).encode())
    try:
        for path in [*given, *_sources(CHECKOUT, made)]:
            with path.open("rb") as file:
                found.update(f"{path} ".encode() + hashlib.file_digest(file, "sha256").digest())
    except OSError:
        return None
    return found.hexdigest()


def remember(options, before, said, results, written):
    """Keep that a book was made.

    Parameters
    ----------
    options : dict
    before : str or None
        `inputs` as they were before anything was made; with None nothing is kept.
    said : str
        What the command found.
    results, written : list of Path
        Folders of the store that were used, and what was made.
    """
    if before is None:
        return
    kept = {"inputs": before, "said": said}
    kept |= {"results": [str(path) for path in results], "written": [str(path) for path in written]}
    path = _note(options)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept | {"there": _there(kept)}), "utf-8")


def recall(options, now):
    """What was said of a book that would come out as it is, or None; `now` are the present `inputs`."""
    try:
        kept = json.loads(_note(options).read_text("utf-8"))
        same = now is not None and kept["inputs"] == now and kept["there"] == _there(kept)
        return kept["said"] if same else None
    except (OSError, ValueError, KeyError, TypeError):  # nothing is known, or nothing that can be read
        return None


def _note(options):
    """The file that remembers the book of these options, in the store."""
    asked = [str(CHECKOUT), {name: str(value) for name, value in options.items() if name not in IDLE}]
    name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    return Path(options["store"] or default_store()) / "books" / f"{name}.json"


def _there(kept):
    """A hash of name, size and time of change of every file among results and pages."""
    found = hashlib.sha256()
    for each in map(Path, kept["results"] + kept["written"]):
        for path in [each] if each.is_file() else sorted(each.rglob("*")):
            stat = path.stat()
            found.update(f"{path} {stat.st_size} {stat.st_mtime_ns};".encode() if path.is_file() else b"/")
        found.update(b"." if each.exists() else b"missing")
    return found.hexdigest()


def _sources(folder, made):
    """Files below a folder of the checkout, in order, without what is made from them."""
    for path in sorted(folder.iterdir()):
        if path.resolve() in made:
            continue
        if path.is_dir():
            if not any(fnmatch(path.name, name) for name in LEFT_OUT):
                yield from _sources(path, made)
        elif path.is_file():
            yield path
