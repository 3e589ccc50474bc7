"""The book's folder as a research object: ro-crate-metadata.json says which run made which file, from the provenance
that the run store keeps.

An RO-Crate 1.1 of the profile Process Run Crate 0.5 (https://w3id.org/ro/wfrun/process/0.5): each result of the study,
each executed chapter and the book are a CreateAction. Results of the study are not in the folder but named by their
keys.
"""

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from vaept.companion.store import provenance

FILE = "ro-crate-metadata.json"
CRATE, PROFILE = "https://w3id.org/ro/crate/1.1", "https://w3id.org/ro/wfrun/process/0.5"
CONTEXT = [f"{CRATE}/context", "https://w3id.org/ro/terms/workflow-run/context"]
MIME = {".html": "text/html", ".ipynb": "application/x-ipynb+json", ".png": "image/png", ".svg": "image/svg+xml"}
MIME |= {".pdf": "application/pdf"}
TOOL, DATA, AUTHORS = "#vaept", "#data", "#authors"
SHARED = {  # kinds of results that belong to no single run, and what they are called
    "field": "field",
    "fields": "agreement of fields",
    "classifier": "classifier of images",
    "baselines": "baselines",
    "interchange": "exchange of parts",
    "landscapes": "landscapes of the explorer",
}
LICENSES = {
    "https://creativecommons.org/licenses/by/4.0/": "CC BY 4.0, of text and figures",
    "https://spdx.org/licenses/MIT": "MIT, of code",
}


def write(html, study, executed, cited, made):
    """Write ro-crate-metadata.json into the folder of a built book.

    Parameters
    ----------
    html : Path
        The folder, complete but for this file.
    study : vaept.companion.study.Study
    executed : list of Path
        The executed chapters in the run store.
    cited, made : dict
        From `vaept.companion.citation.citation` and `made_from`.
    """
    graph = entities(html, study, executed, cited, made)
    text = json.dumps({"@context": CONTEXT, "@graph": graph}, indent=1, ensure_ascii=False)
    (html / FILE).write_text(text + "\n", "utf-8")


def entities(html, study, executed, cited, made):
    """The graph of the crate: a list of dicts."""
    files = [_file(path, html) for path in sorted(html.rglob("*")) if path.suffix in MIME]
    files = [file for file in files if not file["@id"].startswith(("_static/", "_sources/"))]
    results, now = (
        {folder: title for title, folder in results_of(study)},
        datetime.now(UTC).isoformat(timespec="seconds"),
    )
    inputs, pages = [DATA, *(f"#{folder.name}" for folder in results)], {file["@id"] for file in files}
    steps = [_action(title, folder, [DATA], [f"#{folder.name}"]) for folder, title in results.items()]
    for path in executed:
        own = sorted(page for page in pages if f"/{path.stem}." in page or f"/{path.stem}_exercises." in page)
        pages -= set(own)
        steps.append(_action(path.stem.replace("_", " "), path.parent, inputs, own))
    book = {"@id": "#book", "@type": "CreateAction", "name": "book", "instrument": _to(TOOL), "agent": _to(AUTHORS)}
    book |= {"description": f"vaept reproduce --profile {made['profile']}", "endTime": now}
    steps.append(book | {"object": _all(inputs), "result": _all(sorted(pages))})
    root = {"@id": "./", "@type": "Dataset", "conformsTo": _to(PROFILE), "name": cited["title"]}
    root |= {"description": cited["abstract"].strip(), "datePublished": now[:10], "version": made["version"]}
    root |= {"license": _all(LICENSES), "author": _to(AUTHORS)}
    root |= {"citation": _all(paper["@id"] for paper in _papers(cited))}
    root |= {"hasPart": _all(file["@id"] for file in files), "mentions": _all(step["@id"] for step in steps)}
    descriptor = {"@id": FILE, "@type": "CreativeWork", "conformsTo": _to(CRATE), "about": _to("./")}
    kept = [_result(title, folder) for folder, title in results.items()]
    return [descriptor, root, *_context(study, cited, made), *_papers(cited), *files, *kept, *steps]


def results_of(study):
    """What a study keeps of its runs: a list of titles and folders of the run store."""
    found = []
    for run in study.runs:
        found.append((f"training: {run.title}", study.ensemble_folder(run)))
        found.append((f"evaluation: {run.title}", study.evaluation_folder(run)))
        found += [(f"{what}: {run.title}", folder) for what, folder in study.measure_folders(run).items()]
    known = {folder for _, folder in found}
    for folder in study.store.used:  # what runs share, as far as it was asked for
        what = SHARED.get(folder.name.rpartition("-")[0])
        found += [(what, folder)] if what and folder not in known else []
    return found


def _context(study, cited, made):
    """What the crate refers to: the profile, the tool, its authors, the data and the licences."""
    tool = {"@id": TOOL, "@type": "SoftwareApplication", "name": cited["title"], "softwareVersion": made["version"]}
    if made["repository"]:
        tool["url"] = made["repository"]
    if made["commit"]:
        tool["identifier"] = made["commit"]
    data = {"@id": DATA, "@type": "CreativeWork", "name": study.dataset.name, "identifier": study.dataset.checksum}
    licenses = [{"@id": url, "@type": "CreativeWork", "name": name} for url, name in LICENSES.items()]
    (authors,) = cited["authors"]
    return [
        {"@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": PROFILE.rpartition("/")[2]},
        tool,
        {"@id": AUTHORS, "@type": "Organization", "name": authors["name"]},
        data,
        *licenses,
    ]


def _papers(cited):
    return [
        {
            "@id": f"https://arxiv.org/abs/{paper['identifiers'][0]['value'].partition(':')[2]}",
            "@type": "ScholarlyArticle",
            "name": paper["title"],
            "datePublished": str(paper["year"]),
        }
        for paper in cited["references"]
    ]


def _file(path, html):
    own = path.relative_to(html).as_posix()
    file = {"@id": quote(own), "@type": "File", "name": path.name, "encodingFormat": MIME[path.suffix]}
    return file | {"contentSize": str(path.stat().st_size)}


def _result(title, folder):
    where = "a folder of the run store, which is not in this crate"
    return {"@id": f"#{folder.name}", "@type": "CreativeWork", "name": title, "description": where}


def _action(title, folder, inputs, outputs):
    """One execution, from the provenance of its folder."""
    record = provenance(folder)
    end = datetime.fromisoformat(record["created"])
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return {
        "@id": f"#run-{folder.name}",
        "@type": "CreateAction",
        "name": title,
        "description": f"{record['seconds']:.0f} s on {record['machine']}, with {versions}",
        "startTime": (end - timedelta(seconds=round(record["seconds"]))).isoformat(),
        "endTime": end.isoformat(),
        "instrument": _to(TOOL),
        "agent": _to(AUTHORS),
        "object": _all(inputs),
        "result": _all(outputs),
    }


def _to(entity):
    return {"@id": entity}


def _all(entities):
    return [_to(entity) for entity in entities]
