"""The tables of the book that are made from a study's records and from benchmarks: one function each."""

import functools
import itertools
from collections import defaultdict

import numpy as np

from vaept.companion import analysis
from vaept.companion.checks_training import DIFFERENT, coupling_at
from vaept.companion.checks_uses import of_others
from vaept.companion.ledger import answer, ledger, published_outcomes
from vaept.companion.machines import machines_of
from vaept.companion.markdown import Text, beside, cell, mean_and_spread, shown, table
from vaept.companion.profiles import arm
from vaept.companion.wording import joined, side
from vaept.perturbation import held_out_agreement
from vaept.uses import modes
from vaept.uses.denoising import NOISES
from vaept.vae.agreement import mean_over_members


def wells(records):
    """Members in a potential that knows no image, beside members without one and in the neighbour field."""
    small = analysis.with_arm(records, "wells")
    d, rows = small.latent_dims[-1], []
    for name in ("warm", "wells", "corrected"):
        found = small.arms[name, d].agreement
        rows.append((arm(name).title, found.coordinates, shown(found.orthogonal.mean, ".2f")))
    return table((f"{small.data}, d = {d}", "coordinate agreement", "R² rotated"), rows)


def fields(study, kinds=("diffusion", "neighbour", "principal")):
    """How far fields of these kinds come out the same from other images and with other seeds."""
    rows, keys = [], ("halves", "halves, permuted", "halves, rotated", "seeds")
    for kind in kinds:
        found, held_out = study.field_reproducibility(kind), held_out_agreement(study.field(kind), study.dataset.test)
        measured = [shown(np.mean(found[key]), ".2f") if key in found else "has none" for key in keys]
        rows.append((kind, *measured, shown(held_out.r2.min(), ".2f")))
    header = ("field", "two halves", "permuted", "rotated (R²)", "two seeds", "held out (R²)")
    return table(header, rows)


def whose(records):
    """Where price list, two labs and lengths are from, if this copy did not make them: a sentence, or ""."""
    if not records.borrowed:
        return ""
    return f"Published on {records.borrowed[:10]}, made by the same code with the same data; not made for this copy."


def prices(records):
    """The price list: what is done, how far coordinates agree then, and what that costs, for every d."""
    prices = {(each.arm, each.d): each for each in analysis.priced(records)}
    dims, rows = sorted({d for _, d in prices}), []
    for name in dict.fromkeys(name for name, _ in prices):
        cells = []
        for d in dims:
            found = prices.get((name, d))
            own = (
                ("–", "–", "–")
                if found is None
                else (
                    shown(found.coordinates, ".3f"),
                    mean_and_spread(found.minus_elbo),
                    f"{found.active_units.mean():.1f}",
                )
            )
            cells += own
        rows.append((analysis.price_title(name), *cells))
    header = [f"{what}, d = {d}" for d in dims for what in ("agreement", "−ELBO (nats)", "active")]
    return table(("arm", *header), rows, instead="" if rows else "This study has no price list.", below=whose(records))


def sources(records):
    """Which of the three sources of a seed make members differ: agreement where some vary and the others are shared."""
    names = {
        "vary_weights": ("weights", "order, noise"), "vary_order": ("order", "weights, noise"),
        "vary_noise": ("noise", "weights, order"), "same_noise": ("weights, order", "noise"),
        "same_order": ("weights, noise", "order"), "same_weights": ("order, noise", "weights"),
        "cold": ("weights, order, noise", "nothing"),
    }  # fmt: skip
    dims, rows = sorted({each.d for each in records.prices}), []
    for name, which in names.items():
        found = [records.price(name, d) for d in dims]
        if found and None not in found:
            own = [
                (each.coordinates, beside(each.signed_permutation, DIFFERENT), shown(each.orthogonal.mean, ".2f"))
                for each in found
            ]
            rows.append((*which, *(cell for cells in own for cell in cells)))
    header = [f"{what}, d = {d}" for d in dims for what in ("r, as it is", "r, permuted", "R², rotated")]
    instead = "" if analysis.varies_sources(records) else "In this copy no source was held fixed by itself."
    return table(("what varies", "what is shared", *header), rows, instead=instead, below=whose(records))


