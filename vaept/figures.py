"""Every figure of the book: results in, a matplotlib Figure out; nothing is computed or read here.

Each function also takes the keyword `made_by`, a few words on what made the results, which are printed in the
figure's corner, word for word. Classes are colours (the ten of `vaept.mplstyle`, again and again) with their names
written beside them, as far as there is room.
"""

import functools
from importlib import resources

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import patheffects
from matplotlib.patches import Ellipse
from matplotlib.ticker import MaxNLocator

STYLE = str(resources.files("vaept").joinpath("vaept.mplstyle"))
BLUE, ORANGE, RED, GREY = "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2"
DIVERGING = "PuOr"
MAX_DOTS = 2500
NAMED_CLASSES = 20  # of more, not all are named


def _figure_of_the_book(draw):
    @functools.wraps(draw)
    def styled(*args, made_by, **kwargs):
        with plt.style.context(STYLE):
            figure = draw(*args, **kwargs)
            figure.get_layout_engine().set(rect=(0, 0.035, 1, 0.965))
            where = {"ha": "right", "va": "bottom", "fontsize": 6, "color": "#666666"}
            figure.text(0.995, 0.004, made_by, parse_math=False, **where)
            plt.close(figure)  # the caller has it; pyplot need not show it a second time
        return figure

    return styled


@_figure_of_the_book
def wells_and_levels(grid, potentials, energies, states, titles):
    """Wells with their levels as lines and their eigenfunctions on them.

    Parameters
    ----------
    grid : array, shape (n,)
    potentials : sequence of arrays, shape (n,)
        One panel each.
    energies : sequence of arrays, shape (levels,)
    states : sequence of arrays, shape (n, levels)
        Normalised eigenfunctions.
    titles : sequence of str
    """
    figure, axes = plt.subplots(1, len(potentials), sharey=True)
    for axis, potential, own_energies, own_states, title in zip(
        axes, potentials, energies, states, titles, strict=True
    ):
        axis.plot(grid, potential, color="black")
        for level, (energy, state) in enumerate(zip(own_energies, own_states.T, strict=True)):
            colour = (BLUE, ORANGE)[level % 2]
            axis.plot(grid, np.where(potential < energy, energy, np.nan), color=GREY, linewidth=0.8)
            axis.plot(grid, np.where(np.abs(state) > 0.01, energy + 0.3 * state, np.nan), color=colour)
        axis.set(title=title, xlabel="position z", ylim=(-0.1, own_energies[-1] + 0.75))
    axes[0].set_ylabel("energy above the bottom")
    return figure


@_figure_of_the_book
def oscillator_states_2d(axis_points, states, titles):
    """Eigenfunctions of the round oscillator over the plane.

    Parameters
    ----------
    axis_points : array, shape (n,)
        The same points along both axes.
    states : array, shape (k, n, n)
        Values at (second axis, first axis).
    titles : sequence of str
    """
    figure, axes = plt.subplots(1, len(states), figsize=(7.2, 1.6), sharey=True)
    for axis, state, title in zip(axes, states, titles, strict=True):
        _plane(axis, axis_points, state)
        axis.set_title(title)
    return figure


@_figure_of_the_book
def tilt_chooses_axes(axis_points, angles, states, splittings):
    """The two states of the first level under a tiny perturbation that points in several directions.

    Parameters
    ----------
    axis_points : array, shape (n,)
    angles : array, shape (k,)
        Direction of the perturbation, radians.
    states : array, shape (k, 2, n, n)
        Lower and upper state of the split level.
    splittings : array, shape (k,)
        Energy between the two.
    """
    figure, axes = plt.subplots(2, len(angles), figsize=(7.2, 2.95), sharex=True, sharey=True)
    half = 0.85 * axis_points[-1]
    for column, angle, pair, splitting in zip(axes.T, angles, states, splittings, strict=True):
        for axis, state in zip(column, pair, strict=True):
            _plane(axis, axis_points, state)
            ends = np.array([-half, half])
            axis.plot(ends * np.cos(angle), ends * np.sin(angle), color="black", linewidth=1, linestyle=":")
        column[0].set_title(f"{np.degrees(angle):.0f}°, gap {splitting:.0e}")
    axes[0, 0].set_ylabel("lower state")
    axes[1, 0].set_ylabel("upper state")
    return figure


def _plane(axis, points, values):
    limit = np.abs(values).max()
    axis.pcolormesh(points, points, values, cmap=DIVERGING, vmin=-limit, vmax=limit, shading="gouraud")
    axis.set(aspect="equal", xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)


