"""The report on runs of a user's own: a page that needs no network, and a JSON file with its numbers."""

import base64
import html
import io
import json
import math
import warnings
from dataclasses import replace

import numpy as np

import vaept
from vaept.companion import figures, user_files
from vaept.companion.figures.style import MAX_DOTS
from vaept.companion.markdown import shown
from vaept.errors import InputError
from vaept.files import ensure_writable, write_bytes
from vaept.perturbation.fields import load_field, neighbour_field
from vaept.perturbation.orientation import orient
from vaept.spectrum import oscillator
from vaept.uses.runs import LEVELS, examine
from vaept.vae.agreement import compare
from vaept.vae.consensus import GROUPS, KERNEL_EXAMPLES, SHARE, SIGNIFICANT, align

NEARLY = 0.95  # share of what a group explains; a smaller group that reaches it nearly explains the difference
DRAWN, COMPARED = 5, 5000  # runs of which planes are drawn, and examples of which an orientation is judged
MOST, SOME = 0.7, 0.3  # share of their nearest neighbours that two runs have in common, from which so many hold
CARRIED = 0.95  # share of the variance that directions of the consensus carry together, if the others are hardly used
STEADY, KEPT = 0.5, 0.9  # Rand index in one run from which clusters are found, and share of it that is kept in two
# Of each group: what relates the runs, and what may be said of single coordinates and of distances.
MEANING = {
    "same": (
        "The runs agree as they are.",
        "A coordinate means the same in every run: its number, sign and size may be interpreted.",
        "Distances and angles are the same in every run.",
    ),
    "signed permutation": (
        "The runs agree up to the order and the signs of their coordinates.",
        "Every coordinate is found again in every run, but under another number or with the other sign: match them "
        "first (best partner below), and never speak of a number.",
        "Distances and angles are the same in every run.",
    ),
    "rotation": (
        "The runs agree up to a rotation or reflection.",
        "Single coordinates mean nothing by themselves: another run has other axes in the same space. Turn the runs "
        "onto a field (--orient) or their consensus (vaept.align) before a coordinate is interpreted.",
        "Distances and angles are the same in every run.",
    ),
    "linear": (
        "The runs agree up to a linear map, which also stretches.",
        "Single coordinates mean nothing by themselves; directions can be carried from run to run by a linear map.",
        "Distances differ from run to run: do not compare them. Straight lines and ratios along one line are kept.",
    ),
    "smooth": (
        "The runs agree up to a smooth bend: what the best linear map leaves is not all noise.",
        "Single coordinates mean nothing by themselves, and a direction only as far as turned runs agree along it.",
        "Distances differ from run to run, and straight lines of one are curves in another.",
    ),
    "none": (
        "No map that was tried explains half of the variance: the runs arrange the examples differently, or their "
        "examples are not in the same order.",
        "Nothing may be concluded from a coordinate of one run. First check that row i is the same example in every "
        "run (give names).",
        "Nothing may be concluded from a distance of one run.",
    ),
}
RULE = (
    f"A more flexible map is named only if on held-out examples it clearly ({SIGNIFICANT} standard errors of the "
    "difference) removes more than a set share of the remaining error, the larger, the more flexible it is: "
    + ", ".join(f"{share:.0%} ({name})" for name, share in SHARE.items())
    + f". With more than {math.isqrt(KERNEL_EXAMPLES)} coordinates few bends can be fitted, and it is enough that near "
    "examples miss the linear map alike."
)
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:760px;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
    "table{border-collapse:collapse}td,th{padding:2px 9px;border-bottom:1px solid #ddd;text-align:left}img{width:100%}"
)


