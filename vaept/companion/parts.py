"""Which code makes the numbers of each part of a study: what enters the keys of results, and what records vouch for."""

from vaept.companion import comparisons
from vaept.companion.comparisons import agreement_of_fields, fit_each, standardised
from vaept.companion.keys import source_hash
from vaept.perturbation.fields import FIELDS, Field, neighbour_field, shuffled
from vaept.uses import measure
from vaept.uses.baselines import measure_data
from vaept.uses.classifier import Classifier
from vaept.uses.interchange import interchange
from vaept.vae.ensemble import Ensemble, Settings
from vaept.vae.evaluation import Evaluation, evaluate
from vaept.vae.fitting import fit

REPEATED = ("neighbour", "diffusion", "principal")  # fields whose agreement between halves and seeds is measured
# What makes these results; the objects that they are made from bring their methods.
TRAINING = (fit, Ensemble, Field)
EVALUATION = (evaluate, Evaluation, Ensemble, Field)
COMPARISONS = (comparisons.price, comparisons.prices_after, comparisons.two_labs, comparisons.cheapest)
COMPARISONS += (comparisons.lab_of, comparisons.validation_of, fit_each, standardised, *FIELDS.values())
BASELINES = (measure_data, Classifier, Settings)
INTERCHANGE = (interchange,)


def code_hashes():
    """Which code makes the numbers of a study: a dict from part to `vaept.companion.keys.source_hash`.

    Parts are "training", "fields", "evaluation", "comparisons", "interchange", "baselines" and the names of
    `vaept.uses.measure.MEASURES`.
    """
    parts = {"training": TRAINING, "fields": (agreement_of_fields, Field, shuffled, *map(FIELDS.get, REPEATED))}
    parts |= {"evaluation": EVALUATION, "comparisons": COMPARISONS}
    parts |= {"interchange": INTERCHANGE, "baselines": BASELINES}
    parts |= {name: made_by_measure(name) for name in measure.MEASURES}
    return {name: source_hash(*roots, versions=False) for name, roots in parts.items()}


def made_by_field(kind):
    """The functions and classes that make a field of a kind."""
    return Field, *((neighbour_field, shuffled) if kind == "shuffled" else (FIELDS[kind],))


def made_by_measure(name):
    """The functions that take a measure; it gets its member as an argument, so what makes the member counts too."""
    return measure.MEASURES[name][0], measure.measure_member, measure.gathered