@_figure_of_the_book
def posterior_as_wave_packet(images, means, variances, populations, energies):
    """Images, their Gaussian posteriors in the well, and the populations of its levels.

    Parameters
    ----------
    images : array, shape (k, height, width) or (k, pixels)
        One row each.
    means, variances : arrays, shape (k, 2)
    populations : sequence of k arrays, shape (levels,)
        Each with as many levels as are to be shown.
    energies : array, shape (k,)
    """
    figure, axes = plt.subplots(len(images), 3, figsize=(7.2, 1.9 * len(images)), width_ratios=[1, 1.3, 2])
    reach = max(3.2, float(np.abs(means).max() + 3 * np.sqrt(variances.max())))
    for row, image, mean, variance, population, energy in zip(
        axes, images, means, variances, populations, energies, strict=True
    ):
        _show_image(row[0], image)
        for radius in np.sqrt(8 * np.array([0.5, 1, 1.5, 2])):
            row[1].add_patch(Ellipse((0, 0), 2 * radius, 2 * radius, fill=False, color=GREY, linewidth=0.8))
        row[1].add_patch(Ellipse((0, 0), 2, 2, color=BLUE, alpha=0.3, linewidth=0))
        row[1].add_patch(Ellipse(mean, *(2 * np.sqrt(variance)), color=RED, linewidth=0))
        row[1].plot(*mean, "o", color=RED, markersize=7, fillstyle="none", markeredgewidth=0.8)  # finds a tiny one
        row[1].set(aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach), xlabel="z₁", ylabel="z₂")
        row[2].fill_between(np.arange(len(population)), population, step="mid", color=RED, linewidth=0)
        row[2].axvline(2 * energy, color="black", linewidth=1, linestyle="--")
        text = f"energy {energy:.3g}, mean level {2 * energy:.3g}"
        row[2].text(0.98, 0.9, text, ha="right", va="top", fontsize=8, transform=row[2].transAxes)
        row[2].set(ylabel="population", xlim=(-0.5, len(population)), ylim=(0, None))
    axes[0, 1].set_title("blue: prior, red: posterior")
    axes[0, 2].set_title("levels N of the well, energy N/2")
    axes[-1, 2].set_xlabel("level N")
    return figure


def as_picture(image):
    """An image as matplotlib shows it, grey (rows, columns) or in colour (rows, columns, 3); None if it is no picture.

    Colours come last or first; sides of 1 do not count.
    """
    image = np.squeeze(image)
    if image.ndim == 3 and image.shape[0] == 3 != image.shape[2]:
        image = np.moveaxis(image, 0, 2)
    return image if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3) else None


def _show_image(axis, image):
    picture = as_picture(image)
    if picture is None:  # show the values in their order
        axis.plot(np.ravel(image), color="black", linewidth=0.8)
        axis.set(xticks=[], yticks=[])
    else:
        axis.imshow(picture if picture.ndim == 2 else picture.clip(0, 1))
        axis.set_axis_off()


@_figure_of_the_book
def energy_bounds_kl(kl, bound, labels):
    """Every image as a dot, KL against its bound 4⟨H₀⟩.

    Parameters
    ----------
    kl, bound : arrays, shape (n,)
        Nats.
    labels : array of int, shape (n,), or None
    """
    figure, axis = plt.subplots(figsize=(5.0, 3.8))
    rows = slice(MAX_DOTS)
    axis.scatter(bound[rows], kl[rows], s=7, c=_colours(labels, len(kl))[rows], linewidths=0)
    low, top = 0.9 * kl.min(), 1.5 * kl.max()
    axis.set(xscale="log", yscale="log", xlim=(min(0.9 * bound.min(), low), 1.1 * bound.max()), ylim=(low, top))
    axis.plot([low, top], [low, top], color="black", linewidth=1)
    axis.text(top, top, " KL = 4⟨H₀⟩", ha="left", va="top", fontsize=8)
    axis.xaxis.set_minor_formatter("")
    axis.yaxis.set_minor_formatter("")
    axis.set(xlabel="4⟨H₀⟩ (nats)", ylabel="KL to the prior (nats)")
    _class_legend(figure, labels)
    return figure


@_figure_of_the_book
def training_history(reconstruction, kl):
    """Both terms of the negative ELBO, and their sum, against epochs; a line for each member.

    Parameters
    ----------
    reconstruction, kl : arrays, shape (members, epochs)
        Nats; the panels show −reconstruction, kl, and kl − reconstruction.
    """
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.6))
    epochs = np.arange(1, kl.shape[1] + 1)
    for axis, values, title in zip(
        axes, (-reconstruction, kl, kl - reconstruction), ("−reconstruction", "KL", "−ELBO"), strict=True
    ):
        axis.plot(epochs, values.T, color=BLUE, alpha=0.5, linewidth=1)
        late = values[:, len(epochs) // 10 :]  # the first steps would fix the scale otherwise
        margin = 0.1 * np.ptp(late) + 1e-9
        axis.set(title=title, xlabel="epoch", ylim=(late.min() - margin, late.max() + margin))
    axes[0].set_ylabel("nats per image")
    return figure


@_figure_of_the_book
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
        rows, columns, figsize=(7.2, 7.2 / columns * rows * 1.12 + 0.15), sharex=True, sharey=True, squeeze=False
    )
    reach = 1.05 * np.quantile(np.abs(latents), 0.998)
    for axis in axes.flat[len(latents) :]:
        axis.set_axis_off()
    for member, (axis, points) in enumerate(zip(axes.flat, latents, strict=False)):
        _cloud(axis, points, labels)
        axis.set(aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach), xticks=[-2, 0, 2], yticks=[-2, 0, 2])
        axis.set_title(f"seed {member}, −ELBO {-elbo[member]:.2f}", fontsize=7.5)
    return figure


