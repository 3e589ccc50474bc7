import numpy as np
import pytest

from vaept.uses.runs import active, examine

TURN = np.array([[0.8, -0.6], [0.6, 0.8]])


def test_active_coordinates(rng):
    mean = rng.standard_normal((500, 4)) * [1, 0.01, 1e-3, 0]
    assert active(mean).tolist() == [True, False, False, False]
    assert active(mean, np.full(mean.shape, 1e-3)).tolist() == [True, True, False, False]


def test_what_is_found_of_runs(rng):
    labels = rng.integers(3, size=300)
    x = 3 * rng.standard_normal((3, 2))[labels] + rng.standard_normal((300, 2))
    x = np.column_stack([x, np.zeros(300)])
    y = x[:, [1, 0, 2]] * [1, -1, 1]
    found = examine([x, y, y], [np.full(x.shape, 0.1), None, None], labels, jobs=1)
    assert found["group"] == "signed permutation" and [pair["group"] for pair in found["pairs"]] == [
        "signed permutation",
        "signed permutation",
        "same",
    ]
    assert found["inactive"] == [[2]] * 3 and found["noise"][1] is None and 0 < found["noise"][0] < 0.1
    assert found["neighbours"]["mean"] == pytest.approx(1) and found["coordinates"]["best"][:2] == pytest.approx([1, 1])
    assert found["partitions"]["groups"] == 3 and found["partitions"]["between"] == pytest.approx(
        found["partitions"]["within"], abs=0.2
    )
    probe = found["probe"]
    assert probe["after a rotation"] == pytest.approx(probe["at home"], abs=0.03) and probe["moved"] < probe["at home"]
    levels = [own["levels"] for own in found["spectra"]]
    assert levels[1] == pytest.approx(levels[2], abs=1e-9)


def test_many_and_unequal_runs(rng):
    x = rng.standard_normal((60, 2))
    runs = [x @ TURN for _ in range(6)] + [np.column_stack([x, 1e-9 * x])]
    found = examine(runs, jobs=1)
    assert len(found["pairs"]) == 7 and found["group"] == "rotation" and found["probe"] is None
    assert found["d"] == [2] * 6 + [4] and found["coordinates"]["equal"] is None
