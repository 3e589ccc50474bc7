"""Figures of chapter 4: series and spectra."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator

from vaept.companion.figures.style import (
    BLUE,
    DIVERGING,
    GREY,
    ORANGE,
    RED,
    SMALL,
    VIOLET,
    WIDTH,
    as_picture,
    book_figure,
    label_ends,
    name_classes,
)


@book_figure
def series_against_exact(couplings, exact, curves):
    """Ground energy of the anharmonic well against the coupling: exact, and what the series makes of it.

    Parameters
    ----------
    couplings : array, shape (k,)
    exact : array, shape (k,)
    curves : mapping from str to array of shape (k,)
        Approximations, such as partial sums and a Padé approximant.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 3.0))
    margin = 0.6 * np.ptp(exact)
    low, high = exact.min() - margin, exact.max() + margin
    axis.set(ylim=(low, high), xlim=(0, couplings[-1]), xlabel="coupling λ", ylabel="ground energy")
    axis.plot(couplings, exact, color="black", linewidth=2)
    ends = [("exact", exact[-1], "black")]
    for (name, values), colour in zip(curves.items(), (GREY, BLUE, RED, ORANGE, VIOLET), strict=False):
        if "Padé" in name:  # lies on the exact curve
            few = slice(None, None, max(1, len(couplings) // 12))
            axis.plot(couplings[few], values[few], "o", color=colour, markersize=5, fillstyle="none", clip_on=False)
        else:
            axis.plot(couplings, values, color=colour)
        outside = np.flatnonzero((values < low) | (values > high))
        if not len(outside):
            ends.append((name, values[-1], colour))
        else:  # the curve leaves through the top or the bottom
            top = values[outside[0]] > high
            where = {"ha": "center" if top else "left", "va": "bottom", "fontsize": SMALL}
            axis.text(couplings[outside[0]], high if top else low, name if top else f" {name}", color=colour, **where)
    label_ends(axis, ends)
    return figure


@book_figure
def error_slopes(couplings, errors, slopes):
    """Error of perturbation theory of each order against the coupling, on logarithmic axes.

    Parameters
    ----------
    couplings : array, shape (k,)
    errors : array, shape (orders, k)
        Row n is the absolute error of the series up to λⁿ.
    slopes : array, shape (orders,)
        Fitted slopes, written beside the lines.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 3.2))
    ends = []
    for order, (row, slope) in enumerate(zip(errors, slopes, strict=True)):
        (line,) = axis.loglog(couplings, row, marker="o", markersize=3)
        ends.append((f"order {order}: slope {slope:.2f}", row[-1], line.get_color()))
    axis.set(xlabel="coupling λ", ylabel="error of the energy", xlim=(None, 1.2 * couplings[-1]))
    label_ends(axis, ends)
    return figure


@book_figure
def levels_of_a_latent_space(couplings, levels, first_order, multiplicities, final):
    """Levels between the round oscillator and the aggregate posterior of a trained member.

    Parameters
    ----------
    couplings : array, shape (k,)
        From 0, the oscillator, to 1, the aggregate posterior.
    levels : array, shape (k, n)
        Exact levels along the way, relative to the lowest.
    first_order : array, shape (n,)
        Slopes of the levels at 0 by degenerate first-order theory, relative to the lowest.
    multiplicities : sequence of int
        Of the oscillator's levels, in order; they sum to n.
    final : array, shape (m,)
        Levels at coupling 1 by another method, drawn as dots.
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.2))
    palette = (GREY, ORANGE, BLUE, RED, VIOLET)
    ends = {}
    shells = np.repeat(np.arange(len(multiplicities)), multiplicities)
    near = couplings <= 0.1 * couplings[-1]
    for state, shell in enumerate(shells):
        colour = palette[shell % len(palette)]
        axes[1].plot(couplings, levels[:, state], color=colour, linewidth=2)
        if shell in (1, 2):  # more would cross
            shifts, foretold = levels[near, state] - levels[0, state], first_order[state] * couplings[near]
            (line,) = axes[0].plot(couplings[near], shifts, color=colour, linewidth=6 - 2 * shell)
            ends[f"N = {shell}"] = line
            axes[0].plot(couplings[near], foretold, color="black", linewidth=1, linestyle="--", zorder=3)
    axes[1].plot(np.full(len(final), couplings[-1]), final, "o", color="black", markersize=4, clip_on=False, zorder=5)
    for shell, multiplicity in enumerate(multiplicities):
        where = {"ha": "right", "va": "center", "weight": "bold", "color": palette[shell % len(palette)]}
        place = levels[0, shells == shell][0]
        axes[1].text(-0.03 * couplings[-1], place, f"N = {shell}: {multiplicity}×", fontsize=SMALL, **where)
    axes[0].set(xlabel="coupling λ", ylabel="shift from the round bowl's level")
    axes[0].legend(ends.values(), ends.keys(), fontsize=SMALL)
    axes[0].set_title("near the start, N = 1 and 2\n(dashed: first order)")
    axes[1].set(xlabel="coupling λ", ylabel="energy above the ground level")
    axes[1].set(xlim=(-0.6 * couplings[-1], couplings[-1]), title="all the way\n(dots: from the density)")
    axes[0].xaxis.set_major_locator(MaxNLocator(3))
    axes[1].set_xticks(couplings[-1] * np.array([0, 0.5, 1]))
    return figure