def _cloud(axis, points, labels):
    """Points (n, 2) as dots, coloured by class, with the names of the classes amid them."""
    colours = _colours(labels, len(points))[:MAX_DOTS]
    axis.scatter(*points[:MAX_DOTS].T, s=np.clip(2500 / len(colours), 2, 6), c=colours, linewidths=0, alpha=0.7)
    if labels is None:
        return
    outline = [patheffects.withStroke(linewidth=2, foreground="white")]
    for label in np.unique(labels)[:NAMED_CLASSES]:
        x, y = np.median(points[labels == label], axis=0)
        axis.text(x, y, str(label), ha="center", va="center", fontsize=8, weight="bold", path_effects=outline)


MEASURES = {
    "coordinates": "as they are\n(correlation)",
    "signed_permutation": "best signed permutation\n(correlation)",
    "orthogonal": "best rotation\n(R²)",
    "linear": "best linear map\n(R²)",
    "cka": "similarity of shapes\n(linear CKA)",
    "neighbours": "shared neighbours\n(fraction of 10)",
}


@_figure_of_the_book
def agreement_by_group(agreements, controls):
    """How well members agree, as they are and after the best map of each group.

    Parameters
    ----------
    agreements : mapping from str to Agreement
        One colour each, such as one for each latent dimension.
    controls : sequence of Agreement
        The same with the images shuffled for each member: agreement by chance.
    """
    figure, axis = plt.subplots(figsize=(7.2, 3.6))
    height = 0.8 / len(agreements)
    positions = -np.arange(len(MEASURES), dtype=float)
    markers = zip(agreements.items(), controls, (BLUE, ORANGE, RED), strict=False)
    for i, ((name, agreement), control, colour) in enumerate(markers):
        y = positions + 0.4 - height * (i + 0.5)
        estimates = [getattr(agreement, measure) for measure in MEASURES]
        means = np.array([estimate.mean for estimate in estimates])
        low, high = (np.array([getattr(estimate, end) for estimate in estimates]) for end in ("low", "high"))
        axis.barh(y, means, height=0.9 * height, color=colour, label=name)
        axis.errorbar(means, y, xerr=np.nan_to_num([means - low, high - means]).clip(0), fmt="none", color="black")
        chance = [getattr(control, measure).mean for measure in MEASURES]
        axis.plot(chance, y, "|", color="black", markersize=9, label="by chance" if i == 0 else None)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(xlim=(-1.02, 1.02), xlabel="agreement between two members (1 = perfect)")
    axis.set_yticks(positions, MEASURES.values())
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return figure


@_figure_of_the_book
def elbo_against_rotation(degrees, losses, spread):
    """−ELBO of trained members whose latent plane is turned, relative to the unturned member.

    Parameters
    ----------
    degrees : array, shape (k,)
    losses : array, shape (members, k)
        −ELBO minus its value at 0°, nats.
    spread : float
        Standard deviation of −ELBO over seeds, nats, drawn as a band for scale.
    """
    figure, axis = plt.subplots(figsize=(7.2, 2.8))
    axis.axhspan(0, spread, color=GREY, alpha=0.35, linewidth=0)
    axis.set_title("grey band: one standard deviation over seeds", loc="right", fontsize=8)
    axis.plot(degrees, losses.T, color=BLUE, linewidth=0.9, alpha=0.6)
    axis.plot(degrees, losses.mean(axis=0), color="black", linewidth=1.8)
    axis.set(xlabel="angle by which the latent plane is turned (degrees)", xticks=np.arange(0, 361, 45))
    axis.set_ylabel("−ELBO minus its\nvalue at 0° (nats)")
    return figure


@_figure_of_the_book
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


@_figure_of_the_book
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


@_figure_of_the_book
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


@_figure_of_the_book
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


@_figure_of_the_book
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


@_figure_of_the_book
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
    named = _name_classes(axis.yaxis, classes)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for row in named:
        axis.text(n_levels - 0.5, row, f" {energies[row]:.3g}", va="center", fontsize=7)
    axis.set_title("mean energy", loc="right", fontsize=7)
    figure.colorbar(picture, ax=axis, label="mean population", pad=0.08)
    return figure


