"""The hazard log is complete, names what is there, and the pages beside it say the same."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SAFETY = ROOT / "docs" / "safety"
DATA = (SAFETY / "hazard-log.toml").read_text(encoding="utf-8")
LOG = tomllib.loads(DATA)
HAZARDS: dict[str, dict[str, Any]] = {row["id"]: row for row in LOG["hazard"]}

# DCB0129 Implementation Guidance v3.2, table 9, written out again: from minor to catastrophic.
SEVERITIES = ("minor", "significant", "considerable", "major", "catastrophic")
MATRIX = {
    "very-low": (1, 1, 2, 2, 3),
    "low": (1, 2, 2, 3, 4),
    "medium": (2, 2, 3, 3, 4),
    "high": (2, 3, 3, 4, 5),
    "very-high": (3, 4, 4, 5, 5),
}


def page(name: str) -> str:
    """The text of a page of docs/safety."""
    return (SAFETY / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands under a heading of the second level."""
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def ids(text: str) -> set[str]:
    """Every hazard that a text names."""
    return set(re.findall(r"\bH[0-9]{2}\b", text))


def controls(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The controls of a row."""
    listed: list[dict[str, Any]] = row["controls"]
    return listed


@pytest.fixture(scope="module")
def rules() -> Iterator[ModuleType]:
    """docs/safety/hazards.py, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("hazards", SAFETY / "hazards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # msgspec looks up the names of annotations there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def check(root: Path) -> tuple[int, str]:
    """`docs/safety/check` of a tree; its exit code and what it says."""
    done = subprocess.run(
        [root / "docs" / "safety" / "check"],
        env={**os.environ, "BIN": str(Path(sys.executable).parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """This repository with a docs folder of its own, to be spoilt."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("adapters", "broker", "certs", "proto", "requirements", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def test_the_page_is_what_the_data_gives() -> None:
    """Every row holds, and the page is made from them."""
    assert check(ROOT) == (0, "docs/safety: every row of the hazard log holds, and its page is current\n")


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("hazard-log.md", "residual **3**", "residual **1**", "run make generate"),
        ("hazard-log.toml", "Twins, father and son", "Two sons", "run make generate"),
        ("hazard-log.toml", '"broker/links.py"', '"broker/gone.py"', "H01: there is no broker/gone.py"),
    ],
    ids=["page", "data", "path"],
)
def test_what_makes_page_and_data_differ_is_found(tree: Path, file: str, old: str, new: str, says: str) -> None:
    """A page changed by hand, data changed without the page, and a file that is gone each fail the check."""
    assert check(tree)[0] == 0
    spoilt = tree / "docs" / "safety" / file
    text = spoilt.read_text(encoding="utf-8")
    assert old in text
    spoilt.write_text(text.replace(old, new, 1), encoding="utf-8")
    code, output = check(tree)
    assert code == 1
    assert says in output


@pytest.mark.parametrize(
    ("row", "old", "new", "says"),
    [
        ("H05", 'id = "H05"', 'id = "H04"', "H04: is there twice"),
        ("H05", 'id = "H05"', 'id = "5"', "5: an id is H and two digits"),
        ("H05", 'group = "who"', 'group = "whom"', "H05: whom is no group"),
        ("H05", "risk = 2 }", "risk = 1 }", "residual: major and very-low make 2, not 1"),
        ("H05", 'likelihood = "very-low"', 'likelihood = "never"', "residual: 'never' is not in the matrix"),
        (
            "H05",
            'likelihood = "very-low", risk = 2',
            'likelihood = "high", risk = 4',
            "H05: its controls would make it worse",
        ),
        (
            "H05",
            'likelihood = "very-low", risk = 2',
            'likelihood = "low", risk = 3',
            "H05: a residual risk of 3 is not mitigated",
        ),
        ("H05", 'owner = "manufacturer"', 'owner = "nobody"', "Invalid enum value 'nobody'"),
        ("H05", 'owner = "manufacturer"\n', "", "missing required field `owner`"),
        ("H05", 'owner = "manufacturer"', 'owner = "deploying organisation"', "is the manufacturer's"),
        ("H02", 'reason = "', 'reason = ""\nx = "', "unknown field `x`"),
        ("H31", 'status = "transferred"', 'status = "mitigated"', "a residual risk of 3 is not mitigated"),
        ("H31", 'owner = "deploying organisation"', 'owner = "manufacturer"', "needs its new owner"),
        ("H53", 'status = "open"', 'status = "transferred"', "is not in this release leaves it open"),
        ("H27", "to_close = [", "deploying_too = [", "unknown field `deploying_too`"),
        ("H05", 'status = "mitigated"', 'status = "open"', "does not say what would close it"),
        ("H05", "::test_late_double", "::test_lately_double", "there is no test tests/usecases/test_links.py"),
        ("H05", "tests/usecases/test_links.py", "tests/usecases/links.py", "there is no test"),
        ("H37", "BROKER_GUARD", "BROKER_GUARDS", "H37: no page lists the setting BROKER_GUARDS"),
        ("H05", "effects.patient", "effects.pet", "unknown field `pet`"),
    ],
)
def test_a_row_that_does_not_hold_is_refused(
    rules: ModuleType, row: str, old: str, new: str, says: str
) -> None:
    """One change to one row, one refusal that says what is wrong with it."""
    begin = DATA.index(f'id = "{row}"')
    end = DATA.find("\n[[hazard]]\n", begin)
    end = len(DATA) if end < 0 else end
    before, text, after = DATA[:begin], DATA[begin:end], DATA[end:]
    assert old in text
    with pytest.raises(rules.HazardLogError, match=re.escape(says)):
        rules.read((before + text.replace(old, new, 1) + after).encode(), ROOT)


def test_a_control_without_a_test_is_an_instruction(rules: ModuleType) -> None:
    """Only what a page asks for may go without one; the log as it is passes the same rules."""
    rules.read(DATA.encode(), ROOT)
    spoilt = re.sub(r'(what = "Adapters check again\."\nwhere = .*\n)tests = \[[^]]*\]\n', r"\1", DATA)
    assert spoilt != DATA
    with pytest.raises(rules.HazardLogError, match="H04: no test shows that it works: Adapters check again"):
        rules.read(spoilt.encode(), ROOT)


def test_every_row_is_complete() -> None:
    """Ids in order without a gap, somebody harmed, causes, controls, an owner and a reason for what is left."""
    assert list(HAZARDS) == [f"H{number:02}" for number in range(1, len(LOG["hazard"]) + 1)]
    assert len(HAZARDS) >= 30
    for name, row in HAZARDS.items():
        assert row["effects"].keys() <= {"patient", "person", "crew"}, name
        for part in ("hazard", "causes", "effects", "controls", "owner", "status", "reason"):
            assert row[part], f"{name}: {part}"


@pytest.mark.parametrize("name", HAZARDS)
def test_each_risk_is_what_the_matrix_gives(name: str) -> None:
    """Initial and residual, by the guidance's own table."""
    for estimate in (HAZARDS[name]["initial"], HAZARDS[name]["residual"]):
        row = MATRIX[estimate["likelihood"]]
        assert estimate["risk"] == row[SEVERITIES.index(estimate["severity"])]


@pytest.mark.parametrize("name", HAZARDS)
def test_what_is_left_above_acceptable_is_somebodys(name: str) -> None:
    """Above 2 it is open with what would close it, or handed over with what to do; never 4 or 5."""
    row = HAZARDS[name]
    assert row["residual"]["risk"] <= 3
    if row.get("not_in_this_release"):
        assert row["status"] == "open"
    if row["residual"]["risk"] <= 2:
        return
    assert row["reason"]
    if row["status"] == "transferred":
        assert row["owner"] == "deploying organisation"
        assert row["deploying"]
    else:
        assert row["status"] == "open"
        assert row["to_close"]


@pytest.mark.parametrize("name", HAZARDS)
def test_every_named_file_and_test_is_there(name: str) -> None:
    """What a row rests on can be looked at and run."""
    for control in controls(HAZARDS[name]):
        assert [path for path in control["where"] if not (ROOT / path).exists()] == []
        for test in control.get("tests", ()):
            file, _, function = test.partition("::")
            assert re.search(rf"^(async )?def {function}\(", (ROOT / file).read_text(encoding="utf-8"), re.M), (
                test
            )


def test_the_plan_shows_the_scales_that_are_used() -> None:
    """Matrix, severities, likelihoods and levels of README.md are those of the data."""
    text = section(page("README.md"), "Severity, likelihood, risk")
    for likelihood in LOG["likelihood"]:
        title = likelihood["code"].replace("-", " ").capitalize()
        assert f"| {title} | {' | '.join(map(str, likelihood['risk']))} |" in text
        assert f"| {title} | {likelihood['means']} |" in text
        assert tuple(likelihood["risk"]) == MATRIX[likelihood["code"]]
    assert [each["code"] for each in LOG["severity"]] == list(SEVERITIES)
    for level in LOG["level"]:
        assert f"| {level['level']} | {level['means']} |" in text
    for severity in LOG["severity"]:
        for harm in severity["means"]:
            words = harm["what"].removesuffix("; any negligible consequence")
            assert words in text, severity["code"]


def test_each_hazard_belongs_to_a_claim() -> None:
    """The argument leaves none out and names none that is not there."""
    text = page("safety-case.md")
    claimed = re.findall(r"^\| Rows \| (.+) \|$", text, re.MULTILINE)
    assert len(claimed) == 6
    assert set().union(*map(ids, claimed)) == HAZARDS.keys()
    assert ids(text) | ids(page("README.md")) == HAZARDS.keys()


def test_what_is_left_is_told_in_the_safety_case() -> None:
    """Each row above acceptable stands with who must act, and each open one among what is to be done first."""
    text = page("safety-case.md")
    left = section(text, "7. Residual risks")
    told = {
        "open": ids(left.split("**With the manufacturer, open**")[1].split("\n- ")[0]),
        "transferred": ids(left.split("transferred**")[1].split("\n\n")[0]),
    }
    for status, named in told.items():
        high = {n for n, row in HAZARDS.items() if row["residual"]["risk"] == 3 and row["status"] == status}
        assert named == high
    assert ids(section(text, "9. Before live use")) == {n for n, r in HAZARDS.items() if r["status"] == "open"}
