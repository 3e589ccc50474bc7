"""Figures of chapter 6: landscapes and dynamics."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from vaept.companion.figures.style import (
    BLUE,
    ENERGY,
    GREY,
    NAMED_CLASSES,
    ORANGE,
    RED,
    SMALL,
    WIDTH,
    book_figure,
    draw_image,
    draw_intervals,
    name_classes,
)
from vaept.vae.agreement import mean_over_members

LOWEST, STRAIGHT = "black", ORANGE  # paths in all of this chapter


@book_figure
def landscape(axes_points, energy, paths, numbers, ways, images=None, *, n_deep=None, straight=None, unit="kT"):
    """A free energy over a plane with its minima, saddles and lowest paths; beside it what the minima stand for.

    Parameters
    ----------
    axes_points : pair of arrays, shapes (a,) and (b,)
        Points along both axes of the plane.
    energy : array, shape (b, a)
        Values at (second axis, first axis), NaN where nothing is to be shown.
    paths : vaept.landscape.paths.LowestPaths
        Its minima and saddles are marked.
    numbers : sequence of int, length n
        The minima that are numbered, deep ones first.
    ways : sequence of vaept.landscape.paths.MinimumEnergyPath
        Lowest paths.
    images : array, shape (n, height, width), optional
        Decoded at these minima. Without them the first path is shown from the side.
    n_deep : int, optional
        How many of the numbered minima are deep; all if None.
    straight : array, shape (m,), optional
        The energy at equal steps along the straight line between the ends of the first path, which is drawn too.
    unit : str
        Of the energy.
    """
    figure = plt.figure(figsize=(WIDTH, 3.7))
    parts = figure.subfigures(1, 2, width_ratios=[1.7, 1])
    axis = parts[0].subplots()
    levels = np.linspace(np.nanmin(energy), np.nanmax(energy), 21)
    filled = axis.contourf(*axes_points, energy, levels=levels, cmap=ENERGY)
    axis.contour(*axes_points, energy, levels=levels, colors="white", linewidths=0.4, linestyles="solid")
    lines = [axis.plot(*way.images.T, color=LOWEST, linewidth=1.4)[0] for way in ways]
    if straight is not None:
        axis.plot(*ways[0].images[[0, -1]].T, color=STRAIGHT, linewidth=1.4, linestyle="--")
    n_deep = len(numbers) if n_deep is None else n_deep
    _mark_points(axis, paths, numbers, n_deep, lines)
    axis.set(xlabel="z₁", ylabel="z₂")
    for coordinate, line in zip("xy", axes_points, strict=True):
        axis.set(**{f"{coordinate}lim": (line[0], line[-1])})
    parts[0].colorbar(
        filled, ax=axis, location="bottom", aspect=30, label=f"{_free_energy(unit)} ({unit})", ticks=MaxNLocator(5)
    )
    if images is not None:
        _draw_numbered(parts[1], images, numbers, n_deep)
    else:
        _draw_profiles(parts[1].subplots(), ways[0], straight, unit)
    return figure


def _free_energy(unit):
    return "free energy F" if unit == "kT" else "energy"


def _mark_points(axis, paths, numbers, n_deep, lines):
    """Minima and saddles on a map, with a legend that has the lowest paths too if there are lines of these."""
    rest = np.delete(paths.minima, numbers, axis=0)
    round_ = {"linestyle": "none", "marker": "o", "color": "white"}
    axis.plot(*rest.T, **round_, markersize=4, markeredgecolor=GREY)
    deep, shallow = paths.minima[numbers[:n_deep]], paths.minima[numbers[n_deep:]]
    shown = {
        "saddles": (paths.saddles, {"marker": "X", "color": RED, "markeredgecolor": "white", "markersize": 8}),
        ("deep minima" if len(deep) > 1 else "deep minimum") if len(shallow) else "minima": (
            deep,
            round_ | {"markersize": 11, "markeredgecolor": "black"},
        ),
        "shallow": (shallow, round_ | {"markersize": 11, "markeredgecolor": GREY, "markeredgewidth": 0.6}),
    }
    handles = {
        name: axis.plot(*np.reshape(points, (-1, 2)).T, **{"linestyle": "none", **look})[0]
        for name, (points, look) in shown.items()
        if len(points)
    }
    handles |= {"lowest paths": lines[0]} if lines else {}
    where = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": 2 if len(handles) > 3 else 3}
    axis.legend(handles.values(), handles.keys(), columnspacing=1, handletextpad=0.4, **where)
    for place, number in enumerate(numbers):
        look = {"ha": "center", "va": "center_baseline", "weight": "bold" if place < n_deep else "normal"}
        axis.text(*paths.minima[number], str(number), fontsize=SMALL, **look)


def _draw_profiles(axis, way, straight, unit):
    """A path from the side and, if its energies are given, the straight line between its ends."""
    lengths = np.linalg.norm(np.diff(way.images, axis=0), axis=1).cumsum()
    axis.plot(np.append(0, lengths), way.energies, color=LOWEST, linewidth=1.4, label="lowest path")
    if straight is not None:
        line = np.linspace(0, np.linalg.norm(way.images[-1] - way.images[0]), len(straight))
        axis.plot(line, straight, color=STRAIGHT, linewidth=1.4, linestyle="--", label="straight line")
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1))
    axis.set(xlabel="length along the way", ylabel=f"{_free_energy(unit)} ({unit})")


def _draw_numbered(part, images, numbers, n_deep):
    """Framed images under their numbers, no larger than a third of the height; those of deep minima are bold."""
    columns = 1 if len(images) < 4 else 2 if len(images) < 9 else 3
    rows = max(3, -(-len(images) // columns))
    panels = list(part.subplots(rows, columns, squeeze=False).flat)
    for panel in panels:
        panel.set_axis_off()
    first = 1 if len(images) == 1 else 0
    for place, (panel, image, number) in enumerate(zip(panels[first:], images, numbers, strict=False)):
        draw_image(panel, image)
        panel.set_axis_on()
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set(visible=True, color=GREY, linewidth=0.8)
        panel.set_title(str(number), weight="bold" if place < n_deep else "normal")


@book_figure
def path_between_images(energies, frames, names=None):
    """Decoded frames along the lowest path above its energy profile, and along the straight line below it.

    Parameters
    ----------
    energies : pair of arrays, shape (n,)
        Free energy above the lowest minimum, along the lowest path and along the straight line, at equal parts of each.
    frames : pair of arrays, shape (k, height, width)
        Images at equal parts of each, from end to end.
    names : pair of sequences of str, optional
        What a classifier takes each frame for, with "?" at the end where it is not sure.
    """
    k = len(frames[0])
    figure, axes = plt.subplot_mosaic(
        [[f"a{i}" for i in range(k)], ["profile"] * k, [f"b{i}" for i in range(k)]],
        figsize=(WIDTH, 3.9),
        height_ratios=[1, 3, 1],
    )
    longest = max((len(word) for words in names or () for word in words), default=0)
    for row, colour, images, words in zip("ab", (LOWEST, STRAIGHT), frames, names or ([""] * k,) * 2, strict=True):
        for i, (image, word) in enumerate(zip(images, words, strict=True)):
            axis = axes[f"{row}{i}"]
            draw_image(axis, image)
            axis.set_axis_on()
            axis.set(xticks=[], yticks=[])
            axis.set_title(word, fontsize=SMALL, rotation=90 if longest > 4 else 0)
            for spine in axis.spines.values():
                spine.set(visible=True, color=colour, linewidth=1.5)
    profile = axes["profile"]
    # Frames stand over their places: the first and last in the middle of the outer columns.
    along = np.linspace(0, 1, len(energies[0]))
    looks = ((LOWEST, "-", "lowest path, above"), (STRAIGHT, "--", "straight line, below"))
    for values, (colour, style, words), seen in zip(energies, looks, names or ((), ()), strict=True):
        top = values.argmax()
        words = f"{words}: at most {values[top]:.2f}"
        words += f", {sum(not each.endswith('?') for each in seen)} of {k} sure" if len(seen) else ""
        profile.plot(along, values, color=colour, linestyle=style, linewidth=2, label=words)
        profile.plot(along[top], values[top], "o", color=colour)
    margin = 0.5 / max(k - 1, 1)
    profile.set(xlim=(-margin, 1 + margin), xlabel="part of the way", ylabel="F above the lowest (kT)")
    low, high = profile.get_ylim()
    profile.set_ylim(low, high + 0.35 * (high - low))  # room for the legend
    profile.legend(loc="upper right")
    return figure


@book_figure
def relaxation_against_gap(panels):
    """Autocorrelation of slow modes along Langevin trajectories, and the decay that their levels predict.

    A mode that is nearly as slow as the one before is not drawn, and the legend says so.

    Parameters
    ----------
    panels : mapping from str to vaept.uses.relaxation.Relaxation
        For each landscape.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 3.3), sharey=True, squeeze=False)
    for axis, (title, found) in zip(axes[0], panels.items(), strict=True):
        last = np.inf
        for k, (time, colour) in enumerate(zip(found.predicted, (RED, BLUE, ORANGE), strict=False)):
            if time > 0.8 * last:  # two lines that cannot be told apart
                axis.plot([], [], " ", label=f"mode {k + 1}: {time:.3g}, not drawn")
                continue
            last, decay = time, np.exp(-found.lags / time)
            axis.plot(found.lags, decay, color=colour, label=f"mode {k + 1}: {time:.3g}")
            rows, dots = decay > 0.05, {"fmt": "o", "markersize": 3.5, "color": colour, "linewidth": 0.8}
            axis.errorbar(found.lags[rows], found.correlation[rows, k], 1.96 * found.error[rows, k], **dots)
        title = f"{title}, mode 1:\nwalkers take {found.measured[0] / found.predicted[0]:.2f} × the prediction"
        axis.set(title=title, xlabel="lag (time of the dynamics)", yscale="log", ylim=(0.03, 1.3))
        axis.set_yticks([0.05, 0.1, 0.2, 0.5, 1], ["0.05", "0.1", "0.2", "0.5", "1"])
        axis.minorticks_off()
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), title="1/level", labelspacing=0.2)
    axes[0, 0].set_ylabel("autocorrelation\n(lines: predicted)")
    return figure