@_figure_of_the_book
def symmetry_breaking_toy(walkers, titles, field_angle):
    """Runs on a ring of equally good optima: where they end without, in, and after a small field.

    Parameters
    ----------
    walkers : array, shape (panels, runs, 2)
        Where the runs end.
    titles : sequence of str
    field_angle : float
        Direction of the field in the second panel, radians.
    """
    figure, axes = plt.subplots(1, len(walkers), figsize=(7.2, 2.7), sharex=True, sharey=True)
    points = np.linspace(-1.7, 1.7, 161)
    radius = np.hypot(*np.meshgrid(points, points))
    for panel, (axis, ends, title) in enumerate(zip(axes, walkers, titles, strict=True)):
        axis.contourf(points, points, np.minimum((radius**2 - 1) ** 2, 1.5), levels=12, cmap="Greys", alpha=0.6)
        axis.plot(*ends.T, "o", color=RED, markersize=3, alpha=0.7, linewidth=0)
        axis.set(aspect="equal", xticks=[], yticks=[], title=title)
        if panel == 1:
            direction = np.array([np.cos(field_angle), np.sin(field_angle)])
            axis.annotate(
                "", 0.45 * direction, -0.45 * direction, arrowprops={"arrowstyle": "-|>", "color": BLUE, "lw": 2}
            )
    return figure


@_figure_of_the_book
def first_components(values, labels, titles):
    """The first two components of several fields at the same images, coloured afterwards by class.

    Parameters
    ----------
    values : sequence of arrays, shape (n, k ≥ 2)
    labels : array of int, shape (n,), or None
    titles : sequence of str
    """
    figure, axes = plt.subplots(1, len(values), figsize=(7.2, 2.7))
    for axis, points, title in zip(np.atleast_1d(axes), values, titles, strict=True):
        _cloud(axis, points[:, :2], labels)
        low, high = np.quantile(points[:, :2], [0.002, 0.998], axis=0)
        margin = 0.06 * (high - low)
        axis.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
        axis.set(title=title, xlabel="u₁", ylabel="u₂", xticks=[], yticks=[])
    return figure


@_figure_of_the_book
def ten_seeds_in_a_field(before, after, labels):
    """The latent planes of the members without a field and, below a line, trained in one that is gone at the end.

    Parameters
    ----------
    before, after : arrays, shape (members, n, 2)
    labels : array of int, shape (n,), or None
    """
    return _planes({"without a field": before, "in a field that is gone at the end": after}, labels, 5)


@_figure_of_the_book
def teaser(before, after, labels):
    """`ten_seeds_in_a_field` in short, of the same before, after and labels: four planes of each."""
    return _planes({"trained as usual": before[:4], "trained in a field that is gone at the end": after[:4]}, labels, 4)


def _planes(groups, labels, columns):
    """Latent planes in rows, each group of rows under its title."""
    members = min(len(latents) for latents in groups.values())
    columns = min(columns, members)
    rows = -(-members // columns)
    side = 7.2 / columns
    figure = plt.figure(figsize=(7.2, len(groups) * (rows * side + 0.3)))
    for part, (title, latents) in zip(figure.subfigures(len(groups), 1), groups.items(), strict=True):
        part.suptitle(title, fontsize=10)
        axes = part.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        reach = 1.05 * np.quantile(np.abs(latents), 0.998)
        for axis in axes.flat[members:]:
            axis.set_axis_off()
        for axis, points in zip(axes.flat, latents[:members], strict=False):
            _cloud(axis, points, labels)
            axis.set(aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])
    return figure


