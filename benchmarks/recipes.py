"""Ways to make a field and to schedule it, tried side by side on few members: what each gives.

Every row trains the same members in another field or along another schedule. Results are added to
results/recipes.json, which chapter 5 shows. Usage:

    python benchmarks/recipes.py DATA LATENT_DIM MEMBERS EPOCHS

DATA is digits or mnist; architecture, batches and learning rate are those of the profile of that name.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np

from vaept import datasets
from vaept.companion.profiles import profile
from vaept.perturbation import fields as kinds
from vaept.vae.agreement import compare
from vaept.vae.evaluation import elbo
from vaept.vae.fitting import fit

TABLE = Path(__file__).parent / "results" / "recipes.json"
WARM = {"warm_start": 0.2}
AT_ONCE = WARM | {"switch_off": 0.6}
FADING = WARM | {"fade": 0.15, "switch_off": 0.6}
RECIPES = [  # field, coupling, schedule
    ("no field", None, {}),
    ("no field", None, WARM),
    ("principal components", 3, FADING),
    ("diffusion", 3, FADING),
    ("diffusion", 3, AT_ONCE),
    ("plane and principal components", 3, FADING),
    ("plane and principal components", 3, AT_ONCE),
    ("plane and principal components", 1, FADING),
    ("plane and diffusion", 3, FADING),
    ("plane and what it leaves of principal components", 3, FADING),
]


def fields(x, d):
    """All fields as arrays (n, d)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plane = kinds.neighbour_field(x, d).values
        linear = kinds.pca_field(x, d).values
        diffusion = kinds.diffusion_field(x, d).values
    flat = np.column_stack([plane[:, :2], np.ones(len(x))])
    rest = linear - flat @ np.linalg.lstsq(flat, linear, rcond=None)[0]
    return {
        "no field": None,
        "principal components": linear,
        "diffusion": diffusion,
        "plane and principal components": plane,
        "plane and diffusion": np.column_stack([plane[:, :2], diffusion])[:, :d],
        "plane and what it leaves of principal components": np.column_stack([plane[:, :2], rest / rest.std(0)])[:, :d],
    }


def main(name, d, members, epochs):
    chosen, dataset = profile(name), datasets.load(name)
    made = fields(dataset.train, d)
    rows = json.loads(TABLE.read_text("utf-8")) if TABLE.exists() else []
    for kind, coupling, schedule in RECIPES:
        if d == 2 and kind.startswith("plane and") and kind != "plane and principal components":
            continue  # in two dimensions there is nothing beside the plane
        ensemble = fit(
            dataset,
            latent_dim=d,
            seeds=range(members),
            epochs=epochs,
            hidden=chosen.hidden,
            batch_size=chosen.batch_size,
            learning_rate=chosen.learning_rate,
            precision=chosen.precision,
            field=made[kind],
            coupling=coupling,
            schedule=schedule,
        )
        agreement = compare(ensemble.posterior(dataset.test)[0], n_bootstrap=1)
        losses = [-elbo(member, dataset.test, n_samples=4).elbo.mean() for member in ensemble.members]
        key = {"data": name, "d": d, "field": kind, "coupling": coupling, "schedule": schedule}
        row = key | {
            "members": members,
            "epochs": epochs,
            "agreement": agreement.coordinates.mean,
            "rotated": agreement.orthogonal.mean,
            "minus_elbo": float(np.mean(losses)),
            "deviation": float(np.std(losses, ddof=1)),
        }
        rows = [other for other in rows if {k: other[k] for k in key} != key] + [row]
        TABLE.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
