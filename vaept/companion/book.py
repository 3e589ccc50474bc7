"""Execute the chapters that compute and build the book around them.

The chapters are executed by papermill, each in a process of its own, into the run store, where a chapter is found
again unless its text, the profile, the data or the package have changed. Jupyter Book then builds the
executed copies, with execution off and warnings as errors. Needs a checkout and the extra `book`.
"""

import ast
import importlib.util
import json
import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib import metadata, resources
from pathlib import Path

from vaept.companion import benchmarks, citation, crate, downloads, explorer, figures, gallery, pdf
from vaept.companion.keys import source_hash
from vaept.companion.ledger import CAVEAT, as_markdown, published_verdicts, summary, verdicts_of
from vaept.companion.markdown import escaped, mean_and_spread, shown
from vaept.companion.passports import Catalogue, Passports
from vaept.companion.places import CHECKOUT, PACKAGE
from vaept.companion.profiles import profile
from vaept.companion.records import Records
from vaept.companion.store import provenance
from vaept.companion.study import Study
from vaept.companion.wording import given_classes, words
from vaept.errors import InputError, VaeptError
from vaept.processes import run_python

DATA_FILES = (".toml", ".mplstyle")  # of the package, which decide what a chapter shows
NEEDED = {"papermill": "papermill", "jupyter_book": "jupyter-book", "myst_nb": "myst-nb", "ipykernel": "ipykernel"}
NEEDED |= {"mathjax": "django-static-mathjax"}
TYPESETTER = "static/mathjax/es5/tex-svg-full.js"  # draws formulas without fonts, and so without asking any host

PRINTED = f'The whole is <a href="../{pdf.FILE}">one PDF</a> too.'
TEASER_BY = "vaept/companion/book.py"  # draws the figure of the first page
GLUE = "application/papermill.record/text/plain"  # the type of an output that hands a value to the prose
PARAMETERS = "profile, data"  # as a chapter hands them on


class BookError(VaeptError, RuntimeError):
    """A chapter that failed, or a book that could not be built."""


