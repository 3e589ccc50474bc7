"""Figures of chapter 3: the latent spaces of several seeds."""

import matplotlib.pyplot as plt
import numpy as np

from vaept.companion.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    RED,
    SMALL,
    WIDTH,
    book_figure,
    draw_cloud,
    draw_gallery,
    draw_intervals,
)


@book_figure
def ten_seeds(latents, elbo, labels):
    """The latent planes of the members side by side, the same images in each.

    Parameters
    ----------
    latents : array, shape (members, n, 2)
    elbo : array, shape (members,)
        Nats; its negative is printed over each plane.
    labels : array of int, shape (n,), or None
    """
    columns = min(5, len(latents))
    rows = -(-len(latents) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(WIDTH, WIDTH / columns * rows * 1.3 + 0.15), sharex=True, sharey=True, squeeze=False
    )
    reach = 1.05 * np.quantile(np.abs(latents), 0.998)
    for axis in axes.flat[len(latents) :]:
        axis.set_axis_off()
    for member, (axis, points) in enumerate(zip(axes.flat, latents, strict=False)):
        draw_cloud(axis, points, labels)
        axis.set(aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])
        axis.set_title(f"seed {member}\n−ELBO {-elbo[member]:.2f}", fontsize=SMALL)
    return figure


MEASURES = {
    "coordinates": "as they are\n(correlation)",
    "signed_permutation": "best flips and exchanges\n(correlation)",
    "orthogonal": "best rotation\n(R²)",
    "linear": "best linear map\n(R²)",
    "cka": "similarity of shapes\n(linear CKA)",
    "neighbours": "shared neighbours\n(fraction of 10)",
}
ALLOWED = {
    "correlation": "as they are, or moved by flips and exchanges",
    "R²": "turned, or turned and stretched",
    "linear CKA": "not aligned",
    "fraction of 10": "not aligned",
}


@book_figure
def agreement_by_group(agreements, controls):
    """How well members agree, as they are and after the best map of each group.

    Parameters
    ----------
    agreements : mapping from str to Agreement
        One colour each, such as one for each latent dimension.
    controls : sequence of Agreement
        The same with the images shuffled for each member: agreement by chance.
    """
    parts = {}  # what is measured: measures of it
    for measure, words in MEASURES.items():
        name, unit = words.strip(")").split("\n(")
        parts.setdefault(unit, {})[measure] = name
    sizes = [len(own) for own in parts.values()]
    step = 0.8 / len(agreements)
    figure, axes = plt.subplots(len(parts), 1, figsize=(WIDTH, 5.0), height_ratios=sizes, sharex=True)
    lowest, far = 0.0, []
    for axis, (unit, own) in zip(axes, parts.items(), strict=True):
        places = np.arange(len(own)) - 0.4 + step / 2
        colours = zip(agreements.items(), controls, (BLUE, ORANGE, RED), strict=False)
        for i, ((name, agreement), control, colour) in enumerate(colours):
            values = [getattr(agreement, measure) for measure in own]
            draw_intervals(axis, values, places + i * step, colour, name)
            chance = [getattr(control, measure).mean for measure in own]
            axis.plot(chance, places + i * step, "|", color="black", markersize=8, label=None if i else "by chance")
            for place, value, by_chance in zip(places + i * step, values, chance, strict=True):
                words = f"{value.mean:.2f}".replace("-", "−")
                axis.text(1.04, place, words, color=colour, va="center", fontsize=SMALL)
                lowest = np.nanmin([lowest, value.low, value.mean])
                if by_chance < lowest - 0.05:
                    far.append((axis, place, by_chance))
        axis.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
        axis.set(yticks=range(len(own)), yticklabels=own.values(), ylim=(len(own) - 0.5, -0.5))
        axis.set_title(f"{ALLOWED[unit]} ({unit})", loc="left", fontsize=SMALL)
    for axis, place, by_chance in far:
        if by_chance < lowest - 0.05:
            words = f"◂ chance {by_chance:.2f}".replace("-", "−")
            axis.text(lowest - 0.04, place, words, va="center", fontsize=SMALL)
    axes[-1].set(xlim=(lowest - 0.05, 1.02), xlabel="agreement between two members (1 = perfect)")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=len(names))
    return figure


@book_figure
def elbo_against_rotation(degrees, losses, spread):
    """−ELBO of trained members whose latent plane is turned, relative to the unturned member.

    Parameters
    ----------
    degrees : array, shape (k,)
    losses : array, shape (members, k)
        −ELBO minus its value at 0°, nats.
    spread : float
        Standard deviation of −ELBO over seeds, nats, drawn as a bar for scale.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 2.7))
    axis.plot(degrees, losses.T, color=BLUE, linewidth=0.9, alpha=0.6)
    axis.plot(degrees, losses.mean(axis=0), color="black", linewidth=1.8)
    beyond = degrees[-1] + 0.05 * np.ptp(degrees)
    axis.errorbar(beyond, spread / 2, spread / 2, color=RED, capsize=4, linewidth=2, clip_on=False)
    words = "one standard\ndeviation\nover seeds"
    axis.text(beyond + 0.02 * np.ptp(degrees), spread / 2, words, color=RED, va="center", fontsize=SMALL)
    axis.set(xlabel="angle by which the latent plane is turned (degrees)", xticks=np.arange(0, 361, 90))
    axis.set(xlim=(degrees[0], beyond), ylim=(None, 1.05 * max(spread, losses.max())))
    axis.set_ylabel("−ELBO minus its\nvalue at 0° (nats)")
    return figure


@book_figure
def one_place(rows):
    """What every seed decodes at one and the same place of its latent space.

    Parameters
    ----------
    rows : mapping from str to tuple of (array of shape (members, height, width), str)
        For each way of training the decoded images and how far they differ, in words.
    """
    return draw_gallery(rows)
