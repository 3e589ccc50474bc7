"""Figures of chapter 7: what the models are used for."""

import textwrap
from collections import defaultdict

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, Normalize

from vaept.companion.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    RED,
    SMALL,
    VIOLET,
    WIDTH,
    as_picture,
    book_figure,
    draw_gallery,
    draw_image,
    draw_intervals,
    label_ends,
)

LEAVING = ("noisy", "wavelets")  # what may be so much worse that its line leaves the panel


@book_figure
def images_by_energy(rows):
    """Images in rows, with the energy of each above it.

    Parameters
    ----------
    rows : mapping from str to pair of arrays, shapes (n, height, width) and (n,)
        For each title images and their energies, as many in each row.
    """
    figure = plt.figure(figsize=(WIDTH, 0.85 * len(rows) + 0.1))
    strips = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for strip, (title, (shown, own)) in zip(strips, rows.items(), strict=True):
        strip.suptitle(title, fontsize="medium")
        for axis, image, energy in zip(strip.subplots(1, len(shown), squeeze=False)[0], shown, own, strict=True):
            draw_image(axis, image)
            axis.set_title(f"{energy:.3g}", fontsize=SMALL)
    return figure


@book_figure
def outliers_by_score(precisions, chance):
    """How many planted outliers each score finds.

    Parameters
    ----------
    precisions : mapping from str to mapping from str to Estimate
        For each arm's title and each score, in the order of the keys of the first entry: precision at k.
    chance : float
        The share of outliers.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 2.5))
    for place, ((title, scores), colour) in enumerate(zip(precisions.items(), (GREY, RED), strict=False)):
        y = np.arange(len(scores)) + 0.3 * (place - (len(precisions) - 1) / 2)
        draw_intervals(axis, list(scores.values()), y, colour, title)
        axis.set_yticks(range(len(scores)), list(scores))
    axis.axvline(chance, color="black", linewidth=0.8, linestyle=":")
    axis.text(chance, -0.75, " chance", fontsize=SMALL, va="center")
    axis.set(xlim=(0, 1), ylim=(len(scores) - 0.5, -1), xlabel="share of the planted outliers found (precision at k)")
    axis.legend(loc="lower right")
    return figure


@book_figure
def denoise(rows):
    """The same images clean, noisy and restored by several methods, with the quality of each.

    Parameters
    ----------
    rows : mapping from str to tuple of (array of shape (n, height, width), str)
        For each method its images and a number in words.
    """
    return draw_gallery(rows)


@book_figure
def scores_against_noise(noises, panels):
    """Quality of images restored by several methods, minus that of corrected models, against the strength of the noise.

    Parameters
    ----------
    noises : sequence of float
        Standard deviations.
    panels : mapping from str to mapping from str to sequence of Estimate
        For the name of each vertical axis and panel, such as "PSNR (dB), d = 2", and each method its value at every
        noise less that of corrected models; nothing where a method has none. Panels of one vertical axis have the same
        scale, which those of `LEAVING` may leave.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, 2.9 * rows), squeeze=False, sharex=True)
    methods = dict.fromkeys(name for lines in panels.values() for name in lines if name not in ("noisy", "plain"))
    colours = {"noisy": GREY, "plain": BLUE} | dict(zip(methods, (VIOLET, "#b9894e", ORANGE, "black"), strict=False))
    reach = defaultdict(lambda: [0.0])
    for axis, (title, lines) in zip(axes.flat, panels.items(), strict=False):
        name, _, words = title.partition(", ")
        for method, values in lines.items():
            if values:
                _against(axis, noises, values, colours[method], "o-")
                reach[name] += [] if method in LEAVING else [each.mean for each in values]
        axis.axhline(0, color=RED, linewidth=1.5, linestyle=":")
        labels = [f"{noise:g}" for noise in noises]
        axis.set(title=words, ylabel=f"{name} − corrected", xlabel="noise s", xticks=noises, xticklabels=labels)
    for axis, (title, lines) in zip(axes.flat, panels.items(), strict=False):
        own = reach[title.partition(", ")[0]]
        more = 0.12 * (np.ptp(own) or 1)
        axis.set_ylim(min(own) - more, max(own) + more)
        axis.text(
            0.98, 0.97, "above: better than corrected", transform=axis.transAxes, ha="right", fontsize=SMALL, color=RED
        )
        if axis in axes[:, -1] or title == list(panels)[-1]:
            ends = [(method, values[-1].mean, colours[method]) for method, values in lines.items() if values]
            label_ends(axis, [*ends, ("corrected", 0, RED)], gap=0.075)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    return figure