def make(paths, output, *, key=None, labels=None, orient_by=None, jobs=None):
    """Read runs, examine them and write `report.html` and `report.json` into a folder.

    Parameters
    ----------
    paths : sequence of Path
        Files of two runs or more; see `vaept.companion.user_files`.
    output : Path
    key : str, optional
        Of the latents in .h5ad files.
    labels : Path, optional
        Of a file of labels in the order of the first run; without it those of the first run that has some.
    orient_by : Path, optional
        Of a field or of data, whose neighbour field is made: oriented latents are written too.
    jobs : int, optional

    Returns
    -------
    dict
        What `report.json` holds.

    Raises
    ------
    InputError
        If the files cannot be read or compared; the message says what to do.
    """
    if len(paths) < 2:
        raise InputError("One run cannot be compared. Give two or more, trained on the same examples with other seeds.")
    runs = [user_files.read(path, key) for path in paths]
    if labels is not None:
        own = user_files.read_labels(labels, len(runs[0].mu))
        runs = [replace(run, y=None if number else own) for number, run in enumerate(runs)]
    runs, notes = user_files.in_one_order(runs)
    n, classes = len(runs[0].mu), next((run.y for run in runs if run.y is not None), None)
    ensure_writable(output)
    variances = [None if run.logvar is None else np.exp(run.logvar) for run in runs]
    found = examine([run.mu for run in runs], variances, classes, jobs=jobs)
    found = {"runs": _names(runs), "notes": notes} | found
    same_d = len(set(found["d"])) == 1
    aligned = align([run.mu for run in runs]) if same_d else None
    found["consensus"] = _consensus(aligned) if same_d else None
    found["oriented"] = _orient(runs, orient_by, output) if orient_by is not None else None
    planes = None
    if same_d and found["d"][0] > 1:
        few = np.linspace(0, n - 1, min(n, MAX_DOTS)).astype(int)
        before = np.stack([run.mu[few, :2] for run in runs[:DRAWN]])
        planes = before, aligned.latents[:DRAWN, few, :2], None if classes is None else classes[few]
    write_bytes(output / "report.json", json.dumps(found, indent=1, ensure_ascii=False).encode())
    write_bytes(output / "report.html", _page(found, planes).encode())
    return found


def _consensus(aligned):
    """What is not in the consensus, each axis' share of its variance, and how well turned runs agree along it."""
    variance = aligned.consensus.var(axis=0)
    agreement = [
        compare(aligned.latents[:, :COMPARED, [k]], n_neighbours=1).coordinates.mean for k in range(len(variance))
    ]
    shares = variance / variance.sum() if variance.sum() > 0 else variance
    agreement = [None if np.isnan(each) else float(each) for each in agreement]
    return {"residual": aligned.residual.tolist(), "shares": shares.tolist(), "agreement": agreement}


def directions(found):
    """How many directions of the consensus are used, and how well turned runs agree along them: a sentence, or ""."""
    if found["consensus"] is None or found["group"] == "none":
        return ""
    shares, along = found["consensus"]["shares"], [shown(each, ".2f") for each in found["consensus"]["agreement"]]
    d, used = len(shares), min(int(np.searchsorted(np.cumsum(shares), CARRIED)) + 1, len(shares))
    carry = f"{used} of {d} directions carr{'ies' if used == 1 else 'y'} {sum(shares[:used]):.0%} of the variance"
    last = f", along the last to {along[-1]}" if d > 1 else ""
    idle = f"Hardly used: {d - used} of {d} directions. " if used < d else ""
    return f"{idle}Turned onto their consensus, {carry}; along the first the runs agree to r = {along[0]}{last}."


def _names(runs):
    """What files are called: their names or, where these are alike, their paths."""
    names = [run.path.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.path) for run in runs]


def _orient(runs, path, output):
    """Write the runs turned to a field, and say how much it helped."""
    if len({run.mu.shape for run in runs}) > 1:
        raise InputError("--orient needs runs with equally many coordinates.")
    means = np.stack([run.mu for run in runs])
    n, d = means.shape[1:]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)  # of directions that are not determined: the page says so
        field = load_field(path) if path.suffix == ".safetensors" else neighbour_field(user_files.data(path), d)
        values = field.values
        values = values if runs[0].place is None or len(values) == n else values[runs[0].place]
        if len(values) != n or values.shape[1] < d:
            raise InputError(f"{path.name} must be of the same {n} examples and give {d} components: {values.shape}.")
        turned = orient(means, values)
    files = ["oriented_" + name.strip("./").replace("/", "_") for name in _names(runs)]
    for run, own, name in zip(runs, turned.latents, files, strict=True):
        user_files.write_back(run, own, output / name)
    agreement = [compare(z[:, :COMPARED], n_neighbours=1).coordinates.mean for z in (means, turned.latents)]
    words = [str(each.message) for each in said]
    return {"files": files, "before": agreement[0], "after": agreement[1], "warnings": words}