def spaces(records):
    """What each space tells of the classes, for plain and corrected members: slow modes, positions, and bare images."""
    rows, bare = [], {}
    for (name, d), record in records.arms.items():
        if found := record.uses.get("modes"):
            for space, words in modes.SPACES.items():
                own = [getattr(each, space) for each in (found.rand_index, found.few_labels, found.between_classes)]
                between = getattr(found.groups, space, None)
                if between is None:  # of images alone, the same for all members
                    bare.setdefault(words, ("no model", words, *map(cell, own), "–"))
                else:
                    own.append(modes.between_members(between))
                    rows.append((f"d = {d}, {arm(name).title}", words, *map(cell, own)))
    header = ("members", "space", "Rand index", "five labels a class", "between classes", "Rand between members")
    instead = "" if rows else "The data have too few classes or images for this."
    return table(header, [*bare.values(), *rows], instead=instead)


def rates(records):
    """The slowest rate of members between its bounds, where these were sought."""
    rows, reversed_by = [], defaultdict(list)
    for (name, d), record in records.arms.items():
        if found := record.uses.get("bracket"):
            values = [getattr(found, key)[:, 0] for key in ("lower", "upper", "quotient")]
            steps = [mean_over_members(a - b) for a, b in itertools.pairwise(values)]
            reversed_by[d] += [by for by in steps if by.mean > 0]
            rows.append((f"d = {d}, {arm(name).title}", *(cell(each, ".3f") for each in values)))
    below, dims = "Exact numbers would rise from left to right.", [d for d, own in reversed_by.items() if own]
    if dims:
        clear = any(side(by) == "above" for own in reversed_by.values() for by in own)
        below += f" At d = {joined(dims)} some do not, by "
        below += "more than their errors: an assumption fails." if clear else "less than their errors."
    header = ("members", "lower bound", "upper bound (walkers)", "trial functions")
    return table(header, rows, instead="" if rows else "This was not measured.", below=below)


def baselines(records):
    """What methods that need no such model reach at denoising, grouping and generating, beside corrected members."""
    rows = []
    columns = (*(f"noise {noise}" for noise in NOISES), "Rand index", "Fréchet distance")
    for d, found in records.baselines.items():
        uses = records.arms["corrected", d].uses
        own = [*uses["denoising"].model.psnr.T, None, None]
        if "clustering" in uses:
            own[-2] = uses["clustering"].k_means.rand_index
        if "generation" in uses:
            own[-1] = uses["generation"].aggregate_posterior.frechet
        means = [each if each is None else each.mean() for each in own]
        rows.append((f"d = {d}", "corrected members", *_in_cells(means)))
        for words, values in _without_models(found, d).items():
            rows.append((f"d = {d}", words, *map(_bold_if_better, columns, own, values, _in_cells(values))))
    header = ("", "method", *(f"dB, {noise}" for noise in columns[:-2]), *columns[-2:])
    instead, below = "" if rows else "This study has no baselines.", "Bold: clearly better than corrected members."
    return table(header, rows, instead=instead, below=below)


def _bold_if_better(what, own, value, text):
    """The text of a value, in bold where it is clearly better than those of the members."""
    if own is None or value is None:
        return text
    better = side(mean_over_members(own - value)) == ("above" if "Fréchet" in what else "below")
    return f"**{text}**" if better else text


def _without_models(found, d):
    """For each method its PSNR at every noise, its Rand index and its Fréchet distance, None where it has none."""
    names = {
        "principal": f"{d} principal components", "principal_best": "best number of components",
        "nearest": "nearest training image", "autoencoder": "denoising autoencoder",
    }  # fmt: skip
    own = {words: [*getattr(found.denoising, key).psnr.mean(axis=0), None, None] for key, words in names.items()}
    if found.clustering:
        nothing = [None] * len(NOISES)
        own[names["principal"]][-2:] = (
            found.clustering.principal.rand_index.mean(),
            found.generation.mixture.frechet.mean(),
        )
        own["k-means on bare pixels"] = [*nothing, found.clustering.pixels.rand_index.mean(), None]
        own["training images with noise"] = [*nothing, None, found.generation.windows.frechet.mean()]
    return own


