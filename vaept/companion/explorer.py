"""The latent explorer: a page on which readers move a point over latent planes and see what every seed decodes there.

The browser decodes. It gets each decoder as integers with a scale for each row, and beside it the member's landscape on
a grid and some test images as dots, as base64 in a script, because a page that is opened from disk may load nothing
else. Weights are rounded one after the other, and those that are left make up for the errors so far, as far as the
latents of the plane can tell (Frantar et al. 2023, GPTQ, ICLR).
"""

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot as plt
from skimage.measure import label
from skimage.morphology import h_minima
from skimage.segmentation import watershed

from vaept.companion import figures
from vaept.companion.figures.style import STYLE, as_picture, class_colours
from vaept.companion.keys import source_hash
from vaept.companion.markdown import escaped
from vaept.companion.profiles import Run
from vaept.companion.study import Study
from vaept.companion.wording import given_classes
from vaept.files import read_tensors, write_tensors
from vaept.processes import cores, in_processes
from vaept.spectrum import oscillator
from vaept.uses.member import Member
from vaept.uses.paths import SHALLOW

ARMS = {"cold": "without the field", "corrected": "with the field"}
POINTS = 96  # of the landscape's grid along each axis
FEWER = 40  # of the grid on which rounding is made up for
TOP = 6.0  # kT above the lowest valley: what is higher is drawn alike
DOTS = 300
BARS = 20  # of populations
LARGEST = 2_000_000  # characters of the data
ROOM = 20_000  # of them for all but the members
DAMPING = 1e-6
FILES = ("explorer.js", "explorer.css")


def write(study: Study, page: Path, folder: Path):
    """Write the page of the explorer, in MyST Markdown, and the folder of static files that it alone loads."""
    dims = study.profile.latent_dims
    found = packed(study) if 2 in dims else None
    if found is None:
        reason = _TOO_LARGE if 2 in dims else _NO_PLANE.format(dims=", ".join(map(str, dims)))
        page.write_text(_NOTHING.format(reason=reason), "utf-8")
        return
    folder.mkdir(parents=True, exist_ok=True)
    text = f"window.vaeptExplorer = {json.dumps(found, separators=(',', ':'))};\n"
    (folder / "data.js").write_text(text, "utf-8")
    for name in FILES:
        shutil.copy(page.parent / name, folder / name)
    rows = {}
    for arm, title in ARMS.items():
        images = study.ensemble(2, arm).decode([found["start"]])[:, 0]
        rows[title] = images, f"differ by {images.std(0).mean():.3f}"
    figures.one_place(rows, made_by=study.label(2, *ARMS)).savefig(folder / "still.png")
    page.write_text(_page(study, found, len(text)), "utf-8")


def packed(study):
    """What the page needs of a study, as JSON values: see `explorer.js`, which reads them.

    Weights have 16 bits if all members fit into `LARGEST` characters, else 8; then members are left out if need be, the
    last ones first, and `seeds` holds those that are there. `error` is the largest difference of a pixel from the
    model's own, over the grid of the landscape. None if there is no room for two seeds.
    """
    ensembles = {arm: study.ensemble(2, arm) for arm in ARMS}
    evaluations = {arm: study.evaluation(2, arm) for arm in ARMS}
    reach = float(np.ceil(11 * max(np.quantile(np.abs(e.mean), 0.998) for e in evaluations.values())) / 10)
    places = {arm: _places(study, arm, evaluations[arm], reach) for arm in ARMS}
    n = min(len(ensemble.members) for ensemble in ensembles.values())
    for bits in (16, 8):
        seeds, left = [], LARGEST - ROOM
        for i in range(n):
            own = [packed_decoder(ensembles[arm].members[i], reach, bits) | places[arm][i] for arm in ARMS]
            left -= len(json.dumps(own))
            if left < 0:
                break
            seeds.append(own)
        if len(seeds) == n:
            break
    if len(seeds) < 2:
        return None
    energy = oscillator.energy(evaluations["corrected"].mean[0], evaluations["corrected"].variance[0])
    picture, names = as_picture(np.zeros(study.dataset.image_shape)), given_classes(study.dataset)
    names = None if names is None else names[:DOTS]
    with plt.style.context(STYLE):
        colours = class_colours(names, min(DOTS, len(study.dataset.test))).tolist()
    return {
        "reach": reach,
        "points": POINTS,
        "top": TOP,
        "start": np.round(evaluations["corrected"].mean[0, 0].clip(-reach, reach), 2).tolist(),
        "shape": list(study.dataset.image_shape),
        "picture": None if picture is None else list(picture.shape),
        "bernoulli": study.profile.likelihood == "bernoulli",
        "levels": max(1, int(0.3 * energy.mean())),
        "bars": BARS,
        "bits": bits,
        "error": max(own["error"] for seed in seeds for own in seed),
        "seeds": [str(seed) for seed in ensembles["cold"].seeds[: len(seeds)]],
        "members": n,
        "names": None if names is None else [str(name) for name in names],
        "colours": colours,
        "arms": [{"title": title, "members": [seed[k] for seed in seeds]} for k, title in enumerate(ARMS.values())],
    }


