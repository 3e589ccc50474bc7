from dataclasses import dataclass

import numpy as np
import pytest

from vaept.companion.profiles import profiles
from vaept.files import write_json
from vaept.uses import measure
from vaept.uses.member import Numbers


@dataclass(frozen=True)
class Twice:
    own: Numbers
    rows: Numbers


@dataclass(frozen=True)
class Counted:
    seed: Numbers
    twice: Twice


@pytest.fixture
def counted(monkeypatch):
    """A measure of the seed, and the members that were asked."""
    asked = []

    def take(member):
        asked.append(member.seed)
        return Counted(member.seed, Twice(np.nan if member.seed else 1.0, np.array([member.seed, 0.5])))

    monkeypatch.setitem(measure.MEASURES, "counted", (take, Counted, ("cold",)))
    return asked


def taken(ensemble, digits, folder):
    return measure.measure({"counted": folder}, ensemble, digits, jobs=1, progress=False)["counted"]


def test_numbers_of_all_members(counted, ensemble, digits, tmp_path):
    found = taken(ensemble, digits, tmp_path / "members")
    assert found.seed.tolist() == [0, 1, 2] and found.twice.rows.tolist() == [[0, 0.5], [1, 0.5], [2, 0.5]]
    np.testing.assert_array_equal(found.twice.own, [1, np.nan, np.nan])


def test_members_that_were_measured_are_not_asked_again(counted, ensemble, digits, tmp_path):
    folder = tmp_path / "members"
    folder.mkdir()
    write_json(folder / "1.json", "counted", Counted(7.0, Twice(2, [3, 4])))
    found = taken(ensemble, digits, folder)
    assert found.seed.tolist() == [0, 7, 2] and found.twice.rows[1].tolist() == [3, 4] and counted == [0, 2]


def test_measures_share_a_member_and_only_what_is_missing_is_taken(counted, ensemble, digits, tmp_path, monkeypatch):
    met = []

    def meets(member):
        met.append(member)
        return Counted(member.seed, Twice(0.0, np.zeros(2)))

    for name in ("first", "second"):
        monkeypatch.setitem(measure.MEASURES, name, (meets, Counted, ("cold",)))
    folders = {name: tmp_path / name for name in ("first", "second")}
    folders["second"].mkdir()
    write_json(folders["second"] / "0.json", "second", Counted(9.0, Twice(0.0, [0, 0])))
    found = measure.measure(folders, ensemble, digits, jobs=1, progress=False)
    assert found["second"].seed.tolist() == [9, 1, 2] and found["first"].seed.tolist() == [0, 1, 2]
    assert [member.seed for member in met] == [0, 1, 1, 2, 2] and met[1] is met[2]


def test_every_arm_that_is_measured_exists_in_every_profile():
    arms = {arm for *_, arms in measure.MEASURES.values() for arm in arms}
    for profile in profiles().values():
        assert arms <= set(profile.arms)


def test_measures_of_an_arm():
    assert measure.measures_of("corrected") == [name for name in measure.MEASURES if name != "turning"]
    assert measure.measures_of("shuffled") == ["clustering"] and measure.measures_of("wells") == []


def test_damaged_numbers_of_a_member_are_measured_again(counted, ensemble, digits, tmp_path):
    folder = tmp_path / "members"
    folder.mkdir()
    (folder / ".1.json.12-ab.partial").write_text('{"seed": ')  # left by a killed writer
    write_json(folder / "0.json", "counted", Counted(5.0, Twice(2, [3, 4])))
    text = (folder / "0.json").read_text().replace("5.0", "6.0")
    (folder / "0.json").write_text(text)
    write_json(folder / "2.json", "counted", Counted("two", Twice(2, [3, 4])))
    with pytest.warns(UserWarning, match=r"[02]\.json .*It is measured again"):
        found = taken(ensemble, digits, folder)
    assert found.seed.tolist() == [0, 1, 2] and sorted(path.name for path in folder.iterdir()) == [
        "0.json",
        "1.json",
        "2.json",
    ]
