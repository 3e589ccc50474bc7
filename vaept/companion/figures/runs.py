"""Figures of the report on runs of a user's own."""

import matplotlib.pyplot as plt
import numpy as np

from vaept.companion.figures.style import BLUE, GREY, ORANGE, SMALL, WIDTH, book_figure, draw_planes
from vaept.companion.markdown import shown

LEFT = -0.2  # R² that is drawn; less is an arrow


@book_figure
def explained_by_group(r2, group, noise):
    """What the best map of each group explains of held-out examples: a dot for each pair that was compared, the mean.

    Parameters
    ----------
    r2 : mapping from str to array of shape (pairs,)
        Held-out R².
    group : str
        The smallest group that explains the difference; it is marked.
    noise : float or None
        Share of noise in draws from the posteriors, for comparison.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 2.5))
    places = -np.arange(len(r2), dtype=float)
    for place, (name, values) in zip(places, r2.items(), strict=True):
        colour = ORANGE if name == group else BLUE
        spread = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(1)
        mean, off = np.mean(values), np.asarray(values) < LEFT
        for marker, own in (("<", off), ("o", ~off)):
            axis.plot(np.maximum(values, LEFT)[own], (place + spread)[own], marker, color=colour, markersize=4)
        if mean > LEFT:
            axis.vlines(mean, place - 0.35, place + 0.35, color=colour)
        axis.text(1.04, place, shown(mean, ".2f"), color=colour, va="center", fontsize=SMALL)
    if noise is not None:
        axis.axvspan(1 - noise, 1, color=GREY, alpha=0.35, linewidth=0)
        axis.set_title("grey band: the posteriors' own noise", loc="right", fontsize=SMALL)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(xlim=(LEFT - 0.05, 1.02), xlabel=f"explained variance of held-out examples, R²\n(◂: less than −{-LEFT:g})")
    axis.set_yticks(places, [f"{name}\n(the report's answer)" if name == group else name for name in r2])
    return figure


@book_figure
def coordinates_of_runs(equal, best):
    """How far each coordinate of the first run is found again in the others.

    Parameters
    ----------
    equal : array of shape (d,), or None
        Correlation with the equal-numbered coordinate.
    best : array of shape (d,)
        Size of the correlation with the best of the coordinates, each of which is taken once.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 2.5))
    axis.bar(np.arange(len(best)), best, color=BLUE, label="best coordinate, sign left out")
    if equal is not None:
        axis.plot(np.arange(len(equal)), equal, "o", color=ORANGE, markersize=4, label="equal-numbered coordinate")
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set(xlabel="coordinate of the first run, from 0", ylabel="correlation", ylim=(-1.02, 1.02))
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


@book_figure
def planes_of_runs(before, after, labels, named=None):
    """The first two coordinates of runs as they are and, below, turned onto their consensus.

    Parameters
    ----------
    before, after : arrays, shape (members, n, 2)
    labels : array of int, shape (n,), or None
    named : sequence of int or mapping from int to str, optional
        Labels that are written, or what is written for them; all if None.
    """
    return draw_planes({"as they are": before, "turned onto their consensus": after}, labels, 5, named)
