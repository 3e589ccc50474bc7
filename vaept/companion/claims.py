"""The claims of the paper's abstract and one of ours: what is claimed, what it comes to, and the checks that settle it.

`vaept.companion.checks_training` has the checks of C1 to C5, `vaept.companion.checks_uses` those of C6 to C9; each file
names the numbers in its thresholds on top. `COMMITTED` is the commit in which they were written down, before the runs;
what had been seen by then is on the book's page "Fidelity to the paper". `vaept.companion.ledger` goes through all.
"""

from collections.abc import Callable
from dataclasses import dataclass

from vaept.companion.checks import Check
from vaept.companion.checks_training import corrected, degenerate, spectral, symmetric, topological
from vaept.companion.checks_uses import dynamic, exchanged, interpreted, used
from vaept.companion.keys import source_hash
from vaept.files import read_json, reading, restored, write_json

COMMITTED, KEPT = "02b18c3", "checks.json"


@dataclass(frozen=True)
class Claim:
    """A statement and how it is tested.

    Attributes
    ----------
    id, statement, measured : str
        "C1" …, the statement in our words, and what is measured against what.
    holds, fails : str
        What it comes to, in a plain sentence, if every test holds, and if none does.
    checks : callable
        From `Records` and d to an iterable of `Check`.
    parts : tuple of str
        The parts of a study that its numbers come from: "training", "fields", "evaluation", names of measures, and
        what else `vaept.uses.measure.left_out` may name.
    needs : tuple of str
        What else of the records it needs: names of attributes, which are empty where they were not made.
    """

    id: str
    statement: str
    measured: str
    holds: str
    fails: str
    checks: Callable
    parts: tuple
    needs: tuple = ()

    def of(self, records):
        """Its checks for every latent dimension, as a list of `Check`; those of records with a store are kept there."""

        def judge():
            return [check for d in records.all_dims for check in self.checks(records, d)]

        if records.store is None:
            return judge()
        request = {"claim": self.id, "records": records.checksum, "source": source_hash(self.checks, type(records))}
        folder = records.store.obtain(
            "checks", request, lambda folder: write_json(folder / KEPT, "checks", {"checks": judge()})
        )
        with reading(folder / KEPT, "checks"):
            return restored(read_json(folder / KEPT, "checks")["checks"], list[Check])


CLAIMS = (
    Claim(
        "C1",
        "Converged models can differ significantly: the latent space is degenerate.",
        "Coordinates of seeds of one architecture with equal −ELBO, after the flips and swaps that leave every model "
        "as it is; where such arms were trained, also with equal initial weights, batches or noise. Members are "
        "compared by posterior means, for which 1 is the ceiling; one member sampled twice compares two noisy draws, "
        "so it is a scale and no ceiling.",
        "Equally good models have coordinates that differ by more than flips and swaps.",
        "Equally good models are the same up to flips and swaps.",
        degenerate,
        ("training", "evaluation", "comparisons"),
        ("prices",),
    ),
    Claim(
        "C2",
        "A relation between physics and machine learning explains it.",
        "The prior as an oscillator bounds the KL divergence; its symmetry, all rotations, is what sets seeds apart, "
        "and turning a model costs what the variances of its posteriors foretell.",
        "Seeds differ by rotations, the symmetry of the prior's oscillator.",
        "Rotations, the symmetry of the prior's oscillator, do not explain how seeds differ.",
        symmetric,
        ("training", "evaluation", "turning"),
    ),
    Claim(
        "C3",
        "The embedding, as a generative distribution, maps to functions and an energy spectrum.",
        "Levels of the aggregate posterior: how far those of seeds differ, whose coordinates differ, and how far they "
        "lie from those of densities that only look alike.",
        "The spectrum is a fingerprint: seeds share it, densities of equal width do not.",
        "The spectrum does not tell seeds of one model from other densities.",
        spectral,
        ("training", "evaluation"),
    ),
    Claim(
        "C4",
        "Optimising a perturbed Hamiltonian corrects the degeneracy.",
        "Coordinate agreement and −ELBO of members trained in a field that is gone at the end, in one lab and, where "
        "measured, between two; how long it lasts; the order of its effect in λ.",
        "Models that were trained in a field agree, for good, between labs and at no cost, however weak it was.",
        "Training in a field does not make models agree.",
        corrected,
        ("training", "fields", "evaluation", "comparisons"),
        ("labs", "prices"),
    ),
    Claim(
        "C5",
        "The potential is related to the unobserved topology of the data.",
        "Fields from the neighbour graph of the images against a linear field and, where measured, one of a random "
        "network, each with its own coupling, everything else equal.",
        "Fields that know neighbourhoods give better models than fields that do not.",
        "A field need know nothing of neighbourhoods: linear or random ones give models as good.",
        topological,
        ("training", "fields", "evaluation", "comparisons"),
        ("prices",),
    ),
    Claim(
        "C6",
        "Spectra help to interpret the latent space and the generative process.",
        "Slow eigenfunctions against the classes, which training never saw, beside what positions tell; the energy of "
        "a data point against how unusual it is.",
        "Slow modes tell more about classes than positions do, and energies find outliers.",
        "Groups from slow modes match classes no better than those from positions, and energies miss outliers.",
        interpreted,
        ("training", "fields", "clustering", "modes", "outliers"),
    ),
    Claim(
        "C7",
        "The energy landscapes serve for modelling and dynamics.",
        "Relaxation of Langevin walkers against the levels; lowest paths between minima against straight lines "
        "(energy: the free energy F).",
        "Walkers relax as the levels foretell, and lowest paths stay where the data are.",
        "Walkers do not relax as the levels foretell, nor do lowest paths stay where the data are.",
        dynamic,
        ("training", "fields", "relaxation", "bracket", "paths", "detours", "classifier"),
    ),
    Claim(
        "C8",
        "The models are used for denoising, clustering and generation.",
        "Whether each use works, and whether the correction brings or costs anything at the same budget.",
        "Corrected models denoise, cluster and generate better than plain ones.",
        "Corrected models denoise, cluster and generate no better than plain ones.",
        used,
        (
            "training",
            "fields",
            "evaluation",
            "denoising",
            "filters",
            "clustering",
            "generation",
            "mixture",
            "baselines",
        ),
    ),
    Claim(
        "C9",
        "Ours, not the paper's: what is learned on one model's latents holds on another's.",
        "The encoder of one member with the decoder of another; classifiers and regressions fitted on the latents of "
        "one and applied to those of another.",
        "Corrected models can be exchanged for one another, plain ones cannot.",
        "Corrected models cannot be exchanged for one another.",
        exchanged,
        ("training", "fields", "interchange"),
        ("interchange",),
    ),
)