@_figure_of_the_book
def agreement_with_controls(arms):
    """How well members agree without alignment, and how good they are, for every arm.

    Parameters
    ----------
    arms : mapping from str to dict from str to pair of (Estimate, array of shape (members,))
        For each latent dimension and the title of each arm: coordinate agreement, and −ELBO of the members in nats. A
        line is drawn through the mean of the arm whose title holds "warm start".
    """
    rows = max(len(own) for own in arms.values())
    figure, axes = plt.subplots(
        len(arms), 2, figsize=(7.2, (0.27 * rows + 0.75) * len(arms)), sharey="row", squeeze=False
    )
    for (left, right), (name, own) in zip(axes, arms.items(), strict=True):
        for row, (title, (agreement, losses)) in enumerate(own.items()):
            colour = RED if "neighbour" in title else GREY if "no field" in title or "shuffled" in title else BLUE
            left.plot([agreement.low, agreement.high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
            left.plot(agreement.mean, row, "o", color=colour)
            right.plot(losses, np.full(len(losses), row), "o", color=colour, markersize=3, alpha=0.6, linewidth=0)
            right.plot(losses.mean(), row, "|", color="black", markersize=11)
            if "warm start" in title:
                right.axvline(losses.mean(), color=GREY, linewidth=0.8, linestyle=":")
        left.axvline(0, color=GREY, linewidth=0.8)
        left.axvline(1, color=GREY, linewidth=0.8)
        left.set(yticks=range(len(own)), yticklabels=list(own), title=name, xlim=(-1.05, 1.05))
        left.invert_yaxis()
        right.set_title("each dot a member, bar: mean, dotted: warm start", fontsize=7.5)
    axes[-1, 0].set_xlabel("coordinate agreement, no alignment")
    axes[-1, 1].set_xlabel("−ELBO under the plain prior (nats)")
    return figure


@_figure_of_the_book
def dose_response(couplings, agreement, costs, exponent, used):
    """Agreement of coordinates and cost in nats against the coupling of a field that stays on.

    Parameters
    ----------
    couplings : array, shape (k,)
        All above 0.
    agreement : sequence of k Estimates
        Coordinate agreement.
    costs : array, shape (k, members)
        −ELBO under the plain prior minus that without a field; nats.
    exponent : float
        Of the fitted power law; NaN if none was fitted.
    used : array of bool, shape (k,)
        The couplings that it was fitted to.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.9))
    ends = np.array([(each.mean - each.low, each.high - each.mean) for each in agreement]).T
    left.errorbar(couplings, [each.mean for each in agreement], np.abs(ends), color=RED, marker="o", markersize=4)
    left.axhline(1, color=GREY, linewidth=0.8)
    left.axhline(0, color=GREY, linewidth=0.8)
    left.set(xscale="log", xlabel="coupling λ", ylabel="coordinate agreement")
    mean = costs.mean(axis=1)
    error = 2 * costs.std(axis=1, ddof=1) / np.sqrt(costs.shape[1])
    right.errorbar(
        couplings, mean, error, color=BLUE, marker="o", markersize=4, linestyle="none", label="cost ± 2 s.e."
    )
    if np.isfinite(exponent):
        line = np.exp(np.log(mean[used]).mean() + exponent * (np.log(couplings) - np.log(couplings[used]).mean()))
        right.plot(couplings, line, color="black", label=f"fit λ^{exponent:.2f}", linewidth=1)
        square = mean[used][-1] * (couplings / couplings[used][-1]) ** 2
        right.plot(couplings, square, color=GREY, linestyle="--", label="prediction λ²", linewidth=1)
    right.set_yscale("symlog", linthresh=0.1 if np.abs(mean).max() > 0.1 else 0.01)
    right.set(xscale="log", xlabel="coupling λ", ylabel="cost of the field (nats)")
    right.axhline(0, color=GREY, linewidth=0.8)
    right.legend(loc="upper left")
    return figure


@_figure_of_the_book
def persistence(epochs, agreement, losses):
    """Agreement of coordinates, and −ELBO, against the epochs trained after the field was gone.

    Parameters
    ----------
    epochs : array, shape (k,)
        From 0.
    agreement : mapping from str to sequence of k Estimates
        Coordinate agreement for each latent dimension.
    losses : mapping from str to array of shape (k, members)
        −ELBO, nats; drawn relative to its mean at 0.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.7))
    lowest = 0.97
    for (name, values), colour in zip(agreement.items(), (RED, BLUE, ORANGE), strict=False):
        low, mean, high = np.array([(each.low, each.mean, each.high) for each in values]).T
        left.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
        left.plot(epochs, mean, color=colour, marker="o", markersize=4, label=name)
        change = losses[name] - losses[name][0].mean()
        right.plot(epochs, change.mean(axis=1), color=colour, marker="o", markersize=4, label=name)
        lowest = np.nanmin([lowest, *low, *mean])
    left.axhline(0.97, color=GREY, linewidth=0.8, linestyle=":")
    left.set(ylim=(min(0.9, lowest - 0.02), 1.005), xlabel="epochs after the field is gone")
    left.set_ylabel("coordinate agreement")
    right.axhline(0, color=GREY, linewidth=0.8)
    right.set(xlabel="epochs after the field is gone", ylabel="change of −ELBO (nats)")
    left.legend(loc="lower left")
    return figure


@_figure_of_the_book
def arrangements(likeness, losses):
    """−ELBO of members against how much their map resembles the corrected one, up to a rotation.

    Parameters
    ----------
    likeness : mapping from str to array of shape (members,)
        For each arm: R² after the best rotation with the mean of the corrected maps.
    losses : mapping from str to array of shape (members,)
        −ELBO, nats.
    """
    figure, axis = plt.subplots(figsize=(5.6, 3.0))
    for (title, values), colour in zip(likeness.items(), (GREY, BLUE, RED, ORANGE), strict=False):
        axis.plot(values, losses[title], "o", color=colour, markersize=5, alpha=0.8, label=title)
    axis.set(xlabel="likeness to the corrected map (R² after the best rotation)", ylabel="−ELBO (nats)")
    axis.legend()
    return figure


