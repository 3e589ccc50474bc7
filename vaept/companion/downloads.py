"""The notebooks that a reader downloads: a chapter as it was executed, and one to work in, without its solutions.

Both begin with a cell that fetches and installs this package where it is missing, at the versions of the book. Binder,
Colab and NeuroLibre open the former in a branch of the repository that has the folders `binder` and `content` too.
"""

import copy
import json
import re
import shutil

from vaept.companion.markdown import escaped

ROLE = re.compile(r"\{glue:text\}`(\w+)(?::([^`]+))?`")
SOLUTION = re.compile(r"^(`{3,})\{dropdown\} Solution.*?^\1$\n?", re.MULTILINE | re.DOTALL)
FOLDER = "vaept-book"  # that the first cell makes
BRANCH = "launch"  # has the folders that `write_content` makes

INSTALL = """\
# Where vaept is missing, as on Colab, install it as this notebook was made.
import importlib.util
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("vaept") is None:
    folder = Path("{folder}").resolve()
    source = ["git", "clone", "--quiet", "{repository}", str(folder)]
    commit = ["git", "-C", str(folder), "checkout", "--quiet", "{commit}"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    pip += ["-c", f"{{folder}}/requirements.lock", "-e", f"{{folder}}[book]"]
    for command in (source, commit, pip):
        subprocess.run(command, check=True)
    sys.path.insert(0, str(folder))  # this Python started before
"""
ASK = """\
# Where vaept is missing, say how to install it.
import importlib.util

if importlib.util.find_spec("vaept") is None:
    raise ImportError("vaept is missing: `make book` in its repository installs it.")
"""
LINKS = """\
Work in this chapter yourself: download it [as it was executed](path:../downloads/{name}.ipynb), or
[without outputs and solutions](path:../downloads/{name}_exercises.ipynb).
"""


def filled(text, values, escape=escaped):
    """Markdown, or with escape=str plain text, in which values, a dict by name, stand in place of {glue:text} roles."""

    def value(role):
        name, spec = role.groups()
        text = format(float(values[name]), spec) if spec else str(values[name])
        after = role.string[role.end() : role.end() + 1]
        listed = escape is escaped and text.isdigit() and after in (".", ")")  # at the start of a line
        return escape(text) + ("\\" if listed else "")

    return ROLE.sub(value, text)


def install_cell(made):
    """The first cell of a notebook to download, for a book that was `vaept.companion.citation.made_from`."""
    where = {"folder": FOLDER, "repository": made["repository"], "commit": made["commit"].removesuffix("-dirty")}
    source = INSTALL.format(**where) if made["repository"] and made["commit"] else ASK
    return _cell("code", "install", source.rstrip("\n"), execution_count=None, outputs=[], tags=["remove-cell"])


def without_solutions(notebook):
    """A notebook to work in: without solutions, without outputs."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = SOLUTION.sub("", "".join(cell["source"]))
        else:
            cell |= {"outputs": [], "execution_count": None}
    return notebook


def write(source, name, notebook, made):
    """Write a chapter of this name and what of it is to be downloaded into the sources of a book.

    The notebook, a dict, is as it is read; links to both files become the end of its page.
    """
    notebook["cells"].insert(0, install_cell(made))
    (source / "downloads").mkdir(exist_ok=True)
    own = [cell for cell in notebook["cells"] if not cell["id"].startswith("passport-")]  # whose links stay in the book
    alone = notebook | {"cells": own}
    _save(source / "downloads" / f"{name}.ipynb", alone)
    _save(source / "downloads" / f"{name}_exercises.ipynb", without_solutions(alone))
    notebook["cells"].append(_cell("markdown", "downloads", LINKS.format(name=name)))
    _save(source / "notebooks" / f"{name}.ipynb", notebook)


def write_content(source, root, folder):
    """Write the folders `binder` and `content` that NeuroLibre asks for, to be added to the files of the repository.

    Parameters
    ----------
    source : Path
        The sources of a book; `content` is a book of its own, whose chapters are executed when it is built.
    root : Path
        The checkout.
    folder : Path
        Receives both; what it held is deleted.
    """
    import yaml  # of the extra `book`

    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder / "content")
    (folder / "content" / "book" / "_toc.yml").rename(folder / "content" / "_toc.yml")
    config = folder / "content" / "_config.yml"
    settings = yaml.safe_load(config.read_text("utf-8"))
    settings["execute"] |= {"execute_notebooks": "force", "timeout": -1, "allow_errors": False}
    config.write_text(yaml.safe_dump(settings, allow_unicode=True), "utf-8")
    (folder / "binder").mkdir()
    lock = (root / "requirements.lock").read_text("utf-8")
    (folder / "binder" / "requirements.txt").write_text(f"{lock}--editable .\n", "utf-8")
    (folder / "binder" / "runtime.txt").write_text("python-3.11\n", "utf-8")


def _cell(kind, name, source, *, tags=(), **more):
    return {"cell_type": kind, "id": name, "metadata": {"tags": list(tags)}, "source": source, **more}


def _save(path, notebook):
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")