def _places(study, arm, evaluation, reach):
    """The landscape and the dots of each member of an arm, as JSON values; landscapes are kept in the store."""
    ensemble, numbers = study.ensemble_folder(Run(2, arm)).name, range(len(evaluation.mean))
    request = {"landscape": {"reach": reach, "points": POINTS}, "ensemble": ensemble}
    request |= {"data": study.dataset.checksum, "source": source_hash(landscape_of, Member)}

    def make(folder):
        trained = study.ensemble(2, arm)
        calls = [(trained, number, study.dataset, reach) for number in numbers]
        found = dict(in_processes(landscape_of, calls, jobs=study.jobs or cores()))
        tensors = {f"{i}.{name}": torch.tensor(part) for i in numbers for name, part in found[i].items()}
        write_tensors(folder / "landscapes.safetensors", "landscapes", {}, tensors)

    folder = study.store.obtain("landscapes", request, make)
    found = read_tensors(folder / "landscapes.safetensors", "landscapes")[1]
    dots = [part[:, :DOTS].astype("<f4") for part in (evaluation.mean, np.sqrt(evaluation.variance))]
    return [
        {
            "energy": _text(found[f"{i}.energy"].numpy()),
            "basin": _text(found[f"{i}.basin"].numpy()),
            "minima": np.round(found[f"{i}.minima"].numpy(), 3).tolist(),
            "dots": _text(dots[0][i]),
            "widths": _text(dots[1][i]),
        }
        for i in numbers
    ]


def landscape_of(ensemble, number, dataset, reach):
    """The free energy of a member's blurred aggregate posterior over a square of the latent plane, and its valleys.

    Parameters
    ----------
    ensemble, number, dataset
        As for `vaept.uses.member.Member.of`.
    reach : float
        The square is [−reach, reach]².

    Returns
    -------
    dict
        "energy", uint8, shape (POINTS, POINTS): above the lowest point of the grid, 255 is `TOP` kT or more; rows are
        z₂, ascending. "basin", uint8, of that shape: the number of the valley into which the place drains. "minima",
        float64, shape (valleys, 3): z₁, z₂ and energy in kT, lowest first, of minima that a barrier of `SHALLOW`
        holds.
    """
    line = np.linspace(-reach, reach, POINTS)
    grid = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    energy = Member.of(ensemble, number, dataset).energy(grid).reshape(POINTS, POINTS)
    energy -= energy.min()
    low = energy.clip(max=TOP)
    bottoms = label(h_minima(low, SHALLOW))
    places = [np.flatnonzero(bottoms == k + 1) for k in range(bottoms.max())]
    places = sorted((own[energy.flat[own].argmin()] for own in places), key=lambda place: energy.flat[place])[:255]
    markers = np.zeros(energy.size, dtype=int)
    markers[places] = np.arange(len(places)) + 1
    basin = watershed(energy, markers.reshape(energy.shape)) - 1
    minima = np.column_stack([grid[places], energy.flat[places]])
    return {"energy": np.round(255 * low / TOP).astype(np.uint8), "basin": basin.astype(np.uint8), "minima": minima}


def packed_decoder(model, reach, bits):
    """A decoder as integers of 8 or 16 bits, as JSON values: "layers", and "error" on the landscape's grid.

    The error is the largest difference of a pixel from the model's own. The first layer has 16 bits always. Units that
    are zero all over the square [−reach, reach]² are left out.
    """
    x, _ = _grid(reach, FEWER)
    own = [
        [part.detach().double().numpy() for part in (p.weight, p.bias)] for p in model.decoder if hasattr(p, "weight")
    ]
    layers, rounded = [], []
    for number, (weight, bias) in enumerate(own):
        largest = 2 ** ((bits if number else 16) - 1) - 1
        if number < len(own) - 1:
            live = (x @ weight.T + bias).max(0) > 0
            weight, bias = weight[live], bias[live]
            own[number + 1][0] = own[number + 1][0][:, live]
        integers, scale, bias = _rounded(weight, bias, x, largest)
        layers.append(
            {"weight": _text(integers.astype("<i2" if largest > 127 else "i1")), "bits": bits if number else 16}
        )
        layers[-1] |= {"scale": _text(scale.astype("<f4")), "bias": _text(bias.astype("<f4"))}
        rounded.append((integers * scale[:, None], bias))
        x = np.maximum(x @ weight.T + bias, 0)
    x, z = _grid(reach, POINTS)
    for number, (weight, bias) in enumerate(rounded):
        x = (np.maximum(x, 0) if number else x) @ weight.T + bias
    with torch.no_grad():
        images = model.decode(z).numpy()
    found = 1 / (1 + np.exp(-x)) if model.likelihood == "bernoulli" else x
    return {"layers": layers, "error": float(np.abs(found - images).max())}