@_figure_of_the_book
def landscape(axes_points, energy, minima, saddles, ways, numbers, images=None, profile=None, unit="kT"):
    """A free energy over a plane with its minima, saddles and lowest paths; beside it what the minima stand for.

    Parameters
    ----------
    axes_points : pair of arrays, shapes (a,) and (b,)
        Points along both axes of the plane.
    energy : array, shape (b, a)
        Values at (second axis, first axis), NaN where nothing is to be shown.
    minima : array, shape (n, 2)
        Labelled with `numbers`.
    saddles : array, shape (s, 2)
    ways : sequence of arrays, shape (k, 2)
        Paths, drawn as lines.
    numbers : sequence of int, length n
        Of the minima.
    images : array, shape (n, height, width), optional
        Decoded at the minima; the first twelve are shown.
    profile : pair of arrays, shape (k,), optional
        Instead of images: length along a path and the energy there.
    unit : str
        Of the energy.
    """
    beside = images is not None or profile is not None
    figure = plt.figure(figsize=(7.2, 3.7))
    parts = figure.subfigures(1, 2, width_ratios=[1.5, 1]) if beside else [figure]
    axis = parts[0].subplots()
    levels = np.linspace(np.nanmin(energy), np.nanmax(energy), 16)
    filled = axis.contourf(*axes_points, energy, levels=levels, cmap="Blues_r")
    axis.contour(*axes_points, energy, levels=levels, colors="white", linewidths=0.3)
    lines = [axis.plot(*way.T, color=ORANGE, linewidth=1.6)[0] for way in ways]
    passes = axis.plot(*saddles.T, "X", color=RED, markeredgecolor="white", markersize=7, linestyle="none")
    bottoms = axis.plot(*minima.T, "o", color="white", markeredgecolor="black", markersize=11, linestyle="none")
    shown = {"minima": bottoms, "saddles": passes[: len(saddles)], "lowest paths": lines[:1]}
    handles = {name: own[0] for name, own in shown.items() if own}
    axis.legend(handles.values(), handles.keys(), loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    for number, point in zip(numbers, minima, strict=True):
        axis.text(*point, str(number), ha="center", va="center_baseline", fontsize=7.5, weight="bold")
    axis.set(xlabel="z₁", ylabel="z₂")
    for coordinate, line in zip("xy", axes_points, strict=True):
        axis.set(**{f"{coordinate}lim": (line[0], line[-1])})
    parts[0].colorbar(filled, ax=axis, label=f"energy F ({unit})", ticks=MaxNLocator(5))
    if images is not None:
        count = min(12, len(images))
        columns = 1 if count < 3 else 2 if count < 9 else 3
        panels = parts[1].subplots(-(-count // columns), columns, squeeze=False).flat
        for place, panel in enumerate(panels):
            if place < count:
                _show_image(panel, images[place])
                panel.set_title(str(numbers[place]), weight="bold")
            else:
                panel.set_axis_off()
    elif profile is not None:
        panel = parts[1].subplots()
        panel.plot(*profile, color=ORANGE, linewidth=2)
        panel.set(xlabel="length along a lowest path", ylabel=f"energy F ({unit})", title="seen from the side")
    return figure


@_figure_of_the_book
def path_between_images(energies, frames, names=None):
    """Decoded frames along the lowest path above its energy profile, and along the straight line below it.

    Parameters
    ----------
    energies : pair of arrays, shape (n,)
        Free energy along the lowest path and along the straight line, at equal parts of each.
    frames : pair of arrays, shape (k, height, width)
        Images at equal parts of each, from end to end.
    names : pair of sequences of str, optional
        What a classifier takes each frame for.
    """
    k = len(frames[0])
    figure, axes = plt.subplot_mosaic(
        [[f"a{i}" for i in range(k)], ["profile"] * k, [f"b{i}" for i in range(k)]],
        figsize=(7.2, 4.0),
        height_ratios=[1, 2.2, 1],
    )
    for row, colour, images, words in zip("ab", (ORANGE, GREY), frames, names or ([""] * k,) * 2, strict=True):
        for i, (image, word) in enumerate(zip(images, words, strict=True)):
            axis = axes[f"{row}{i}"]
            _show_image(axis, image)
            axis.set_axis_on()
            axis.set(xticks=[], yticks=[], title=word)
            for spine in axis.spines.values():
                spine.set(visible=True, color=colour, linewidth=2)
    profile = axes["profile"]
    # Frames stand over their places: the first and last in the middle of the outer columns.
    along = np.linspace(0, 1, len(energies[0]))
    profile.plot(along, energies[1], color=GREY, linewidth=2, label="straight line (frames below)")
    profile.plot(along, energies[0], color=ORANGE, linewidth=2, label="lowest path (frames above)")
    margin = 0.5 / max(k - 1, 1)
    profile.set(xlim=(-margin, 1 + margin), xlabel="part of the way", ylabel="free energy F (kT)")
    profile.legend(loc="best")
    return figure


@_figure_of_the_book
def relaxation_against_gap(panels):
    """Autocorrelation of slow modes along Langevin trajectories, and the decay that their levels predict.

    Parameters
    ----------
    panels : mapping from str to vaept.relaxation.Relaxation
        For each landscape.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(7.2, 3.0), sharey=True, squeeze=False)
    for axis, (title, found) in zip(axes[0], panels.items(), strict=True):
        for k, (time, colour) in enumerate(zip(found.predicted, (RED, BLUE, ORANGE), strict=False)):
            decay = np.exp(-found.lags / time)
            axis.plot(found.lags, decay, color=colour, label=f"mode {k + 1}: 1/level = {time:.3g}")
            rows, dots = decay > 0.05, {"fmt": "o", "markersize": 3.5, "color": colour, "linewidth": 0.8}
            axis.errorbar(found.lags[rows], found.correlation[rows, k], 1.96 * found.error[rows, k], **dots)
        axis.set(title=title, xlabel="lag (time of the dynamics)", yscale="log", ylim=(0.03, 4))
        axis.set_yticks([0.05, 0.1, 0.2, 0.5, 1], ["0.05", "0.1", "0.2", "0.5", "1"])
        axis.minorticks_off()
        axis.legend(loc="upper right")
    axes[0, 0].set_ylabel("autocorrelation\n(dots: walkers, lines: predicted)")
    return figure


@_figure_of_the_book
def slow_modes_decoded(frames, times, ends=None, classes=None):
    """Decoded walks from one end of each slow mode to the other, with the classes of the images at both ends.

    Parameters
    ----------
    frames : array, shape (modes, k, height, width)
        Images from the mode's lowest values to its highest.
    times : array, shape (modes,)
        Relaxation times.
    ends : array, shape (modes, 2, classes), optional
        Shares of the classes among the images at the low and at the high end.
    classes : sequence, optional
        Names of the classes.
    """
    modes, k = frames.shape[:2]
    figure = plt.figure(figsize=(7.2, 1.0 * modes + 0.35))
    beside = 0 if ends is None else 2.6
    widths = [beside, *[1] * k, beside] if beside else [1] * k
    grid = figure.add_gridspec(modes, len(widths), width_ratios=widths)
    for row in range(modes):
        for column in range(k):
            axis = figure.add_subplot(grid[row, column + bool(beside)])
            _show_image(axis, frames[row, column])
            if column == k // 2:
                axis.set_title(f"mode {row + 1}, relaxation time {times[row]:.3g}")
        for side in range(2 if beside else 0):
            axis = figure.add_subplot(grid[row, -side])
            axis.bar(range(len(classes)), ends[row][side], color=(BLUE, RED)[side])
            axis.set(ylim=(0, 1), yticks=[0, 1], yticklabels=["0", "1"])
            _name_classes(axis.xaxis, classes, 6)
            axis.tick_params(axis="y", labelsize=6)
            if row == 0:
                axis.set_title(("at the left end", "at the right end")[side], fontsize=7.5)
    return figure


@_figure_of_the_book
def states_against_classes(table, classes, scores):
    """Which classes lie in which metastable state, and how well groups found in several ways agree with the classes.

    Parameters
    ----------
    table : array, shape (states, classes)
        Images of each class in each state.
    classes : sequence
        Their names.
    scores : mapping from str to dict from str to mapping from str to array of shape (members,)
        For each score, such as the adjusted Rand index, the title of each arm and each method: the members' values.
    """
    figure = plt.figure(figsize=(7.2, 3.4))
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.45])
    axis = left.subplots()
    share = table / np.maximum(table.sum(axis=0), 1)
    # States in the order of the class that is their largest part, so that agreement is a diagonal.
    order = np.argsort(share.argmax(axis=1), kind="stable")
    axis.imshow(share[order], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, values in enumerate(share[order]):
        for column, value in enumerate(values):
            if value >= 0.1 and len(classes) <= NAMED_CLASSES:
                colour = "white" if value > 0.6 else "black"
                axis.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=6.5, color=colour)
    letters = [chr(ord("A") + row) if len(order) <= 26 else row + 1 for row in range(len(order))]
    axis.set(xlabel="class", ylabel="state")
    _name_classes(axis.xaxis, classes)
    _name_classes(axis.yaxis, letters)
    axis.set_title("% of a class in each state", fontsize=8.5)
    panels = right.subplots(1, len(scores), sharey=True, squeeze=False)[0]
    for panel, (score, arms) in zip(panels, scores.items(), strict=True):
        for place, methods in enumerate(arms.values()):
            for i, ((method, values), colour) in enumerate(zip(methods.items(), (RED, BLUE, GREY), strict=False)):
                y = np.full(len(values), place + 0.22 * (i - (len(methods) - 1) / 2))
                panel.plot(values, y, "o", color=colour, markersize=3, alpha=0.6, linewidth=0)
                panel.plot(np.mean(values), y[0], "|", color=colour, markersize=12, markeredgewidth=2, label=method)
        panel.set(title=score, yticks=range(len(arms)), yticklabels=list(arms), xlim=(0, None))
        panel.xaxis.set_major_locator(MaxNLocator(3))
        panel.set_ylim(len(arms) - 0.5, -0.5)
    handles, names = panels[0].get_legend_handles_labels()
    known = dict(zip(names, handles, strict=True))  # a method has one entry, whatever the number of arms
    right.legend(known.values(), known.keys(), loc="outside lower center", ncols=len(known))
    return figure


@_figure_of_the_book
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
        _show_image(axis, image)
        axis.set_title(f"{energy:.3g}")
    left.supxlabel("test images of the highest energy", fontsize=8.5)
    if not right:
        return figure
    axis = right[0].subplots()
    for place, ((title, scores), colour) in enumerate(zip(precisions.items(), (GREY, RED), strict=False)):
        y = np.arange(len(scores)) + 0.3 * (place - (len(precisions) - 1) / 2)
        values = list(scores.values())
        _intervals(axis, values, y, colour, title)
        axis.set_yticks(range(len(scores)), list(scores))
    axis.axvline(chance, color="black", linewidth=0.8, linestyle=":")
    axis.text(chance, -0.75, " chance", fontsize=7, va="center")
    axis.set(xlim=(0, 1), ylim=(len(scores) - 0.5, -1), xlabel="precision at k of planted outliers")
    axis.legend(loc="lower right")
    return figure


def _intervals(axis, values, places, colour, label):
    """Estimates as dots with their intervals, from left to right."""
    means = np.array([value.mean for value in values])
    ends = np.array([[value.low, value.high] for value in values])
    reach = np.nan_to_num(np.abs(ends - means[:, None])).T
    axis.errorbar(means, places, xerr=reach, fmt="o", color=colour, markersize=4, linewidth=1, label=label)


@_figure_of_the_book
def denoise(rows):
    """The same images clean, noisy and restored by several methods, with the quality of each.

    Parameters
    ----------
    rows : mapping from str to tuple of (array of shape (n, height, width), str)
        For each method its images and a number in words.
    """
    return _gallery(rows)


@_figure_of_the_book
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


@_figure_of_the_book
def cluster(rows, names):
    """What the centres of groups of latents are decoded to, for several models.

    Parameters
    ----------
    rows : mapping from str to tuple of (array of shape (n, height, width), str)
        For each model the decoded centres and its score in words.
    names : sequence of sequences of str, or None
        Over each image, such as the class of most images of the group and their share.
    """
    return _gallery(rows, names)


@_figure_of_the_book
def generate(rows):
    """Generated images by where their latents are drawn, with the quality of each; rows are as for `denoise`."""
    return _gallery(rows)


def _gallery(rows, names=None):
    """Rows of images, with what they are at the left and a number at the right."""
    n = max(len(images) for images, _ in rows.values())
    height = 0.47 + (0.16 if names else 0)
    figure, axes = plt.subplots(
        len(rows), n + 2, figsize=(7.2, height * len(rows) + 0.2), squeeze=False, width_ratios=[3.2, *[1] * n, 3.6]
    )
    for row, (own, (title, (images, number))) in enumerate(zip(axes, rows.items(), strict=True)):
        for axis in own:
            axis.set_axis_off()
        for axis, image in zip(own[1:-1], images, strict=False):
            _show_image(axis, image)
        for axis, name in zip(own[1:-1], names[row] if names else (), strict=False):
            axis.set_title(name, fontsize=7)
        own[0].text(1, 0.5, title, ha="right", va="center", fontsize=8, transform=own[0].transAxes)
        own[-1].text(0, 0.5, number, ha="left", va="center", fontsize=8, transform=own[-1].transAxes)
    return figure


def _colours(labels, n):
    if labels is None:
        return np.full(n, BLUE)
    palette = np.array(plt.rcParams["axes.prop_cycle"].by_key()["color"])
    return palette[np.unique(labels, return_inverse=True)[1] % len(palette)]


def _class_legend(figure, labels):
    if labels is None:
        return
    classes = np.unique(labels)[:NAMED_CLASSES]
    handles = [
        plt.Line2D([], [], marker="o", linestyle="none", color=colour, markersize=4)
        for colour in _colours(classes, len(classes))
    ]
    figure.legend(handles, [str(label) for label in classes], loc="outside right center", title="class")


def _name_classes(axis, classes, size=None):
    """Ticks with the names of classes, of every few where they are many; their places."""
    places = range(0, len(classes), -(-len(classes) // NAMED_CLASSES))
    names = [str(classes[place]) for place in places]
    upright = axis.axis_name == "x" and len(names) * max(map(len, names)) > 25
    axis.set_ticks(places, names, rotation=90 if upright else 0)
    if size:
        axis.set_tick_params(labelsize=size)
    return places
