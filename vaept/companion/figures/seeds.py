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


LEFT = -1.2  # of what is drawn: just below what chance gives
ALIGNED = {
    "unmoved": "as they are",
    "permuted": "best flips and exchanges",
    "orthogonal": "best rotation",
    "linear": "best linear map",
}


@book_figure
def agreement_by_group(agreements, controls):
    """How much of the variance of a member another explains, as they are and after the best map of each group.

    Parameters
    ----------
    agreements : mapping from str to mapping from str to Estimate
        As from `vaept.companion.analysis.by_group`; one colour each, such as one for each latent dimension.
    controls : sequence of such mappings
        The same with the images shuffled for each member: agreement by chance.
    """
    step = 0.8 / len(agreements)
    figure, axis = plt.subplots(figsize=(WIDTH, 2.7))
    lowest, marks = 0.0, []
    places = np.arange(len(ALIGNED)) - 0.4 + step / 2
    colours = zip(agreements.items(), controls, (BLUE, ORANGE, RED), strict=False)
    for i, ((name, agreement), control, colour) in enumerate(colours):
        values, chance = ([each[measure] for measure in ALIGNED] for each in (agreement, control))
        draw_intervals(axis, values, places + i * step, colour, name)
        by_chance = [each.mean for each in chance]
        axis.plot(by_chance, places + i * step, "|", color="black", markersize=8)
        lowest = np.nanmin([lowest, *by_chance, *(end for each in values for end in (each.low, each.mean))])
        for place, value in zip(places + i * step, values, strict=True):
            marks.append((np.nanmin([value.low, value.mean, value.high]), place, colour))
            words = f"{name}: {value.mean:.2f}".replace("-", "−")
            axis.text(1.06, place, words, color=colour, va="center", fontsize=SMALL)
    axis.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
    axis.set(yticks=range(len(ALIGNED)), yticklabels=ALIGNED.values(), ylim=(len(ALIGNED) - 0.5, -0.5))
    left = max(lowest, LEFT) - 0.05
    for low, place, colour in marks:
        if low < left:  # goes on to the left
            axis.plot(left, place, "<", color=colour, markersize=5, clip_on=False)
    axis.set(xlim=(left, 1.03), xlabel="share of the variance explained (R²)")
    axis.text(by_chance[-1] - 0.04, len(ALIGNED) - 1, "by chance", ha="right", va="center", fontsize=SMALL)
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
        Standard deviation of −ELBO over seeds, nats, drawn beside for scale.
    """
    figure, (axis, scale) = plt.subplots(1, 2, figsize=(WIDTH, 2.6), width_ratios=[3, 1])
    axis.plot(degrees, losses.T, color=BLUE, linewidth=0.9, alpha=0.6)
    axis.plot(degrees, losses.mean(axis=0), color="black", linewidth=1.8)
    axis.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    axis.set(xlabel="angle of the latent plane (degrees)", xticks=np.arange(0, 361, 90))
    axis.set(xlim=(degrees[0], degrees[-1]), ylabel="−ELBO minus its\nvalue at 0° (nats)")
    axis.set_title("each member (blue) and their mean (black)")
    heights = [np.ptp(losses, axis=1).mean(), spread]
    bars = scale.bar(["turning", "seeds"], heights, color=[BLUE, GREY])
    scale.bar_label(bars, [f"{height:.2g}" for height in heights], fontsize=SMALL)
    scale.set(ylim=(0, 1.2 * max(heights)), yticks=[], title="for scale (nats)")
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
