"""What several test files share: a small data set and an ensemble trained on it."""

import functools
import time

import numpy as np
import pytest
from scipy.stats import ortho_group
from xdist.scheduler import LoadFileScheduling

from vaept import datasets
from vaept.companion import checks_training
from vaept.companion.ledger import ledger
from vaept.companion.records import ArmRecord, Price, Records, Series, TwoLabs
from vaept.uses import bracket, clustering, denoising, detours, generation, modes, outliers, paths, relaxation, turning
from vaept.uses.classifier import fit_classifier
from vaept.uses.interchange import Interchange
from vaept.uses.member import Member
from vaept.vae.agreement import Estimate
from vaept.vae.fitting import fit

APART = ("test_kinds.py",)  # whose tests share nothing but with those of the same parameter
LONGEST = ("test_book.py", "test_kills.py", "test_kinds.py", "test_project.py", "test_records.py")
SMALL = {"latent_dim": 2, "epochs": 3, "hidden": (16,), "batch_size": 50, "learning_rate": 3e-3, "progress": False}


class ByParts(LoadFileScheduling):
    """Tests of a file stay in one process, which makes what they share once, but for those files of `APART`."""

    def _split_scope(self, nodeid):
        file, _, test = nodeid.partition("::")
        return f"{file} {test.partition('[')[2]}" if file.rpartition("/")[2] in APART else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return ByParts(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """The files that take longest come first, so that parallel processes end at about the same time."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def wait_for(path, process):
    """Wait until a process has made a file, as long as it lives; what it said goes into the failure."""
    alive = True
    while alive and not path.exists():
        alive = process.poll() is None
        time.sleep(0.1)
    if not path.exists():
        said = [text for text in process.communicate() if text]
        pytest.fail(f"The process ended with status {process.returncode} and without {path.name}.\n" + "\n".join(said))


@pytest.fixture(scope="session")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="session")
def ensemble(digits):
    return fit(digits, seeds=range(3), jobs=1, **SMALL)


@pytest.fixture(scope="session")
def member(ensemble, digits):
    """The first member, without a classifier."""
    return Member.of(ensemble, 0, digits)


@pytest.fixture(scope="session")
def judge(digits):
    """A classifier of the digits."""
    return fit_classifier(digits.train, digits.train_labels, digits.image_shape, epochs=20, progress=False)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def entries():
    """The ledger of `records`, filled once; with polynomials alone for the levels, which take longest."""
    with pytest.MonkeyPatch.context() as patch:
        fast = functools.partial(checks_training.from_samples, degree=2)
        patch.setattr(checks_training, "from_samples", fast)
        return ledger(synthetic_records())


@pytest.fixture
def records():
    return synthetic_records()


IN_USE = ("cold", "warm", "shuffled", "corrected")


def _uses(rng, members, *, better):
    """Numbers in use by which the claims hold where members are `better`, and fail otherwise."""

    def around(value, *shape):
        return value + 0.01 * rng.standard_normal((*shape, members)).T

    good = 0.2 * better
    ways = [paths.Way(around(1 + k), around(0.6 - 0.1 * k)) for k in range(3)]
    methods = [clustering.Likeness(*around(value + good, 2).T) for value in (0.5, 0.4, 0.45, -0.2)]
    filters = [denoising.Quality(around(10 + k + good, 3), around(10 + k + good, 3)) for k in range(5)]
    precisions = [outliers.Precision(*around(0.5 + good, 4).T) for _ in outliers.SCORES]
    sources = [generation.Quality(*around(value, 4).T) for value in (0.5, 3 - good, 2 - good, 1 - good)]
    spaces = [
        modes.Spaces(*(np.full(members, value + good * told) for told in (1, 1, 1, 0, 0, 0)))
        for value in (0.5, 0.6, 0.7)
    ]
    same, other = np.tile(np.arange(30.0) % 10, (members, 1)), rng.integers(10, size=(members, 30)).astype(float)
    grouped = modes.Groups(*([same] * 3 if better else [other] * 3), other)
    return {
        "turning": turning.Turning(around(1, 3), around(1, 3)),
        "paths": paths.Ways(np.full(members, 4.0), *ways),
        "relaxation": relaxation.Ratios(around(1, 3), np.ones((members, 3)), around(1.5)),
        "clustering": clustering.Clustering(*methods),
        "denoising": denoising.Denoising(*filters),
        "outliers": outliers.Outliers(np.full(members, 0.05), *precisions),
        "generation": generation.Generation(*sources),
        "modes": modes.Modes(spaces[0], np.full(members, 0.4), np.full(members, 0.5), *spaces[1:], grouped),
        "detours": detours.Detours(around(3), around(1 if better else 4), around(0.1)),
        "bracket": bracket.Rates(*[around(value, 3) for value in ((1.5, 1.5, 1.48) if better else (1.5, 1.2, 0.9))]),
    }


PRICED = ("same_weights", "same_order", "same_noise", "principal", "diffusion", "corrected", "random_network")
PRICED += ("shuffled_each", "neighbour_each", "cold, turned")


def _price(rng, arm, d, members=8):
    """A row of the price list by which the claims hold."""
    bound = arm in ("principal", "diffusion", "corrected", "random_network", "neighbour_each")
    agreed = Estimate(0.98, 0.97, 0.99) if bound else Estimate(0.1, 0.0, 0.2)
    loss = {"corrected": 23.0, "diffusion": 23.1, "random_network": 25.0}.get(arm, 24.0)
    losses, free = loss + 0.02 * rng.standard_normal(members), Estimate(0.8, 0.7, 0.85)
    permuted = agreed if bound else free
    return Price(arm, d, 1.5, agreed, permuted, free, losses, np.full(members, d), f"ensemble-{arm}{d}")


def _two_labs(arm, d):
    good = arm == "subspace"
    between = Estimate(0.98, 0.975, 0.99) if good else Estimate(0.0, -0.1, 0.1)
    return TwoLabs(arm, d, between, between, between, 0.99 if good else None, np.full((2, 8), 24.0), ["a", "b"])


def _doses(epochs, values):
    """Agreement that reaches one half at a coupling that falls with the square root of the length of training."""
    reached = [float(value / (value + epochs**-0.5)) for value in values]
    estimates = [Estimate(each, each - 0.01, each + 0.01) for each in reached]
    losses = np.full((len(values), 3), 24.0)
    return Series(values, estimates, estimates, losses, losses, [f"run {i}" for i in range(len(values))])


def _interchange(arm, members=8):
    far = 1.0 - np.eye(members)
    cost, lost = (0.1, 0.01) if arm == "corrected" else (13.0, 0.6)
    probes = {"slant": 0.8 - lost * far}
    return Interchange(24 + cost * far, np.full(members, 60.0), 0.9 - lost * far, 0.1, probes)


def synthetic_records():
    """Records of a study that never was: plain members are turned at random, corrected ones agree."""
    rng = np.random.default_rng(0)
    n, members = 300, 8
    arms = {}
    for d in (2, 4):
        base = rng.standard_normal((n, d)) * np.linspace(1.3, 0.8, d)
        for name in ("cold", "warm", "shuffled", "principal", "diffusion", "corrected"):
            turns = ortho_group.rvs(d, size=members, random_state=3)
            free = name in ("cold", "warm", "shuffled")
            mean = np.stack([base @ turn if free else base for turn in turns])
            mean += (0.5 if free else 0.1) * rng.standard_normal(mean.shape)
            loss = 24 + {"corrected": -1.0, "principal": -0.5}.get(name, 0.0) + 0.02 * rng.standard_normal(members)
            arms[name, d] = ArmRecord(
                mean=mean.astype(np.float16).astype(np.float32),
                deviation=np.full(mean.shape, 0.25, dtype=np.float32) if name in ("cold", "corrected") else None,
                minus_elbo=loss,
                minus_perturbed_elbo=loss,
                log_likelihood=-loss + 0.2,
                exact_log_likelihood=np.full(members, np.nan),
                minus_elbo_of_these=loss,
                active_units=np.full(members, d),
                run=f"ensemble-{name}{d}0123456789",
                uses=_uses(rng, members, better=name == "corrected") if name in IN_USE else {},
            )
    values = np.array([0, 0.1, 0.3, 1.0, 3.0])
    estimates = [Estimate(a, a - 0.02, a + 0.01) for a in (0.1, 0.5, 0.9, 0.97, 0.99)]
    losses = 24 + 0.2 * values[:, None] ** 2 + 0.001 * rng.standard_normal((5, members))
    runs = [f"ensemble-{i}0123456789abcdef" for i in range(5)]
    return Records(
        profile="test",
        data="digits",
        n_train=1438,
        labels=np.arange(n) % 10,
        arms=arms,
        couplings=Series(values, estimates, estimates, losses, losses, runs),
        couplings_dim=4,
        aftermath={d: Series(values, estimates[::-1], estimates[::-1], losses, losses, runs) for d in (2, 4)},
        fields={"neighbour": {"halves": [0.9, 0.8]}},
        provenance={"created": "today"},
        classes=tuple(range(10)),
        prices=[_price(rng, arm, d) for d in (2, 4) for arm in PRICED],
        labs=[_two_labs(arm, d) for d in (2, 4, 8) for arm in ("cold", "subspace")],
        lengths={epochs: _doses(epochs, values) for epochs in (10, 40)},
        interchange={arm: {d: _interchange(arm) for d in (2, 4)} for arm in ("cold", "corrected")},
    )
