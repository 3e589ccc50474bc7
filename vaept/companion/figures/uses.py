"""Figures of chapter 7: what the models are used for."""

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
)


@book_figure
def outliers_by_energy(images, energies, precisions, chance, usual=None):
    """The images of the highest energy, and of the lowest, over how many planted outliers each score finds.

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
    usual : pair of arrays, shapes (n, height, width) and (n,), optional
        As many images of the lowest energy, and their energies.
    """
    rows = {"nothing planted: highest energy": (images, energies)}
    rows |= {"nothing planted: lowest energy": usual} if usual else {}
    heights = [0.85 * len(rows), 2.5] if precisions else [0.85 * len(rows)]
    figure = plt.figure(figsize=(WIDTH, sum(heights) + 0.1))
    above, *below = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    strips = above.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for strip, (title, (shown, own)) in zip(strips, rows.items(), strict=True):
        strip.suptitle(title, fontsize="medium")
        for axis, image, energy in zip(strip.subplots(1, len(shown), squeeze=False)[0], shown, own, strict=True):
            draw_image(axis, image)
            axis.set_title(f"{energy:.3g}", fontsize=SMALL)
    if not below:
        return figure
    axis = below[0].subplots()
    for place, ((title, scores), colour) in enumerate(zip(precisions.items(), (GREY, RED), strict=False)):
        y = np.arange(len(scores)) + 0.3 * (place - (len(precisions) - 1) / 2)
        values = list(scores.values())
        draw_intervals(axis, values, y, colour, title)
        axis.set_yticks(range(len(scores)), list(scores))
    axis.axvline(chance, color="black", linewidth=0.8, linestyle=":")
    axis.text(chance, -0.75, " chance", fontsize=SMALL, va="center")
    axis.set(xlim=(0, 1), ylim=(len(scores) - 0.5, -1), xlabel="precision at k of planted outliers")
    axis.set_title("outliers planted: how many of them each score finds")
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
def scores_against_noise(noises, panels, gains):
    """Quality of images restored by several methods, minus that of corrected models, against the strength of the noise.

    Parameters
    ----------
    noises : sequence of float
        Standard deviations.
    panels : mapping from str to mapping from str to sequence of Estimate
        For the name of each vertical axis and panel, such as "PSNR (dB), d = 2", and each method its value at every
        noise less that of corrected models; nothing where a method has none. Panels of one vertical axis have the same
        scale, which "noisy" and "wavelets" may leave.
    gains : mapping from str to mapping from str to sequence of Estimate
        By the same names, for what is below each panel, such as "corrected − plain", its values; may be empty.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        2 * rows, columns, figsize=(WIDTH, 3.3 * rows + 0.5), squeeze=False, sharex=True, height_ratios=[2, 1] * rows
    )
    pairs = [
        (upper, lower) for row in range(rows) for upper, lower in zip(axes[2 * row], axes[2 * row + 1], strict=True)
    ]
    methods = dict.fromkeys(name for lines in panels.values() for name in lines if name not in ("noisy", "plain"))
    colours = {"noisy": GREY, "plain": BLUE} | dict(zip(methods, (VIOLET, "#b9894e", ORANGE, "black"), strict=False))
    reach = defaultdict(lambda: [0.0])
    for (upper, lower), (title, lines) in zip(pairs, panels.items(), strict=False):
        name, _, words = title.partition(", ")
        for method, values in lines.items():
            if values:
                _against(upper, noises, values, colours[method], "o-", method)
                reach[name] += [] if method in ("noisy", "wavelets") else [each.mean for each in values]
        upper.axhline(0, color=RED, linewidth=1, linestyle=":", label="corrected")
        upper.set(
            title=f"{words}: others − corrected",
            ylabel=name,
            xticks=noises,
            xticklabels=[f"{noise:g}" for noise in noises],
        )
        lower.set_xlabel("noise s")
        lower.set_visible(bool(gains.get(title)))
        for words, values in gains.get(title, {}).items():
            _against(lower, noises, values, RED, "o", words)
            lower.set_title(words, fontsize=SMALL)
        lower.axhline(0, color="black", linewidth=0.8, linestyle=":")
        lower.set_ylabel(name)
    for name in {upper.get_ylabel() for upper, _ in pairs[: len(panels)]}:
        uppers, lowers = zip(*(pair for pair in pairs[: len(panels)] if pair[0].get_ylabel() == name), strict=True)
        low, high = zip(*(axis.get_ylim() for axis in lowers), strict=True)
        ends, more = (min(reach[name]), max(reach[name])), 0.08 * (np.ptp(reach[name]) or 1)
        for upper, lower in zip(uppers, lowers, strict=True):
            upper.set_ylim(ends[0] - more, ends[1] + more)
            lower.set_ylim(min(low), max(high))
    for upper, lower in pairs[len(panels) :]:
        upper.set_axis_off()
        lower.set_axis_off()
    names = axes[0, 0].get_legend_handles_labels()
    figure.legend(*names, loc="outside upper center", ncols=3)
    return figure


def _against(axis, x, values, colour, style, label):
    """Estimates as dots, with lines between them or not, and their intervals."""
    means, low, high = np.array([(value.mean, value.low, value.high) for value in values]).T
    axis.plot(x, means, style, color=colour, markersize=3.5, linewidth=1.5, label=label)
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
    """Generated images by where their latents are drawn, with the quality of each.

    Parameters
    ----------
    rows : mapping from str to tuple
        As for `denoise`, the best first.
    """
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
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 6.4 / len(panels)), squeeze=False, sharey=True)
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
