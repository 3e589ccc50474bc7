"""The largest eigenvalues of a large symmetric operator, every member of a multiplet listed.

Lanczos methods with one start vector can miss members of a multiplet. So some more pairs are computed, and the rest of
the space is searched from another start until nothing is found there above the values that are wanted.
"""

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from vaept.errors import ConvergenceError

SPARE = 8  # pairs computed beyond those that are wanted


def largest_pairs(operator, count):
    """Largest eigenvalues, descending, shape (count,), and eigenvectors (n, count) of what maps (n,) to (n,) by @."""
    n = operator.shape[0]
    generator = np.random.default_rng(0)
    try:
        values, vectors = eigsh(operator, k=count + SPARE, which="LA", v0=generator.standard_normal(n))
        while True:
            # What was found is moved below all of it.
            moves = values - 2 * values.min() + values.max()
            rest = LinearOperator(
                (n, n), matvec=lambda v, w=vectors, m=moves: operator @ v - w @ (m * (w.T @ v)), dtype=float
            )
            start = generator.standard_normal(n)
            value, vector = eigsh(rest, k=1, which="LA", v0=start - vectors @ (vectors.T @ start), tol=1e-5)
            if value[0] <= np.sort(values)[-count] + 1e-9 * np.abs(values).max():
                break
            missed, vector = eigsh(rest, k=1, which="LA", v0=vector[:, 0])
            values, vectors = np.append(values, missed), np.hstack([vectors, vector])
    except ArpackNoConvergence as error:
        raise ConvergenceError("The eigenvalues of a large operator did not converge. Ask for fewer.") from error
    order = np.argsort(-values)[:count]
    return values[order], vectors[:, order]
