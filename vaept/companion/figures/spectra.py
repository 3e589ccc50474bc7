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
        Slopes of the levels at 0 by degenerate first-order theory, relative to the lowest; dashed for the first pair.
    multiplicities : sequence of int
        Of the oscillator's levels, in order; they sum to n.
    final : array, shape (m,)
        Levels at coupling 1 by another method, drawn as dots.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 3.4))
    palette = (GREY, ORANGE, BLUE, RED, VIOLET)
    shells = np.repeat(np.arange(len(multiplicities)), multiplicities)
    for state, shell in enumerate(shells):
        colour = palette[shell % len(palette)]
        axis.plot(couplings, levels[:, state], color=colour, linewidth=2)
        if shell == 1:  # more would cross
            foretold = levels[0, state] + first_order[state] * couplings
            axis.plot(couplings, foretold, color="black", linewidth=1, linestyle="--", zorder=3)
    axis.plot(np.full(len(final), couplings[-1]), final, "o", color="black", markersize=4, clip_on=False, zorder=5)
    for shell, multiplicity in enumerate(multiplicities):
        where = {"ha": "right", "va": "center", "weight": "bold", "color": palette[shell % len(palette)]}
        place = levels[0, shells == shell][0]
        axis.text(-0.03 * couplings[-1], place, f"N = {shell}: {multiplicity}×", fontsize=SMALL, **where)
    axis.set(xlabel="coupling λ", ylabel="energy above the ground level", xlim=(-0.2 * couplings[-1], couplings[-1]))
    axis.set_xticks(couplings[-1] * np.array([0, 0.5, 1]))
    return figure


@book_figure
def fingerprints(spectra, reference):
    """Lowest levels of every member's latent space against their number, one panel for each latent dimension.

    Parameters
    ----------
    spectra : mapping from str to pair of arrays, shapes (members, n) and (members, n, 2)
        Levels and the ends of their intervals.
    reference : mapping from str to array of shape (n,)
        The oscillator's levels for comparison, the prior's.
    """
    figure, axes = plt.subplots(len(spectra), 1, figsize=(WIDTH, 2.1 * len(spectra) + 0.4), squeeze=False)
    how = {"linewidth": 1, "markersize": 4}
    for axis, (name, (levels, intervals)) in zip(axes[:, 0], spectra.items(), strict=True):
        numbers = np.arange(1, len(reference[name]))
        for row, ends in zip(np.asarray(levels), np.asarray(intervals), strict=True):
            reach = np.abs(ends[1:].T - row[1:])
            seeds = axis.errorbar(numbers, row[1:], reach, color=BLUE, marker="o", **how)
        lines = {"seeds" if len(levels) > 1 else "seed": seeds}
        (lines["prior"],) = axis.plot(numbers, reference[name][1:], "D-", color="black", **how)
        axis.set(title=name, ylabel="level", xticks=numbers, xlim=(0.7, numbers[-1] + 0.3))
        axis.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes[-1, 0].set_xlabel("number of the level")
    figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=2, fontsize=SMALL)
    return figure


@book_figure
def levels_beside_seeds(spectra, others):
    """How far each level is from its mean over seeds, in per cent, for every seed and for other densities.

    Parameters
    ----------
    spectra : mapping from str to pair of arrays, shapes (members, n) and (members, n, 2)
        For each panel levels and the ends of their intervals; the lowest, which is 0 for all, is left out.
    others : mapping from str to mapping from str to pair of arrays, shapes (n,) and (n, 2)
        Further ladders, two at most, by their names: for each panel levels and the ends of their intervals.
    """
    figure, axes = plt.subplots(len(spectra), 1, figsize=(WIDTH, 1.8 * len(spectra) + 0.4), squeeze=False)
    for axis, (name, (levels, intervals)) in zip(axes[:, 0], spectra.items(), strict=True):
        mean = np.mean(levels, axis=0)[1:]
        rows = [("seeds", BLUE, "o", *own) for own in zip(levels, intervals, strict=True)]
        styles = ((ORANGE, "s"), (RED, "^"))
        rows += [(other, *style, *own[name]) for style, (other, own) in zip(styles, others.items(), strict=False)]
        places, lines = np.linspace(-0.25, 0.25, len(rows)), {}
        for number in range(2, len(mean) + 1, 2):
            axis.axvspan(number - 0.5, number + 0.5, color=GREY, alpha=0.12, linewidth=0)
        for place, (label, colour, marker, row, ends) in zip(places, rows, strict=True):
            off, ends = (100 * (np.asarray(part)[1:].T / mean - 1) for part in (row, ends))
            where = np.arange(1, len(mean) + 1) + place
            how = {"fmt": marker, "color": colour, "markersize": 4, "linewidth": 1}
            lines[label] = axis.errorbar(where, off, np.abs(ends - off), **how)
        axis.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
        axis.set(title=name, ylabel="off the mean\nover seeds (%)", xlim=(0.5, len(mean) + 0.5))
        axis.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes[-1, 0].set_xlabel("number of the level")
    figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=3, fontsize=SMALL)
    return figure


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
    rows = len(functions)
    across, up = (np.ptp(points) for points in axes_points)
    figure = plt.figure(figsize=(WIDTH, 0.62 * WIDTH * up / across + 1.1))
    grid = figure.add_gridspec(rows, 2, width_ratios=[2, 1])
    first = figure.add_subplot(grid[:, 0])
    panels = [figure.add_subplot(grid[row, 1]) for row in range(rows)]
    shape = {"extent": [end for points in axes_points for end in (points[0], points[-1])], "origin": "lower"}
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
    for axis in (first, *panels):
        axis.set(aspect="equal", xlabel="z₁" if axis in (first, panels[-1]) else None, ylabel="z₂")
    scale = figure.colorbar(shades, ax=[first, *panels], location="bottom", aspect=40, shrink=0.6, ticks=[-1, 0, 1])
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
        Mean energy of each class: half its mean level, which is marked.
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
    axis.set(xlabel="level N", ylabel="class", xlim=(-0.5, end), title="orange: mean level")
    name_classes(axis.yaxis, classes)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(picture, ax=axis, label="mean population (square-root scale)", ticks=MaxNLocator(4))
    return figure
