"""Figures of chapter 1: wells, levels and what tilts them."""

import matplotlib.pyplot as plt
import numpy as np

from vaept.companion.figures.style import BLUE, GREY, ORANGE, SMALL, WIDTH, book_figure, draw_plane


@book_figure
def wells_and_levels(grid, potentials, energies, states, titles):
    """Wells with their levels as lines and their eigenfunctions on them, and the gaps of levels that come in pairs.

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
        gaps = np.diff(own_energies)
        lower = np.flatnonzero(gaps < gaps.max(initial=0) / 5)  # of a pair
        bases, own_states = np.array(own_energies, dtype=float), np.array(own_states)
        for k in lower:  # a pair is drawn on one line, its states alike on the right
            bases[k : k + 2] = bases[k : k + 2].mean()
            right = grid > grid.mean()
            own_states[:, k + 1] *= np.copysign(1, own_states[right, k] @ own_states[right, k + 1])
            _magnify(axis, bases[k], gaps[k])
        for level, (base, state) in enumerate(zip(bases, own_states.T, strict=True)):
            style = {"color": (BLUE, ORANGE)[level % 2], "linestyle": ("-", "--")[level % 2]}
            axis.plot(grid, np.where(potential < base, base, np.nan), color=GREY, linewidth=0.8)
            axis.plot(grid, np.where(np.abs(state) > 0.01, base + 0.3 * state, np.nan), **style)
        axis.set(title=title, xlabel="position z", ylim=(potential.min() - 0.1, own_energies[-1] + 0.75))
    axes[0].set_ylabel("energy")
    return figure


def _magnify(axis, energy, gap):
    """Two lines at the right margin for a pair of levels that lie too close to be seen apart, and their gap."""
    place = axis.get_yaxis_transform()
    for side, colour, line in ((-1, BLUE, "-"), (1, ORANGE, "--")):
        ends = [energy, energy + 0.07 * side, energy + 0.07 * side]
        axis.plot([0.98, 1.02, 1.02], [energy, *ends[:2]], color=GREY, linewidth=0.6, transform=place, clip_on=False)
        axis.plot([1.02, 1.09], ends[1:], color=colour, linestyle=line, linewidth=1.2, transform=place, clip_on=False)
    axis.text(1.11, energy, f"gap\n{gap:.1g}", va="center", fontsize=SMALL, transform=place)


@book_figure
def oscillator_states_2d(axis_points, states, numbers):
    """Eigenfunctions of the round oscillator over the plane, a row for each level.

    Parameters
    ----------
    axis_points : array, shape (n,)
        The same points along both axes.
    states : array, shape (k, n, n)
        Values at (second axis, first axis).
    numbers : array of int, shape (k, 2)
        Quantum numbers along both axes.
    """
    levels = np.sum(numbers, axis=1)
    rows, most = np.unique(levels), np.unique(levels, return_counts=True)[1].max()
    figure, axes = plt.subplots(len(rows), most, figsize=(WIDTH, 1.35 * len(rows) + 0.3), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for row, level in zip(axes, rows, strict=True):
        own = np.flatnonzero(levels == level)
        for axis, k in zip(row, own, strict=False):
            axis.set_axis_on()
            draw_plane(axis, axis_points, states[k])
            axis.set_title("n = ({}, {})".format(*numbers[k]))
        row[0].set_ylabel(f"N = {level}\nenergy {level / 2:g}")
    return figure


@book_figure
def tilt_chooses_axes(axis_points, angles, states, coupling):
    """The two states of the first level under a tiny perturbation that points in several directions.

    Parameters
    ----------
    axis_points : array, shape (n,)
    angles : array, shape (k,)
        Direction of the perturbation, radians.
    states : array, shape (k, 2, n, n)
        Lower and upper state of the split level; of the two signs of each, that which turns smoothly is drawn.
    coupling : float
        Strength of the perturbation.
    """
    figure, axes = plt.subplots(2, len(angles), figsize=(WIDTH, 3.1), sharex=True, sharey=True)
    half, before = 0.85 * axis_points[-1], [np.add.outer(axis_points, axis_points)] * 2
    for column, angle, pair in zip(axes.T, angles, states, strict=True):
        before = [state * np.copysign(1, np.vdot(state, other)) for state, other in zip(pair, before, strict=True)]
        for axis, state in zip(column, before, strict=True):
            draw_plane(axis, axis_points, state)
            ends = np.array([-half, half])
            axis.plot(ends * np.cos(angle), ends * np.sin(angle), color="black", linewidth=1, linestyle=":")
        column[0].set_title(f"{np.degrees(angle):.0f}°")
    figure.suptitle(f"direction of a push of strength λ = {_as_power(coupling)}", fontsize="medium")
    axes[0, 0].set_ylabel("lower state:\nlobes across it", fontsize=SMALL)
    axes[1, 0].set_ylabel("upper state:\nlobes along it", fontsize=SMALL)
    return figure


def _as_power(value):
    """A number to one digit, with a power of ten: "2 × 10⁻⁶"."""
    digit, power = f"{value:.0e}".split("e")
    return f"{digit} × 10{str(int(power)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
