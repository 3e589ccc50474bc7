"""Figures of chapter 7: what the models are used for."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, Normalize

from vaept.companion.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    RED,
    as_picture,
    book_figure,
    draw_gallery,
    draw_image,
    draw_intervals,
)


@book_figure
def outliers_by_energy(images, energies, precisions, chance):
    """The images of the highest energy, beside how many planted outliers each score finds.

    Parameters
    ----------
    images : array, shape (n, height, width)
        The n images of the highest energy, the highest first.
    energies : array, shape (n,)
    precisions : mapping from str to sequence of Estimate
        For each arm's title and each score, in the order of the keys of the first entry: precision at k. Empty where
        no outliers were planted.
    chance : float
        The share of outliers.
    """
    figure = plt.figure(figsize=(7.2, 2.7))
    widths = [1.25, 1] if precisions else [1]
    left, *right = figure.subfigures(1, len(widths), width_ratios=widths, squeeze=False)[0]
    columns = -(-len(images) // 2)
    for axis, image, energy in zip(left.subplots(2, columns).flat, images, energies, strict=False):
        draw_image(axis, image)
        axis.set_title(f"{energy:.3g}")
    left.supxlabel("test images of the highest energy", fontsize=8.5)
    if not right:
        return figure
    axis = right[0].subplots()
    for place, ((title, scores), colour) in enumerate(zip(precisions.items(), (GREY, RED), strict=False)):
        y = np.arange(len(scores)) + 0.3 * (place - (len(precisions) - 1) / 2)
        values = list(scores.values())
        draw_intervals(axis, values, y, colour, title)
        axis.set_yticks(range(len(scores)), list(scores))
    axis.axvline(chance, color="black", linewidth=0.8, linestyle=":")
    axis.text(chance, -0.75, " chance", fontsize=7, va="center")
    axis.set(xlim=(0, 1), ylim=(len(scores) - 0.5, -1), xlabel="precision at k of planted outliers")
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
    """Quality of images restored by several methods against the strength of the noise.

    Parameters
    ----------
    noises : sequence of float
        Standard deviations.
    panels : mapping from str to mapping from str to sequence of Estimate
        For each score and each method its value at every noise; nothing where a method has none.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(7.2, 2.6), squeeze=False)
    colours = (GREY, "#832db6", "#a96b59", ORANGE, BLUE, RED)
    for axis, (title, lines) in zip(axes[0], panels.items(), strict=True):
        for (name, values), colour in zip(lines.items(), colours, strict=False):
            if values:
                means, low, high = np.array([(value.mean, value.low, value.high) for value in values]).T
                axis.plot(noises, means, "o-", color=colour, markersize=3.5, linewidth=1.5, label=name)
                axis.vlines(noises, low, high, color=colour, linewidth=1)
        axis.set(title=title, xlabel="noise s", xticks=noises, xticklabels=[f"{noise:g}" for noise in noises])
    names = axes[0, 0].get_legend_handles_labels()
    figure.legend(*names, loc="outside upper center", ncols=len(colours))
    return figure


@book_figure
def cluster(rows, names):
    """What the centres of groups of latents are decoded to, for several models.

    Parameters
    ----------
    rows : mapping from str to tuple of (array of shape (n, height, width), str)
        For each model the decoded centres and its score in words.
    names : sequence of sequences of str, or None
        Over each image, such as the class of most images of the group and their share.
    """
    return draw_gallery(rows, names)


@book_figure
def generate(rows):
    """Generated images by where their latents are drawn, with the quality of each; rows are as for `denoise`."""
    return draw_gallery(rows)


@book_figure
def encoders_against_decoders(panels):
    """One image as every decoder of an ensemble shows it to every encoder, on a colour for what the exchange costs.

    Parameters
    ----------
    panels : mapping from str to tuple of (array of shape (members, members), array of shape (members, members, …))
        For each title, such as without and with a field, nats above those of the decoder with its own encoder, encoders
        in rows, and the decoded images; what is no picture is not drawn.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(7.2, 8.8 / len(panels)), squeeze=False, sharey=True)
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