def _in_cells(values):
    digits = (*[1] * len(NOISES), 2, 1)
    return ["–" if value is None else f"{value:.{n}f}" for value, n in zip(values, digits, strict=True)]


def labs(records):
    """Two labs that share nothing but the recipe: agreement of their fields and of their members."""
    rows = []
    for each in sorted(records.labs, key=lambda each: each.d):
        fields = "–" if each.fields is None else f"{each.fields:.3f}"
        own = (shown(value, ".3f") for value in (each.between, each.permuted, each.within))
        rows.append((f"d = {each.d}, {arm(each.arm).title}", fields, *own, mean_and_spread(each.minus_elbo.ravel())))
    header = ("recipe", "their fields", "between labs", "the same, permuted", "in a lab", "−ELBO (nats)")
    return table(header, rows, instead="" if rows else "This study has no two labs.", below=whose(records))


def lengths(records):
    """The coupling at which agreement reaches one half, for trainings of several lengths."""
    found = {epochs: coupling_at(each) for epochs, each in sorted(records.lengths.items())}
    rows = [(f"{epochs}", shown(each, ".2g")) for epochs, each in found.items()]
    if rows and all(np.isnan(each.mean) for each in found.values()):
        return None  # the prose says so
    instead = "" if rows else "This study has one length only."
    return table(
        ("epochs", "λ(½) (–: agreement passes ½ between no two of the λ that were tried)"),
        rows,
        instead=instead,
        below=whose(records),
    )


def exchange(records, turned=None):
    """What parts of one member are worth on another; `turned`: nats by d of members that were turned, by arm."""
    rows = []
    for name, by_d in records.interchange.items():
        for d, found in by_d.items():
            cells = [cell(of_others(found.above_own))]
            kinds = {} if found.classifier is None else {"classifier": found.classifier}
            kinds |= {"probes": np.mean(list(found.probes.values()), axis=0)} if found.probes else {}
            for kind in ("classifier", "probes"):
                own = kinds.get(kind)
                cells += ["–", "–"] if own is None else [cell(np.diagonal(own)), cell(of_others(own))]
            rows.append((f"d = {d}, {arm(name).title}", *cells))
    for name, by_d in (turned or {}).items():
        rows += [(f"d = {d}, {arm(name).title}, turned", cell(own), *"––––") for d, own in by_d.items()]
    header = (
        "arm",
        "nats of an exchange",
        "nearest-neighbour classifier at home",
        "elsewhere",
        "probes' R² at home",
        "elsewhere",
    )
    return table(header, rows, instead="" if rows else "This study has no exchange.", below="–: not measured.")


def corrected(records):
    """Agreement of the corrected members, and their −ELBO less that of the arms without a field."""
    rows = []
    for d in records.latent_dims:
        own = records.arms["corrected", d]
        gains = [mean_over_members(own.minus_elbo - records.arms[name, d].minus_elbo) for name in ("warm", "cold")]
        found = (own.agreement.coordinates, own.agreement.orthogonal)
        rows.append((f"d = {d}", *(shown(each, ".3f") for each in found), *gains))
    against = [f"−ELBO minus that of the {name} start (nats)" for name in ("warm", "cold")]
    return table(("corrected members", "coordinate agreement", "R² rotated", *against), rows)


def covariances(records):
    """Members with diagonal posteriors and with full covariances, each without and in a field."""
    small = analysis.with_arm(records, "turnable")
    d, rows = small.latent_dims[-1], []
    for name in ("warm", "turnable", "corrected", "turnable_corrected"):
        found = small.arms[name, d]
        own = (found.agreement.coordinates, found.agreement.signed_permutation, found.agreement.orthogonal)
        rows.append((arm(name).title, *(shown(each.mean, ".2f") for each in own), mean_and_spread(found.minus_elbo)))
    return table((f"{small.data}, d = {d}", "as it is", "permuted", "rotated", "−ELBO (nats)"), rows)