def nearly(found):
    """A sentence on the smallest group that explains nearly as much as the named one in every pair, or ""."""
    group, pairs = found["group"], found["pairs"]
    if group == "none":
        return ""
    smaller = GROUPS[: GROUPS.index(group)]
    for name in (name for name in smaller if all({name, group} <= pair["r2"].keys() for pair in pairs)):
        least, best = min(pair["r2"][name] for pair in pairs), min(pair["r2"][group] for pair in pairs)
        if all(pair["r2"][name] >= NEARLY * pair["r2"][group] for pair in pairs):
            article = "the runs as they are explain" if name == "same" else f"a {name} map explains"
            article = f"a {name} explains" if name in ("rotation", "signed permutation") else article
            return (
                f"That is what can be told apart with so many examples. In practice {article} nearly all: {least:.1%} "
                f"of the variance in every pair, against {best:.1%}. For that group: {MEANING[name][1]} "
                f"{MEANING[name][2]}"
            )
    return ""


def explained(found):
    """How much the named group and the next smaller one explain, means over pairs, in a sentence; or ""."""
    names = [name for name in GROUPS if all(name in pair["r2"] for pair in found["pairs"])]
    if found["group"] not in names:
        return ""
    at = names.index(found["group"])
    told = [
        f"{name} {shown(np.mean([pair['r2'][name] for pair in found['pairs']]), '.2f')}" for name in names[: at + 1]
    ]
    return f"Explained variance of held-out examples, R², by group: {', '.join(told[-2:])}."


def _page(found, planes):
    """The HTML of what was found."""
    group, made_by = found["group"], f"{len(found['runs'])} runs, {found['n']:,} examples"
    runs, pairs, how = found["runs"], found["pairs"], found["coordinates"]
    names = [name for name in GROUPS if all(name in pair["r2"] for pair in pairs)]
    r2 = {name: np.array([pair["r2"][name] for pair in pairs]) for name in names}
    noises = [value for value in found["noise"] if value is not None]
    noise = float(np.mean(noises)) if noises else None
    rows = [[*(runs[i] for i in pair["runs"]), pair["group"]] for pair in pairs]
    rows = [row + [f"{pair['r2'][name]:.3f}" for name in names] for row, pair in zip(rows, pairs, strict=True)]
    parts = [
        f"<h1>{html.escape(MEANING[group][0])}</h1>",
        *(_paragraph(words) for words in (directions(found), explained(found), nearly(found)) if words),
        _conclusions(found),
        *map(_paragraph, found["notes"]),
        "<h2>What differs</h2>" + _paragraph(_judged(found, noise)),
        _picture(figures.explained_by_group(r2, group, noise, made_by=made_by), "explained variance by group"),
        _table(["run", "and", "group", *(f"R², {name}" for name in names)], rows),
        "<h2>Coordinates</h2>" + _inactive(found),
        _picture(figures.coordinates_of_runs(how["equal"], how["best"], made_by=made_by), "coordinates found again"),
    ]
    if planes is not None:
        parts.append(_picture(figures.planes_of_runs(*planes, made_by=made_by), "latent planes of the runs"))
    if found["consensus"] is not None:
        rows = [[run, f"{value:.3f}"] for run, value in zip(runs, found["consensus"]["residual"], strict=True)]
        parts.append(_table(["run", "share of its variance that is not in the consensus of all"], rows))
    if (own := found["oriented"]) is not None:
        words = "Agreement of equal-numbered coordinates: {before:.2f} as they are, {after:.2f} turned to the field."
        parts.append("<h2>Oriented</h2>" + _paragraph(words.format(**own) + f" Written: {', '.join(own['files'])}."))
        parts += map(_paragraph, own["warnings"])
    parts.append("<h2>Level spectra</h2>" + _spectra(found, made_by))
    if found["probe"] is not None:
        rows = [[name, "–" if value is None else f"{value:.1%}"] for name, value in found["probe"].items()]
        words = "Labels told by the nearest neighbours in one run, for other examples there and in another run."
        parts.append("<h2>A probe that moves from run to run</h2>" + _paragraph(words) + _table(["", "right"], rows))
    style = f"<meta charset='utf-8'><title>Runs compared</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang='en'>{style}<body>{''.join(parts)}<p>vaept {vaept.__version__}</p></body></html>"