@book_figure
def slow_modes_decoded(frames, times, ends=None, classes=None, sorts=None):
    """Decoded walks from one end of each slow mode to the other, with the most frequent classes at both ends.

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
    sorts : sequence of str, optional
        What each mode follows.
    """
    modes, k = frames.shape[:2]
    figure = plt.figure(figsize=(WIDTH, (1.15 if sorts else 1.0) * modes + 0.2))
    beside = 0 if ends is None else 2.2
    grid = figure.add_gridspec(modes, k + 2, width_ratios=[beside or 0.1, *[1] * k, beside or 0.1])
    for row in range(modes):
        strip = [figure.add_subplot(grid[row, column + 1]) for column in range(k)]
        for axis, image in zip(strip, frames[row], strict=True):
            draw_image(axis, image)
        most = [] if ends is None else [classes[np.argmax(each)] for each in ends[row]]
        ways = ": from {} to {}".format(*most) if len({*most}) == 2 else ""
        words = f"mode {row + 1}{ways} (relaxation time {times[row]:.3g})"
        strip[k // 2].set_title("\n".join([words, *(sorts[row : row + 1] if sorts else ())]))
        across = {"xycoords": strip[-1].transAxes, "textcoords": strip[0].transAxes, "annotation_clip": False}
        strip[0].annotate("", (1, -0.15), (0, -0.15), arrowprops={"arrowstyle": "->", "linewidth": 1.2}, **across)
        for side in range(0 if ends is None else 2):
            axis = figure.add_subplot(grid[row, -side])
            axis.set_axis_off()
            shares = ends[row][side]
            often = [i for i in np.argsort(-shares, kind="stable")[:3] if shares[i] >= 0.05]
            words = "\n".join(f"{classes[i]}: {shares[i]:.0%}" for i in often)
            where = {"ha": ("right", "left")[side], "va": "center", "transform": axis.transAxes}
            axis.text(1 - side, 0.5, words, color=(BLUE, RED)[side], fontsize=SMALL, **where)
    return figure


def _own_groups(table):
    """How many classes (columns) have over half of their images in a group (row) that is theirs by over half."""
    most = (table > 0.5 * table.sum(axis=0)) & (table > 0.5 * table.sum(axis=1, keepdims=True))
    return most.any(axis=0).sum()


@book_figure
def states_against_classes(table, classes, beside=None):
    """Which classes lie in which metastable state.

    Parameters
    ----------
    table : array, shape (states, classes)
        Images of each class in each state.
    classes : sequence
        Their names.
    beside : array, shape (groups, classes), optional
        The same as table for groups of k-means, of which the title tells too.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 3.1))
    share = table / np.maximum(table.sum(axis=0), 1)
    # States in the order of the class that is their largest part, so that agreement is a diagonal.
    order = np.argsort(share.argmax(axis=1), kind="stable")
    axis.imshow(share[order], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, values in enumerate(share[order]):
        for column, value in enumerate(values):
            if value >= 0.1 and len(classes) <= NAMED_CLASSES:
                colour = "white" if value > 0.6 else "black"
                axis.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=SMALL, color=colour)
    letters = [chr(ord("A") + row) if len(order) <= 26 else row + 1 for row in range(len(order))]
    axis.set(xlabel="class", ylabel="state")
    name_classes(axis.xaxis, classes)
    name_classes(axis.yaxis, letters)
    title = f"{_own_groups(table)} of {len(classes)} classes have a state of their own"
    title += "" if beside is None else f", {_own_groups(beside)} a group of k-means"
    axis.set_title(f"{title}\n% of a class (column) in each state (row)")
    return figure


@book_figure
def groupings(scores):
    """How well groups that were found in several ways agree with the classes.

    Parameters
    ----------
    scores : mapping from str to dict from str to mapping from str to array of shape (members,)
        For each latent dimension, the title of each arm and each method: the members' adjusted Rand indices.
    """
    arms = list(dict.fromkeys(title for own in scores.values() for title in own))
    methods = list(dict.fromkeys(method for own in scores.values() for each in own.values() for method in each))
    height = 0.24 * len(arms) * len(methods) + 0.75
    figure, panels = plt.subplots(1, len(scores), figsize=(WIDTH, height), sharex=True, sharey=True, squeeze=False)
    for panel, (title, own) in zip(panels[0], scores.items(), strict=True):
        for place, arm in enumerate(arms):
            for i, (method, colour) in enumerate(zip(methods, (RED, BLUE, GREY), strict=False)):
                if method in own.get(arm, ()):
                    y, value = place * (len(methods) + 0.8) + i, mean_over_members(own[arm][method])
                    draw_intervals(panel, [value], [y], colour, None)
                    end, look = np.nanmax([value.mean, value.high]), {"fontsize": SMALL, "color": colour}
                    where = {"textcoords": "offset points", "va": "center_baseline"}
                    panel.annotate(f"{value.mean:.2f}", (end, y), (4, 0), **where, **look)
        panel.set_title(title)
        panel.xaxis.set_major_locator(MaxNLocator(3))
    places = [place * (len(methods) + 0.8) + i for place in range(len(arms)) for i in range(len(methods))]
    panels[0, 0].set_yticks(places, [f"{arm}: {method}" for arm in arms for method in methods], fontsize=SMALL)
    panels[0, 0].set_ylim(places[-1] + 0.6, -0.6)
    panels[0, 0].set_xlim(0, 1.2 * max(panel.get_xlim()[1] for panel in panels[0]))
    figure.suptitle("adjusted Rand index (1: the classes; 0: chance)", fontsize="medium")
    return figure