def topology(records):
    """What fields from neighbourhoods do beside a linear one and none."""
    rows = []
    for d in records.latent_dims:
        for name in ("warm", "principal", "diffusion", "corrected"):
            found = records.arms[name, d]
            own = found.agreement
            cells = [shown(each.mean, ".3f") for each in (own.coordinates, own.orthogonal)]
            accuracy = analysis.class_accuracy(found.mean[0], records.labels)
            cells += [shown(each, ".2f") for each in (own.neighbours.mean, accuracy)]
            rows.append((f"d = {d}, {arm(name).title}", *cells, mean_and_spread(found.minus_elbo)))
    return table(("arm", "agreement", "rotated", "shared neighbours", "classes", "−ELBO (nats)"), rows)


def checks(records, claim):
    """The checks of a claim, such as "C5", with their values, thresholds and answers."""
    own = _entry(records, claim).checks
    values = [shown(check.value, ".2g" if 0 < abs(check.value.mean) < 0.01 else ".2f") for check in own]
    rows = [
        (check.words, value, str(check.threshold), answer(check), check.kind)
        for check, value in zip(own, values, strict=True)
    ]
    return table((claim, "value", "pass if", "", "kind"), rows)


@functools.lru_cache(maxsize=32)  # one chapter asks for the same more than once; records do not change
def _entry(records, claim):
    (entry,) = ledger(records, machines_of(records), [claim])
    return entry


def verdicts(records, *claims):
    """What the ledger says of these claims."""
    entries = [_entry(records, claim) for claim in claims]
    rows = [(entry.claim.id, entry.claim.statement, entry.verdict) for entry in entries]
    return table(("claim", "statement", "in this copy"), rows)


def outcomes(records, claim):
    """What the checks of a claim found, as `vaept.companion.ledger.Entry.outcomes`; a key without a check has {}."""
    return defaultdict(dict, _entry(records, claim).outcomes)


def answers(records, claim):
    """As `outcomes`, but "no" for "contrary" too."""
    found = defaultdict(dict)
    for key, own in outcomes(records, claim).items():
        found[key] = {d: "no" if answer == "contrary" else answer for d, answer in own.items()}
    return found


def elsewhere(records, claim):
    """The `outcomes` of a claim in published studies but this one, by their names; {} without a checkout.

    They are named after their data.
    """
    own = {records.profile} & {records.data}
    return {name: found[claim] for name, found in published_outcomes().items() if name not in own}


def measured(records, claim):
    """The `Estimate`s of the checks of a claim: for each key a dict from d."""
    found = defaultdict(dict)
    for check in _entry(records, claim).checks:
        found[check.key][check.d] = check.value
    return found


def likeness(records):
    """Whether members without a field are better, the more their map resembles the corrected one by chance; d = 2."""
    found, rows = analysis.likeness(records), []
    for name in ("cold", "warm"):
        losses = records.arms[name, 2].minus_elbo
        rows.append((arm(name).title, len(losses), analysis.correlation(found[arm(name).title], losses)))
    if all(not value.high - value.low < 2 for *_, value in rows):  # nothing is known
        return Text("Of so few members no correlation can be told.")
    return table(("arm", "members", "correlation of likeness and −ELBO"), rows)


def couplings(records):
    """Agreement and both bounds against the coupling of a field that stays on."""
    series = records.couplings
    losses = [
        [f"{each[i].mean():.2f}" for each in (series.minus_elbo, series.minus_perturbed_elbo)]
        for i in range(len(series.values))
    ]
    rows = [(f"{value:g}", series.coordinates[i], *losses[i]) for i, value in enumerate(series.values)]
    return table(("λ", "coordinate agreement", "−ELBO, plain prior", "−ELBO, perturbed prior"), rows)


def aftermath(records):
    """Agreement and −ELBO at the end of the protocol, and at the end of the training without a field after it."""
    rows = []
    for d, series in records.aftermath.items():
        for i in (0, -1):
            agreement = shown(series.coordinates[i].mean, ".3f")
            rows.append((f"d = {d}", f"{series.values[i]:g}", agreement, f"{series.minus_elbo[i].mean():.2f}"))
    return table(("", "further epochs", "coordinate agreement", "−ELBO (nats)"), rows)


def comparison(rows):
    """Known values beside those computed here and the relative errors, from rows of what it is and both."""
    rows = [(what, f"{known:.10f}", f"{here:.10f}", f"{abs(here / known - 1):.0e}") for what, known, here in rows]
    return table(("", "known", "here", "error"), rows)
