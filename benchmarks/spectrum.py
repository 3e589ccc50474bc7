"""The lowest 20 levels of a two-dimensional quartic well, three ways: largest error against seconds.

U = r²/2 + (x⁴ + y⁴)/10, ħ = m = 1. Ours is `vaept.spectrum.from_potential`; finite differences are of second order on
a square grid; QuTiP gets the Hamiltonian from position and momentum operators in the number basis, where powers
of a truncated position are wrong at the edge. The exact levels are sums of one-dimensional ones. One process, one
thread, each time the best of several runs.

    OMP_NUM_THREADS=1 python benchmarks/spectrum.py

The table is also written to results/spectrum.json beside this file, from which the book takes it.
"""

import json
import os
import platform
import time
from importlib import metadata
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import numpy as np
from scipy.sparse import diags_array, eye_array, kron
from scipy.sparse.linalg import eigsh

from vaept.spectrum.levels import from_potential

N_LEVELS = 20
COUPLING = 0.1


def well(x):
    """U at points (n, d)."""
    square = x**2
    return (0.5 * square + COUPLING * square**2).sum(axis=1)


def exact():
    """Sums of the levels of the one-dimensional well."""
    one = from_potential(well, 1, N_LEVELS, tol=1e-12).levels
    return np.sort((one[:, None] + one).ravel())[:N_LEVELS]


def ours(tol):
    return from_potential(well, 2, N_LEVELS, tol=tol).levels


def finite_differences(n_points, half_width=5.5):
    grid, step = np.linspace(-half_width, half_width, n_points, retstep=True)
    second = diags_array([1.0, -2.0, 1.0], offsets=[-1, 0, 1], shape=(n_points, n_points)) / step**2
    one = -0.5 * second + diags_array(well(grid[:, None]))
    identity = eye_array(n_points)
    h = (kron(one, identity) + kron(identity, one)).tocsc()
    return np.sort(eigsh(h, k=N_LEVELS + 4, sigma=0, return_eigenvectors=False))[:N_LEVELS]


def with_qutip(qutip, n_functions, sparse=False):
    position, momentum, one = qutip.position(n_functions), qutip.momentum(n_functions), qutip.qeye(n_functions)
    single = momentum**2 / 2 + position**2 / 2 + COUPLING * position**4
    h = qutip.tensor(single, one) + qutip.tensor(one, single)
    if sparse:
        return np.sort(h.eigenenergies(sparse=True, eigvals=N_LEVELS + 4))[:N_LEVELS]
    return np.sort(h.eigenenergies())[:N_LEVELS]


def best_time(function, *arguments, repeats=5, at_most=20.0):
    """Result and least wall time; a slow function runs once."""
    times = []
    while len(times) < repeats and sum(times) < at_most:
        start = time.perf_counter()
        result = function(*arguments)
        times.append(time.perf_counter() - start)
    return result, min(times)


def main():
    reference = exact()
    cases = [(f"vaept, tol = {tol:g}", ours, (tol,)) for tol in (1e-4, 1e-7, 1e-10)]
    cases += [(f"finite differences, {n} × {n}", finite_differences, (n,)) for n in (50, 100, 200)]
    try:
        import qutip
    except ImportError:
        print("QuTiP is not installed and is left out; `pip install qutip` adds it to the comparison.")
    else:
        cases += [(f"QuTiP, {n} × {n} functions", with_qutip, (qutip, n)) for n in (20, 30, 40, 50)]
        cases += [(f"QuTiP, {n} × {n}, sparse solver", with_qutip, (qutip, n, True)) for n in (30, 40)]
    ours(1e-10)  # imports and tables, which a session pays for once
    rows = []
    print(f"| {'method':34} | largest error | seconds |\n|{'-' * 36}|---------------|---------|")
    for name, function, arguments in cases:
        levels, seconds = best_time(function, *arguments)
        error = float(np.abs(levels - reference).max())
        rows.append({"method": name, "error": error, "seconds": seconds})
        print(f"| {name:34} | {error:13.1e} | {seconds:7.4f} |", flush=True)
    versions = {name: metadata.version(name) for name in ("vaept", "numpy", "scipy")}
    if any("QuTiP" in row["method"] for row in rows):
        versions["qutip"] = metadata.version("qutip")
    record = {"machine": f"{platform.system()} {platform.machine()}", "versions": versions, "rows": rows}
    path = Path(__file__).parent / "results" / "spectrum.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