def _grid(reach, n):
    line = np.linspace(-reach, reach, n)
    x = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    return x, torch.tensor(x, dtype=torch.float32)


def _rounded(weight, bias, x, largest):
    """Integers up to `largest`, a scale for each row, and biases that together map inputs x (n, in) as W and b do."""
    scale = np.maximum(np.abs(weight).max(1, initial=0) / largest, 1e-30)
    inputs = np.column_stack([x, np.ones(len(x))])
    square = inputs.T @ inputs / len(x)
    square += DAMPING * np.trace(square) / len(square) * np.eye(len(square))
    order = np.append(np.argsort(-np.diag(square)[:-1], kind="stable"), len(square) - 1)  # the bias is never rounded
    root = np.linalg.cholesky(np.linalg.inv(square[np.ix_(order, order)])).T
    left = np.column_stack([weight, bias])[:, order]
    integers = np.zeros(weight.shape)
    for place, column in enumerate(order[:-1]):
        integers[:, column] = np.clip(np.round(left[:, place] / scale), -largest, largest)
        error = (left[:, place] - integers[:, column] * scale) / root[place, place]
        left[:, place:] -= np.outer(error, root[place, place:])
    return integers, scale, left[:, -1]


def _text(array):
    return base64.b64encode(np.ascontiguousarray(array)).decode()


def _page(study, found, size):
    n = len(found["seeds"])
    which = f"All {n} seeds of either kind are here." if n == found["members"] else _FEWER.format(n=n, **found)
    return _PAGE.format(
        which=which,
        what="image" if found["picture"] else "curve (the values of an image in their order)",
        bits=found["bits"],
        size=f"{size / 1e6:.1f}",
        largest=f"{255 * found['error']:.2g}",
        top=TOP,
        data=escaped(study.dataset.name),
        dots=len(found["colours"]),
        shallow=SHALLOW,
        levels="one level" if found["levels"] == 1 else f"{found['levels']} levels",
        coloured=", coloured by its class, which training never saw" if found["names"] else "",
    )


_FEWER = "Only the first {n} of {members} seeds of either kind are here: more do not fit."

_NO_PLANE = "This page needs models with two latent coordinates, whose plane can be drawn; those here have d = {dims}."

_TOO_LARGE = "The decoders of this copy are too large for a page: no two seeds fit into it."

_NOTHING = """# Explore

{reason} So there is nothing to explore.
"""

_PAGE = """# Explore

Is one place in two latent spaces the same thing? Move the point over the plane and see what every seed decodes
there. The models of the first row were trained without a field, those of the second in the field of
[](../notebooks/05_a_field_that_chooses.ipynb), which was gone when their training ended. The coordinates stay when
you choose another seed. Do the seeds of a row show one {what} or several?

```{{raw}} html
<link rel="stylesheet" href="../_static/explorer/explorer.css">
<div id="explorer">
<img src="../_static/explorer/still.png" alt="Two rows: what every seed decodes at one and the same place of its
latent plane, above without the field and below with it; at the right, how far the seeds of the row differ.">
<noscript><p>To move the point, allow JavaScript; all that it needs is part of this book.</p></noscript>
</div>
<script src="../_static/explorer/data.js"></script>
<script src="../_static/explorer/explorer.js"></script>
```

Drag the point with a mouse or a finger, or go to the map with the Tab key and use the arrow keys: Shift makes the
steps larger, Home leads back to the start. Choose a seed by its {what} or, once you are there, with the arrow keys.

**How far seeds differ** is the standard deviation of a pixel over the seeds of a row, averaged over pixels: 0 if
all of them decode the same.

**The map** is the free energy of [](../notebooks/06_landscapes_and_dynamics.ipynb). Dark is low, where images are
many; a step of colour is half a kT, up to {top:g} kT. Numbers mark the valleys that a barrier of at least {shallow}
kT holds, lowest first. Each dot is one of {dots} test images{coloured}.

**The energy** is that of the point, above the lowest place of the map; **the valley** is the one that the place
drains into.

**The populations** are those of a wave packet ([](../notebooks/02_a_vae_and_its_energies.ipynb)) with its centre at
the point and the widths of the posterior of the test image that lies nearest: how much of it lies in each level of
the prior's bowl, {levels} to a bar.

The decoders are those of this copy's models of {data} with d = 2. {which} Their weights are stored as integers of
{bits} bits, {size} MB with everything else. Over the whole map no pixel differs from the model's own by more than
{largest} / 255.
"""
