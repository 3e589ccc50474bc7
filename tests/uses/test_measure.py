import numpy as np
import pytest

from vaept.companion.profiles import profiles
from vaept.files import write_json
from vaept.uses import measure


@pytest.fixture
def counted(monkeypatch):
    """A measure that gives its first member one number more than the others, and the members that were asked."""
    asked = []

    def take(member):
        asked.append(member.seed)
        return {"seed": float(member.seed)} | ({"extra": 1.0} if member.seed == 0 else {})

    monkeypatch.setitem(measure.MEASURES, "counted", (take, ("cold",)))
    return asked


def test_numbers_of_all_members_by_name(counted, ensemble, digits, tmp_path):
    found = measure.measure("counted", ensemble, digits, jobs=1, checkpoint=tmp_path / "members", progress=False)
    assert found["seed"] == [0, 1, 2]
    np.testing.assert_array_equal(found["extra"], [1, np.nan, np.nan])


def test_members_that_were_measured_are_not_asked_again(counted, ensemble, digits, tmp_path):
    folder = tmp_path / "members"
    folder.mkdir()
    write_json(folder / "1.json", "counted", {"seed": 7.0})
    found = measure.measure("counted", ensemble, digits, jobs=1, checkpoint=folder, progress=False)
    assert found["seed"] == [0, 7, 2] and counted == [0, 2]


def test_every_arm_that_is_measured_exists_in_every_profile():
    arms = {arm for _, arms in measure.MEASURES.values() for arm in arms}
    for profile in profiles().values():
        assert arms <= set(profile.arms)


def test_measures_of_an_arm():
    assert measure.measures_of("corrected") == list(measure.MEASURES)
    assert measure.measures_of("shuffled") == ["clustering"] and measure.measures_of("wells") == []


def test_damaged_numbers_of_a_member_are_measured_again(counted, ensemble, digits, tmp_path):
    folder = tmp_path / "members"
    folder.mkdir()
    (folder / ".1.json.12-ab.partial").write_text('{"seed": ')  # left by a killed writer
    write_json(folder / "0.json", "counted", {"seed": 5.0})
    text = (folder / "0.json").read_text().replace("5.0", "6.0")
    (folder / "0.json").write_text(text)
    write_json(folder / "2.json", "counted", {"seed": "two"})
    with pytest.warns(UserWarning, match=r"[02]\.json .*It is measured again"):
        found = measure.measure("counted", ensemble, digits, jobs=1, checkpoint=folder, progress=False)
    assert found["seed"] == [0, 1, 2] and sorted(path.name for path in folder.iterdir()) == [
        "0.json",
        "1.json",
        "2.json",
    ]