def checkout():
    """The folder of the checkout that the package runs from; an InputError says what is missing."""
    if CHECKOUT is None:
        raise InputError(
            "The book's sources are not part of the installed package: clone the repository and run "
            "`make book` there, or install it with `pip install -e .[book]`."
        )
    missing = [project for module, project in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(f"Building the book needs {', '.join(missing)}: install with `pip install -e .[book]`.")
    return CHECKOUT


def chapters(root):
    """Paths of the notebooks, in the order of the chapters."""
    return sorted((root / "notebooks").glob("[0-9]*.ipynb"))


def execute(study: Study, jobs: int, report=lambda line: None):
    """Execute all chapters, or find them executed in the study's store; returns the list of their paths, in order.

    Parameters
    ----------
    study : Study
        Its profile, data and store are handed to each chapter.
    jobs : int
        Chapters at once, each in a process of its own.
    report : callable
        Called with a line for each chapter.

    Raises
    ------
    BookError
        If a cell of a chapter fails; the message names the chapter and the error.
    """
    root, runs, paths = checkout(), study.runs, []
    tables = [*sorted((root / "benchmarks").glob("results/*.json")), *sorted((root / "results").glob("*/*.json"))]
    tables = {str(path.relative_to(root)): path.read_text("utf-8") for path in tables}
    tables |= {path.name: path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.*")) if path.suffix in DATA_FILES}
    results = [study.evaluation_folder(run).name for run in runs]
    results += [folder.name for run in runs for folder in study.measure_folders(run).values()]
    request = {"profile": study.profile.name, "data": study.dataset.checksum, "tables": tables, "results": results}
    notebooks = chapters(root)
    with ThreadPoolExecutor(min(jobs, len(notebooks))) as pool:
        for path, seconds in pool.map(partial(_execute_one, study, request), notebooks):
            report(f"  {path.name}: {seconds}")
            paths.append(path)
    return paths


def _execute_one(study, request, notebook):
    """The executed notebook and how long that took, in words."""
    start, took = time.perf_counter(), []

    def run(folder):
        result = folder / notebook.name
        command = [str(notebook), str(result), "--cwd", str(notebook.parent)]
        command += ["--kernel", "python3", "--no-progress-bar", "-r", "profile", study.source]
        data = study.profile.dataset
        if data != profile(study.source).dataset:
            command += ["-r", "data", str(Path(data).resolve()) if data.endswith(".npz") else data]
        # Paths are made absolute, for a chapter runs in the folder of the notebooks.
        own = {"OMP_NUM_THREADS": "1", "VAEPT_STORE": str(study.store.root.resolve())}
        temporary = folder / "temporary"  # here, because a kernel that is killed leaves its files
        temporary.mkdir()
        own["TMPDIR"] = str(temporary.resolve())
        if os.environ.get("VAEPT_DATA_DIR"):
            own["VAEPT_DATA_DIR"] = str(Path(os.environ["VAEPT_DATA_DIR"]).resolve())
        outcome = run_python("from papermill.cli import papermill; papermill()", command, env=os.environ | own)
        if outcome.returncode:
            raise BookError(f"Chapter {notebook.name} failed: {_cause(result, outcome.stderr)}")
        shutil.rmtree(temporary)
        took.append(f"{time.perf_counter() - start:.0f} s")

    own = {"name": notebook.name, "notebook": notebook.read_text("utf-8"), "source": code_hash(notebook, versions=True)}
    folder = study.store.obtain("chapter", request | own, run)
    return folder / notebook.name, "".join(took) or "already executed"


def code_hash(notebook, *, versions=False):
    """The `vaept.companion.keys.source_hash` of all code that the notebook at this path comes through."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return source_hash(code, versions=versions)


def _cause(notebook, stderr):
    """The error that stopped an executed notebook, or else the last line that papermill wrote."""
    if notebook.is_file():
        for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                if output["output_type"] == "error":
                    return f"{output['ename']}: {output['evalue']}"
    return (stderr.strip().splitlines() or ["no message"])[-1]


def build(study: Study, records: Records, entries: list, executed: list, output: Path, printer: list | None = None):
    """Build the book from executed chapters; returns the path of its first page.

    Parameters
    ----------
    study : Study
    records : Records
        Of that study; fill the numbers of the pages that do not compute, as {{ names }}, and draw the teaser.
    entries : list of vaept.companion.ledger.Entry
        The ledger, which becomes a page.
    executed : list of Path
        As `execute` returns them.
    output : Path
        The folder that receives `html` and the passports of the figures; an older book there is replaced once the new
        one is complete.
    printer : list of str, optional
        From `vaept.companion.pdf.browser`; prints the whole book as a PDF.

    Raises
    ------
    BookError
        If Jupyter Book reports an error or a warning (the message holds the last of its lines), or nothing was printed.
    InputError
        If a figure is empty.
    """
    root, source, html = checkout(), output / "source", output / "html"
    made, cited = citation.made_from(root, study.profile.name), citation.citation(root)
    for old in (output / "_build", source):  # stale pages and doctrees would hide errors
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(root / "book", source / "book")
    passports = _write_figures(study, records, executed, source, made)
    (source / "book" / "ledger.md").write_text(_ledger_page(records, entries), "utf-8")
    (source / "book" / "cite.md").write_text(citation.page(cited, made), "utf-8")
    static = source / "book" / "_static"  # were it _static alone, every script there would be on every page
    (static / "mathjax").mkdir(parents=True, exist_ok=True)
    shutil.copy(resources.files("mathjax") / TYPESETTER, static / "mathjax")
    explorer.write(study, source / "book" / "explore.md", static / "explorer")
    (source / "book" / "status.md").write_text(_status_page(study, executed), "utf-8")
    filled = _substitutions(study, records, entries) | {"pdf": PRINTED if printer else ""}
    config = _config(root / "_config.yml", filled, made)
    (source / "_config.yml").write_text(config, "utf-8")
    downloads.write_content(source, root, output / "launch")
    command = ["build", str(source), "--path-output", str(output)]
    command += ["--toc", str(source / "book" / "_toc.yml"), "-W", "-n", "--keep-going", "--quiet"]
    run = run_python("from jupyter_book.cli.main import main; main()", command, env=os.environ | {"NO_COLOR": "1"})
    log, printed = output / "build.log", re.sub(r"\x1b\[[0-9;]*m", "", run.stdout + run.stderr)
    log.write_text(printed, "utf-8")
    built = output / "_build" / "html"
    if run.returncode or not (built / "index.html").exists():
        causes = [line.strip() for line in printed.splitlines() if re.search("warning:|error:", line, re.IGNORECASE)]
        raise BookError(f"Jupyter Book failed: {' '.join(causes[:3]) or 'no message'} (the whole log: {log})")
    shutil.rmtree(html, ignore_errors=True)
    built.rename(html)
    passports.save(output)
    shutil.rmtree(output / "_build", ignore_errors=True)
    if printer and not pdf.write(html, root / "book" / "_toc.yml", printer):
        raise BookError(f"The book is in {html}, but {printer[0]} could not print it.")
    crate.write(html, study, executed, cited, made)
    shutil.make_archive(str(output / f"vaept-book-{records.profile}"), "zip", html)
    return html / "index.html"


def _write_figures(study, records, executed, source, made):
    """Write the chapters, the figure of the first page and the gallery; returns the `Passports` of all figures."""
    book, catalogue = source / "book", Catalogue(study)
    commit = made["commit"] or f"version {made['version']}"
    passports = Passports(study.profile.name, study.dataset.name, study.dataset.checksum, commit)
    how = {"made": passports, "catalogue": catalogue, "folder": book / gallery.FOLDER}
    made_by = _draw_teaser(study, records, book / "images" / "teaser.png")
    found = gallery.stamp_page(book / "intro.md", made_by, TEASER_BY, source_hash(_draw_teaser), **how)
    (source / "notebooks").mkdir()
    for path in executed:
        notebook = _described(path, study)
        found += gallery.stamp(notebook, path, **how)
        downloads.write(source, path.stem, notebook, made)
    (book / "gallery.md").write_text(gallery.page(found), "utf-8")
    return replace(passports, figures=tuple(found))


def code_of_figures(root):
    """What `vaept.companion.passports.Figure.code` would be now, as a dict from the file that draws."""
    code = {f"notebooks/{path.name}": code_hash(path, versions=True) for path in chapters(root)}
    return code | {TEASER_BY: source_hash(_draw_teaser)}


def _config(path, substitutions, made):
    """The book's configuration with what this copy fills in."""
    import yaml

    config = yaml.safe_load(path.read_text("utf-8"))
    config["parse"]["myst_substitutions"] = substitutions
    config["sphinx"]["config"]["html_context"]["made"] = made
    if made["repository"]:  # where the book is published; the buttons need to know
        config["sphinx"]["config"]["html_theme_options"] |= {
            "repository_url": made["repository"],
            "repository_branch": downloads.BRANCH,
            "path_to_docs": "content",
            "use_repository_button": True,
            "use_issues_button": True,
            "launch_buttons": {
                "notebook_interface": "jupyterlab",
                "binderhub_url": "https://mybinder.org",
                "colab_url": "https://colab.research.google.com",
            },
        }
    return yaml.safe_dump(config, allow_unicode=True)


def _described(path, study):
    """An executed notebook as it is read: a caption wherever there is a figure, with what was glued, and its profile.

    What a reader copies opens the same study: the parameters, which are not shown, are written where they are used.
    """
    own, data = [Path(study.source).name], study.profile.dataset
    own += [Path(data).name] if data != profile(study.source).dataset else []
    notebook = json.loads(path.read_text("utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    glued = {o["metadata"]["scrapbook"]["name"]: o["data"][GLUE] for o in outputs if GLUE in o.get("data", {})}
    values = {name: ast.literal_eval("".join(text)) for name, text in glued.items()}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = downloads.filled("".join(cell["source"]), values)
    for cell in cells:
        if "injected-parameters" in cell["metadata"].get("tags", []):  # the notebooks hide their own
            cell["metadata"]["tags"].append("remove-cell")
        cell["source"] = "".join(cell["source"]).replace(PARAMETERS, ", ".join(map(json.dumps, own)))
        options = cell["metadata"].get("mystnb", {})
        if not any(set(gallery.KINDS) & output.get("data", {}).keys() for output in cell["outputs"]):
            options.pop("figure", None)
        for part, key in (("figure", "caption"), ("image", "alt")):
            if key in options.get(part, {}):
                escape = escaped if key == "caption" else str
                options[part][key] = downloads.filled(options[part][key], values, escape)
    return notebook


def _ledger_page(records, entries):
    """The ledger as a page, in MyST Markdown."""
    page = as_markdown(entries).replace(CAVEAT, "[](fidelity.md)")
    return f"""# The ledger

Every statement of the paper's abstract, in our words, and one of ours, with what it comes to in this copy and in the
published runs. A claim has a test for each latent dimension and each arm that a study trains, so studies differ in how
many. Which fail is said below for this copy, and in `results/` for the published ones.

{summary({f"this copy ({records.profile})": verdicts_of(entries)} | published_verdicts(leave_out=records.profile))}

Below is every number of this copy: profile **{records.profile}**, {records.n_train:,} training images of
{escaped(records.data)}. Values are means with 95 % intervals over members.
`vaept verify --profile {records.profile}` prints them.{_borrowed(records)}

{page}"""


def _borrowed(records):
    """What of this copy is not its own, as a sentence that begins with a blank; "" if all is."""
    if not records.borrowed:
        return ""
    return (
        " The price list, two labs and trainings of several lengths were not made for this copy: they are those that "
        f"were published on {records.borrowed[:10]}, made by the same code with the same data. "
        f"`vaept reproduce --profile {records.profile} --everything` makes them."
    )


def _draw_teaser(study, records, path):
    """Draw the figure of the first page; returns its label."""
    d = records.latent_dims[0]
    arms = [records.arms[name, d] for name in ("cold", "corrected")]
    made_by = study.label(d, "cold", "corrected")
    planes = [record.mean[:, :, :2] for record in arms]
    path.parent.mkdir(exist_ok=True)
    figures.teaser(*planes, given_classes(records), made_by=made_by).savefig(path)
    return made_by


def _substitutions(study, records, entries):
    """Numbers for the pages that do not compute."""
    d = records.latent_dims[0]
    arms, of_data = {name: records.arms[name, d] for name in ("cold", "warm", "corrected")}, words(study)
    values = {"profile": records.profile, "data": escaped(records.data), "n_train": f"{records.n_train:,}", "d": d}
    values |= {"what": of_data["what"], "in_classes": of_data["in_classes"], "members": len(arms["cold"].mean)}
    for name, record in arms.items():
        values[f"{name}_loss"] = mean_and_spread(record.minus_elbo)
        values[f"{name}_agreement"] = shown(record.agreement.coordinates, ".2f")
        values[f"{name}_rotation"] = shown(record.agreement.orthogonal, ".2f")
    for entry in entries:
        values[entry.claim.id] = entry.verdict
    values |= {"times": benchmarks.times(), "growth": benchmarks.growth()}
    return {name: str(value) for name, value in values.items()}


def _status_page(study, executed):
    """A page on how this copy of the book was made, in MyST Markdown."""
    profile, dataset, results, rows = study.profile, study.dataset, crate.results_of(study), []
    results += [(path.stem.replace("_", " "), path.parent) for path in executed]
    for name, folder in results:
        record = provenance(folder)
        made = record["created"][:16].replace("T", " ")
        rows.append(f"| {name} | {record['key'][:8]} | {record['seconds']:.0f} | {made} |")
    record = provenance(results[0][1])
    tools = [f"{name} {metadata.version(name)}" for name in ("jupyter-book", "myst-nb", "sphinx", "papermill")]
    versions = [f"{name} {version}" for name, version in record["versions"].items()]
    table, note = "\n".join(rows), "" if study.borrowed is None else _borrowed(study.records())
    return f"""# How this copy was made

Every figure and number in these pages comes from one run with the profile **{profile.name}**: {profile.members} members
for each arm and each of d = {", ".join(map(str, profile.latent_dims))}, {profile.epochs} epochs on
{len(dataset.train):,} images of {escaped(dataset.name)}, tested on {len(dataset.test):,} others.{note}

| result | run | seconds | made (UTC) |
|---|---|---|---|
{table}

Trained in {study.precision} on {record["machine"]}, with {", ".join(versions)}; built with {", ".join(tools)}.

The checksum of the data is `{dataset.checksum}`. A run is named by a hash of everything that made it: parameters, data,
the code that it came through and the versions of the packages which that uses.
"""