@book_figure
def fingerprints(spectra, reference, others=None, reference_name="prior"):
    """Lowest levels of every member's latent space against their number, one panel for each latent dimension.

    Parameters
    ----------
    spectra : mapping from str to pair of arrays, shapes (members, n) and (members, n, 2)
        Levels and the ends of their intervals.
    reference : mapping from str to array of shape (n,)
        The oscillator's levels for comparison.
    others : mapping from str to mapping from str to pair of arrays, shapes (n,) and (n, 2), optional
        Further ladders, two at most, by their names: for each panel levels and the ends of their intervals.
    reference_name : str
    """
    figure, axes = plt.subplots(len(spectra), 1, figsize=(WIDTH, 2.1 * len(spectra) + 0.4), squeeze=False)
    for axis, (name, (levels, intervals)) in zip(axes[:, 0], spectra.items(), strict=True):
        numbers = np.arange(1, len(reference[name]))
        for row in zip(levels, intervals, strict=True):
            seeds = _draw_ladder(axis, numbers, *row, color=BLUE, marker="o")
        lines = {"seeds" if len(levels) > 1 else "seed": seeds}
        for (other, row), (marker, style) in zip((others or {}).items(), (("s", "--"), ("^", ":")), strict=False):
            lines[other] = _draw_ladder(axis, numbers, *row[name], color=ORANGE, marker=marker, linestyle=style)
        (lines[reference_name],) = axis.plot(
            numbers, reference[name][1:], "D-", color="black", linewidth=1, markersize=4
        )
        axis.set(title=name, ylabel="level", xticks=numbers, xlim=(0.7, numbers[-1] + 0.3))
        axis.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes[-1, 0].set_xlabel("number of the level")
    figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=2, fontsize=SMALL)
    return figure


def _draw_ladder(axis, numbers, levels, intervals, **style):
    """Levels joined by a line, with their intervals; the lowest, which is 0 for all, is left out."""
    levels = np.asarray(levels)[1:]
    error = np.abs(np.asarray(intervals)[1:].T - levels)
    return axis.errorbar(numbers, levels, error, linewidth=1, markersize=4, **style)


