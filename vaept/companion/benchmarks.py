"""Tables of what the scripts of `benchmarks` measured: text in Markdown, which a notebook or a page renders."""

import json

import numpy as np

from vaept.companion.markdown import shown, table
from vaept.companion.places import CHECKOUT
from vaept.companion.wording import listed
from vaept.vae.agreement import Estimate, mean_over_members

CONTENDERS = ("vaept, float32", "tutorials' loop", "pythae", "the matrix products alone")
MILLION = 1_000_000
OTHER_WEIGHTS = "no field, the decoder's first layer drawn as in pythae"


def recipes():
    """The trials on which the recipe was chosen."""
    rows = []
    for trial in results("recipes"):
        schedule = trial["schedule"]
        off = schedule.get("switch_off", "")
        fades = f"{schedule['fade']} to {off}" if "fade" in schedule else off and f"at once, {off}"
        where = f"{trial['data']}, d = {trial['d']}, {trial['members']} members, {trial['epochs']} epochs"
        how = (trial["field"], trial["coupling"] or "", schedule.get("warm_start", 0), fades)
        found = (f"{trial['agreement']:.3f}", f"{trial['rotated']:.3f}")
        rows.append((where, *how, *found, f"{trial['minus_elbo']:.2f} ± {trial['deviation']:.2f}"))
    return table(("", "field", "λ", "warm", "fades", "agreement", "rotated", "−ELBO (nats)"), rows)


def other_trainer():
    """What a field gains where pythae trains, beside our trainer, as `benchmarks/pythae_field.py` measured it."""
    try:
        found = results("pythae_field")
    except (FileNotFoundError, TypeError):  # not measured, or no checkout
        return table((), [], instead="What the field gains in another trainer was not measured for this copy.")
    arms, rows = {(row["d"], row["trainer"], row["arm"]): row for row in found["rows"]}, []
    reached = {each: Estimate(**row["coordinates"]) for each, row in arms.items()}
    losses = {each: np.array(row["minus_elbo"]) for each, row in arms.items()}
    for d, trainer, name in sorted(arms, key=lambda each: each[:2]):
        words, own = {"plain": "no field", "field": "in the field"}.get(name, OTHER_WEIGHTS), (d, trainer, name)
        rows.append((f"d = {d}, {trainer}, {words}", shown(reached[own], ".3f"), mean_over_members(losses[own])))
    dims = sorted({d for d, *_ in arms})
    better = all(reached[d, "pythae", "field"].low > reached[d, "pythae", "plain"].high for d in dims)
    told = "In pythae too raw coordinates agree better in the field than without it."
    told = told if better else "In pythae raw coordinates do not agree better in the field for every d."
    costs = {d: mean_over_members(losses[d, "pythae", "field"] - losses[d, "pythae", "plain"]) for d in dims}
    fields = (f"{each['field']} field, λ = {each['coupling']:g}, at d = {each['d']}" for each in found["recipes"])
    below = f"{told} −ELBO in the field minus that without it (negative: better), in nats: {listed(costs)}. "
    below += f"(Measured on {found['data']}, {found['members']} seeds, {found['epochs']} epochs; {'; '.join(fields)}.)"
    ours = [{d: losses[d, "vaept", name].mean() for d in dims} for name in ("plain", "first layer", "field")]
    more, drawn, _ = (listed({d: own[d] - losses[d, "pythae", "plain"].mean() for d in dims}) for own in ours)
    below += f"\n\nWithout a field our −ELBO minus that of pythae, in nats, is {more}; with the first layer of the "
    below += f"decoder drawn as in pythae, {drawn}."
    if all(ours[1][d] < ours[2][d] for d in dims):
        below += " The weights of that layer gain more than the field: whoever wants a lower −ELBO begins there."
    return table(("", "agreement", "−ELBO (nats)"), rows, below=below)


def spectrum():
    """Errors and times of several ways to find levels, as `benchmarks/spectrum.py` measured them."""
    rows = results("spectrum")["rows"]
    rows = [(row["method"], f"{row['error']:.0e}", f"{row['seconds']:.3f}") for row in rows]
    return table(("method", "largest error", "seconds"), rows)


def times():
    """How long training, the commands and imports take, as `benchmarks/speed.py` measured them on each machine."""
    rows, told = [], []
    for machine, measured in results("speed").items():
        for name, values in measured.items():
            ends = f"{min(values):.4g} to {max(values):.4g}"
            rows.append((machine, f"`{name}`", f"{np.median(values):.4g}", ends, len(values)))
        told.append(_beside_peers(machine, measured))
    return table(("machine", "what", "median", "range", "runs"), rows, below="\n\n".join(filter(None, told)))


def _beside_peers(machine, measured):
    """How many times longer others train than vaept on a machine, and what bounds every trainer: a sentence or ""."""
    known = {name: np.median(values) for name, values in measured.items()}
    own, loop, pythae, least = (known.get(f"member-epoch, {name}, s") for name in CONTENDERS)
    if None in (own, loop, pythae, least):
        return ""
    told = f"{machine}: pythae takes {pythae / own:.1f} times as long as vaept, the tutorials' loop {loop / own:.1f} "
    told += f"times. {least / own:.0%} of vaept's time are matrix products; a trainer that did nothing else would be "
    return f"{told}{pythae / least:.1f} times as fast as pythae."


def growth():
    """How time and memory grow, as `benchmarks/growth.py` measured it, and what a study of a million images takes."""
    found, rows = results("growth"), []
    for what, row in found["rows"].items():
        sizes = f"{row['sizes'][0]:,} to {row['sizes'][-1]:,}"
        seconds = f"{row['seconds'][0]:.2g} to {row['seconds'][-1]:.2g}"
        exponent = "{:.2f} ± {:.2f}".format(*row["exponent"])
        rows.append((what, sizes, seconds, exponent, f"{row['GB'][0]:.2f} to {row['GB'][-1]:.2f}"))
    images, members = (found["rows"][f"training, {name}"] for name in ("images", "members"))
    each = images["seconds"][-1] / found["usual"]["members"] / found["usual"]["epochs"]
    each *= (MILLION / images["sizes"][-1]) ** images["exponent"][0]
    each *= (100 / members["sizes"][-1]) ** (members["exponent"][0] - 1)
    hours = f"{100 * each / 3600:.1f} hours of one core"
    below = f"From these exponents an epoch of 100 members on a million images takes {hours}."
    return table(("what", "sizes", "seconds", "exponent", "peak memory, GB"), rows, below=below)


def results(name):
    """What a script of `benchmarks` wrote, as Python values."""
    return json.loads((CHECKOUT / "benchmarks" / "results" / f"{name}.json").read_text("utf-8"))