def neighbourhoods(found):
    """Whether neighbours hold in another run, in plain words."""
    near = found["neighbours"]
    if near is None:
        return "Not compared: there are too few examples for so many coordinates."
    share = near["mean"]
    verdict = "Most hold" if share > MOST else "Some hold" if share > SOME else "Few hold"
    told = f"{verdict} in another run: of the {near['k']} nearest neighbours two runs share {share:.0%}"
    told += f" (by chance {near['chance']:.1%})."
    return told + f" Of the first {near['runs']} runs." * (near["runs"] < len(found["runs"]))


def clusters(found):
    """Whether clusters hold in another run, in plain words."""
    parts = found["partitions"]
    if parts is None:
        return "Not compared: there are too few different examples."
    steady = "differ from run to run"
    if parts["within"] < STEADY:
        steady = "are not even found twice in one run"
    elif parts["between"] > KEPT * parts["within"]:
        steady = "are the same in every run"
    return (
        f"{parts['groups']} clusters {steady}: partitions from two halves of the examples agree with an adjusted "
        f"Rand index of {parts['within']:.2f} in one run and {parts['between']:.2f} in two."
    )


def _conclusions(found):
    """What may be concluded from what, in plain words."""
    _, coordinates, distances = MEANING[found["group"]]
    rows = [["single coordinates", coordinates], ["distances", distances]]
    rows += [["neighbourhoods", neighbourhoods(found)], ["clusters", clusters(found)]]
    return _table(["From", "may be concluded"], rows)


def _judged(found, noise):
    used, n, each = found["examples_used"], found["n"], len(found["pairs"]) == len(found["runs"]) > 3
    some = "" if used["maps"] == n else f" Of {n:,} examples {used['maps']:,} were used, chosen by lot."
    beside = "The runs do not say how noisy they are (no logvar)."
    if noise is not None:
        beside = f"The posteriors' own noise is {noise:.1%} of the variance of what is drawn from them."
    if found["group"] != "none":
        least = min(pair["r2"].get(found["group"], 1) for pair in found["pairs"])
        beside = f"In every pair this group explains {least:.1%} of the variance or more. {beside}"
    return (
        f"For {'each run and the next' if each else 'every pair of runs'} the best map of each group was fitted to "
        f"some examples and judged on others. {RULE}{some} Neighbours, partitions and the probe take "
        f"{used['neighbours, partitions and probe']:,}. {beside}"
    )


def _inactive(found):
    several = zip(found["runs"], found["inactive"], strict=True)
    rows = [f"{run}: {', '.join(map(str, own))}" for run, own in several if own]
    return _paragraph("Inactive coordinates (from 0), which hardly vary: " + ("; ".join(rows) or "none") + ".")


def _spectra(found, made_by):
    """The fingerprints of the runs that have some, and why others have none."""
    groups = {}
    for own, d, off in zip(found["spectra"], found["d"], found["inactive"], strict=True):
        if "levels" in own:
            groups.setdefault(f"d = {d - len(off)}", []).append(own)
    parts = [
        _paragraph(f"{run}: none, {own['left_out']}.")
        for run, own in zip(found["runs"], found["spectra"], strict=True)
        if "left_out" in own
    ]
    if groups:
        spectra = {
            k: tuple(np.array([own[p] for own in v]) for p in ("levels", "intervals")) for k, v in groups.items()
        }
        reference = {k: _oscillator(int(k[4:])) for k in groups}
        parts.insert(0, _paragraph("Levels of the densities, which no rotation changes: runs that differ here differ."))
        parts.insert(1, _picture(figures.fingerprints(spectra, reference, made_by=made_by), "level spectra"))
    return "".join(parts)


def _oscillator(d):
    levels = np.arange(LEVELS, dtype=float)
    return np.repeat(levels, [oscillator.multiplicity(int(level), d) for level in levels])[:LEVELS]


def _paragraph(text):
    return f"<p>{html.escape(text)}</p>"


def _table(header, rows):
    cells = ["".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in rows]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    return f"<table><tr>{head}</tr>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


def _picture(figure, what):
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return f"<img alt='{what}' src='data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}'>"