@book_figure
def eigenfunctions_decoded(axes_points, functions, levels, grid_images):
    """Slow eigenfunctions over the latent plane, and the plane decoded.

    Parameters
    ----------
    axes_points : pair of arrays, shapes (a,) and (b,)
        Points along both axes of the plane.
    functions : array, shape (k, b, a)
        Values at (second axis, first axis), NaN where there are no data.
    levels : array, shape (k,)
    grid_images : array, shape (rows, columns, height, width)
        Decoded images on a grid over the same plane, the first row at the bottom.
    """
    columns = 3
    rows = -(-(len(functions) + 1) // columns)
    across, up = (np.ptp(points) for points in axes_points)
    height = rows * (WIDTH / columns * up / across + 0.35) + 0.8
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, height), sharex=True, sharey=True, squeeze=False)
    shape = {"extent": [end for points in axes_points for end in (points[0], points[-1])], "origin": "lower"}
    first, *panels = axes.flat[: len(functions) + 1]
    for number, (axis, values, level) in enumerate(zip(panels, functions, levels, strict=True), start=1):
        shades = axis.imshow(values / np.nanquantile(np.abs(values), 0.98), cmap=DIVERGING, vmin=-1, vmax=1, **shape)
        axis.set_title(f"mode {number}, level {level:.2f}")
    images = [[as_picture(image) for image in row] for row in grid_images[::-1]]
    if images[0][0] is None:  # values in a row instead of a picture
        images = [[np.reshape(image, (1, -1)) for image in row] for row in grid_images[::-1]]
    framed = [[np.pad(image, [(1, 1), (1, 1), (0, 0)][: image.ndim]) for image in row] for row in images]
    mosaic = np.concatenate([np.concatenate(row, axis=1) for row in framed], axis=0)
    first.imshow(mosaic[::-1], **shape)
    first.set_title("the plane, decoded")
    for axis in axes.flat[len(functions) + 1 :]:
        axis.set_axis_off()
    for axis in axes.flat[: len(functions) + 1]:
        axis.set(aspect="equal", xlabel="z₁", ylabel="z₂")
        axis.label_outer()
    scale = figure.colorbar(shades, ax=axes, location="bottom", aspect=40, shrink=0.6, ticks=[-1, 0, 1])
    scale.set_label("mode, scaled to its largest value")
    return figure


@book_figure
def populations_by_class(populations, classes, energies, n_levels, errors=None):
    """Mean populations of the oscillator's levels for each class, darker for more, with the mean level.

    Parameters
    ----------
    populations : array, shape (classes, bins)
        Summed over equal ranges of levels.
    classes : sequence
        Their names.
    energies : sequence of float
        Mean energy of each class, written at the right.
    n_levels : int
        How many levels all bins cover.
    errors : sequence of float, optional
        Half the widths of intervals of the mean energies.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 3.1))
    seen = 1 + np.flatnonzero(populations.max(axis=0) > populations.max() / 200).max(initial=0)
    end = max(seen * n_levels / populations.shape[1], 2 * max(energies) + 1) - 0.5
    extent = (-0.5, n_levels - 0.5, len(classes) - 0.5, -0.5)
    shades = PowerNorm(0.5, 0, populations.max())  # the tails would be white otherwise
    picture = axis.imshow(populations, aspect="auto", cmap="Blues", norm=shades, extent=extent)
    reach = None if errors is None else 2 * np.asarray(errors)
    places, how = np.arange(len(classes)), {"fmt": "D", "color": ORANGE, "markersize": 3, "linewidth": 1.5}
    axis.errorbar(2 * np.asarray(energies), places, xerr=reach, **how)
    axis.set(xlabel="level N", ylabel="class", xlim=(-0.5, end), title="orange: mean level, twice the mean energy")
    named = name_classes(axis.yaxis, classes)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for row in named:
        axis.text(end, row, f" {energies[row]:.3g}", va="center", fontsize=SMALL)
    axis.text(end, -0.7, " energy", va="bottom", fontsize=SMALL)
    figure.colorbar(picture, ax=axis, label="mean population (square-root scale)", pad=0.13, ticks=MaxNLocator(4))
    return figure
