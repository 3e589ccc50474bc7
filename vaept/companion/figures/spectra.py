"""Figures of chapter 4: series and spectra."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from vaept.companion.figures.style import BLUE, DIVERGING, GREY, ORANGE, RED, as_picture, book_figure, name_classes


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
    figure, axis = plt.subplots(figsize=(7.2, 3.2))
    axis.plot(couplings, exact, color="black", linewidth=3, label="exact")
    for (name, values), colour in zip(curves.items(), (GREY, BLUE, RED, ORANGE, "#832db6"), strict=False):
        axis.plot(couplings, values, color=colour, label=name, linestyle="--" if "Padé" in name else "-")
    margin = 0.6 * np.ptp(exact)
    axis.set(ylim=(exact.min() - margin, exact.max() + margin), xlim=(0, couplings[-1]))
    axis.set(xlabel="coupling λ", ylabel="ground energy")
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
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
    figure, axis = plt.subplots(figsize=(5.6, 3.4))
    for order, (row, slope) in enumerate(zip(errors, slopes, strict=True)):
        (line,) = axis.loglog(couplings, row, marker="o", markersize=3)
        text = f" order {order}: slope {slope:.2f}"
        axis.text(couplings[-1], row[-1], text, color=line.get_color(), va="center", fontsize=8)
    axis.set(xlabel="coupling λ", ylabel="error of the energy")
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
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.4), width_ratios=[1, 1.6])
    palette = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    shells = np.repeat(np.arange(len(multiplicities)), multiplicities)
    near = couplings <= 0.1 * couplings[-1]
    for state, shell in enumerate(shells):
        axes[0].plot(couplings[near], levels[near, state] - levels[0, state], color=palette[shell])
        axes[0].plot(
            couplings[near], first_order[state] * couplings[near], color=palette[shell], linewidth=0.8, linestyle=":"
        )
        axes[1].plot(couplings, levels[:, state], color=palette[shell])
    axes[1].plot(np.full(len(final), couplings[-1]), final, "o", color="black", markersize=3, clip_on=False, zorder=5)
    for shell, multiplicity in enumerate(multiplicities):
        axes[1].text(-0.02, levels[0, shells == shell][0], f"{multiplicity}×", ha="right", va="center", fontsize=8)
    axes[0].set(xlabel="coupling λ", ylabel="shift from the oscillator", title="near the start (dotted: first order)")
    axes[1].set(xlabel="coupling λ", ylabel="energy above the ground level", xlim=(-0.12, couplings[-1]))
    axes[1].set_title("from the oscillator to the latent space")
    return figure


@book_figure
def fingerprints(spectra, reference):
    """Lowest levels of every member's latent space with intervals, one panel for each latent dimension.

    Parameters
    ----------
    spectra : mapping from str to pair of arrays, shapes (members, n) and (members, n, 2)
        Levels and the ends of their intervals.
    reference : mapping from str to array of shape (n,)
        The oscillator's levels for comparison.
    """
    figure, axes = plt.subplots(1, len(spectra), figsize=(7.2, 3.4), sharey=True, squeeze=False)
    for axis, (name, (levels, intervals)) in zip(axes[0], spectra.items(), strict=True):
        for member, (own, ends) in enumerate(zip(levels, intervals, strict=True)):
            axis.hlines(own, member - 0.35, member + 0.35, color=BLUE, linewidth=1.5)
            axis.vlines(np.full(len(own), member), ends[:, 0], ends[:, 1], color="black", linewidth=0.8)
        axis.hlines(reference[name], len(levels) + 0.65, len(levels) + 1.35, color=GREY, linewidth=1.5)
        for level, count in zip(*np.unique(reference[name], return_counts=True), strict=True):
            axis.text(len(levels) + 1.45, level, f"{count}×", ha="left", va="center", fontsize=7, color="#666666")
        axis.set_xlim(-0.8, len(levels) + 2.2)
        ticks = [*range(len(levels)), len(levels) + 1]
        axis.set(title=name, xlabel="seed", xticks=ticks, xticklabels=[*map(str, ticks[:-1]), "prior"])
    axes[0, 0].set_ylabel("level (energy, or relaxation rate)")
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
    ratios = [*[1] * len(functions), 1.6]
    figure, axes = plt.subplots(1, len(ratios), figsize=(7.2, 11 / sum(ratios) + 0.3), width_ratios=ratios)
    for number, (axis, values, level) in enumerate(zip(axes, functions, levels, strict=False), start=1):
        limit = np.nanquantile(np.abs(values), 0.98)
        axis.pcolormesh(*axes_points, values, cmap=DIVERGING, vmin=-limit, vmax=limit, shading="nearest")
        axis.set(aspect="equal", xticks=[], yticks=[], title=f"mode {number}, level {level:.2f}")
    rows = [[as_picture(image) for image in row] for row in grid_images[::-1]]
    if rows[0][0] is None:  # values in a row instead of a picture
        rows = [[np.reshape(image, (1, -1)) for image in row] for row in grid_images[::-1]]
    framed = [[np.pad(image, [(1, 1), (1, 1), (0, 0)][: image.ndim]) for image in row] for row in rows]
    mosaic = np.concatenate([np.concatenate(row, axis=1) for row in framed], axis=0)
    across, up = (np.ptp(points) for points in axes_points)
    axes[-1].imshow(mosaic, aspect=up / across * mosaic.shape[1] / mosaic.shape[0])
    axes[-1].set_axis_off()
    axes[-1].set_title("the plane, decoded")
    return figure


@book_figure
def populations_by_class(populations, classes, energies, n_levels):
    """Mean populations of the oscillator's levels for each class, darker for more.

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
    """
    figure, axis = plt.subplots(figsize=(7.2, 2.8))
    extent = (-0.5, n_levels - 0.5, len(classes) - 0.5, -0.5)
    picture = axis.imshow(populations, aspect="auto", cmap="Blues", extent=extent)
    axis.set(xlabel="level N", ylabel="class")
    named = name_classes(axis.yaxis, classes)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for row in named:
        axis.text(n_levels - 0.5, row, f" {energies[row]:.3g}", va="center", fontsize=7)
    axis.set_title("mean energy", loc="right", fontsize=7)
    figure.colorbar(picture, ax=axis, label="mean population", pad=0.08)
    return figure