def _against(axis, x, values, colour, style):
    """Estimates as dots, with lines between them or not, and their intervals."""
    means, low, high = np.array([(value.mean, value.low, value.high) for value in values]).T
    axis.plot(x, means, style, color=colour, markersize=3.5, linewidth=1.5)
    axis.vlines(x, low, high, color=colour, linewidth=1)


@book_figure
def cluster(rows, names, title=""):
    """What the centres of groups of latents are decoded to, for several models.

    Parameters
    ----------
    rows : mapping from str to tuple of (array of shape (n, height, width), str)
        For each model the decoded centres and its score in words.
    names : sequence of sequences of str, or None
        Over each image, such as the class of most images of the group and their share.
    title : str, optional
    """
    figure = draw_gallery(rows, names)
    figure.suptitle(title, fontsize="medium")
    return figure


@book_figure
def generate(rows):
    """Generated images by where their latents are drawn, beside their Fréchet distance.

    Parameters
    ----------
    rows : mapping from str to tuple of (array of shape (n, height, width), Estimate or None)
        The best first; None where there is no distance.
    """
    n, known = max(len(images) for images, _ in rows.values()), [own for _, own in rows.values() if own]
    figure = plt.figure(figsize=(WIDTH, 0.5 * len(rows) + (0.6 if known else 0.2)))
    grid = figure.add_gridspec(len(rows), n + 2, width_ratios=[2.4, *[1] * n, 4 if known else 0.1])
    for row, (title, (images, _)) in enumerate(rows.items()):
        axes = [figure.add_subplot(grid[row, column]) for column in range(n + 1)]
        for axis in axes:
            axis.set_axis_off()
        words = {"ha": "right", "va": "center", "fontsize": SMALL, "transform": axes[0].transAxes}
        axes[0].text(1, 0.5, textwrap.fill(title, 16), **words)
        for axis, image in zip(axes[1:], images, strict=False):
            draw_image(axis, image)
    if known:
        axis = figure.add_subplot(grid[:, -1])
        draw_intervals(axis, known, range(len(known)), RED, None)
        for row, own in enumerate(known):
            axis.annotate(
                f"{own.mean:.1f}", (own.mean, row), (0, 5), textcoords="offset points", ha="center", fontsize=SMALL
            )
        axis.set(ylim=(len(rows) - 0.5, -0.5), yticks=[], xlabel="← better: Fréchet")
        axis.margins(x=0.2)
    return figure


@book_figure
def encoders_against_decoders(panels):
    """One image as every decoder of an ensemble shows it to every encoder, on a colour for what the exchange costs.

    Parameters
    ----------
    panels : mapping from str to tuple of (array of shape (members, members), array of shape (members, members, …))
        For each title, such as without and with a field, nats above those of the decoder with its own encoder, encoders
        in rows, and the decoded images; what is no picture is not drawn.
    """
    figure, axes = plt.subplots(
        1, len(panels), figsize=(WIDTH, 0.8 * WIDTH / len(panels) + 1), squeeze=False, sharey=True
    )
    colours = LinearSegmentedColormap.from_list("cost", ("white", ORANGE))
    most = Normalize(0, max(1e-9, *(nats.max() for nats, _ in panels.values())))
    for axis, (title, (nats, images)) in zip(axes[0], panels.items(), strict=True):
        n, edges = len(nats), np.arange(len(nats) + 1) - 0.5
        shown = [as_picture(image) for image in images.reshape(-1, *images.shape[2:])]
        ink = np.zeros((n, n, 1, 1))
        if shown[0] is not None:
            ink = np.array([each if each.ndim == 2 else each.mean(axis=2) for each in shown]).clip(0, 1)
            ink = np.pad(ink, ((0, 0), (1, 1), (1, 1))).reshape(n, n, ink.shape[1] + 2, ink.shape[2] + 2)
        cells = colours(most(nats))[:, :, None, None, :3] * (1 - ink[..., None])
        height, width = ink.shape[2:]
        picture = cells.swapaxes(1, 2).reshape(n * height, n * width, 3)
        axis.imshow(picture, extent=(-0.5, n - 0.5, n - 0.5, -0.5), aspect=height / width)
        for lines in (axis.hlines, axis.vlines):
            lines(edges, -0.5, n - 0.5, color=GREY, linewidth=0.5)
        axis.set(title=title, xlabel="decoder of seed", xticks=range(n), yticks=range(n))
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    axes[0, 0].set_ylabel("encoder of seed")
    scale = plt.cm.ScalarMappable(most, colours)
    figure.colorbar(scale, ax=axes, location="bottom", shrink=0.5, aspect=40, label="cost of the exchange (nats)")
    return figure
