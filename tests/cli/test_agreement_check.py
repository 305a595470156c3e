"""`broker agreement check` and `diff`: what is wrong, on which line, and how a command ends."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from broker.cli import toml_lines
from broker.cli.toml_lines import line_of
from tests.cli.conftest import AGREEMENT, Parties, Run, run
from tests.support.signing import Signatory

DEMONSTRATION = sorted(Path("broker/cli/up/agreements").resolve().glob("*.toml"))
AGENCIES = """
[[agencies]]
id = "clifire"
kind = "fire"
[[agencies]]
id = "clinhs"
kind = "nhs"
jurisdiction = "england"
"""
CLEAN = AGREEMENT.replace("[governance]", '[governance]\ndpia = "D-1"\ndpia_status = "approved"') + (
    '[[obligations]]\ncode = "no-onward-sharing"\n'
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file without a fault."""
    made = tmp_path / "summaries.toml"
    made.write_text(CLEAN.replace("2099-12-31", "2027-12-31"))
    return made


@pytest.fixture
def agencies(tmp_path: Path) -> Path:
    """Whose agencies these are."""
    made = tmp_path / "agencies"
    made.write_text(AGENCIES)
    return made


def changed(file: Path, old: str, new: str) -> Path:
    """The file with these words changed."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return file


def findings(*arguments: object) -> list[tuple[int, str, str]]:
    """Line, severity and rule of everything that is found."""
    told = run("agreement", "check", *arguments, "--json").json
    return [(each["line"], each["severity"], each["rule"]) for each in told["findings"]]


def test_files_without_a_fault(file: Path, agencies: Path) -> None:
    """Nothing is said against them, not even strictly; ours of the demonstration are among them."""
    result = run("agreement", "check", file, "--agencies", agencies, "--strict")
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith("0 errors, 0 warnings\n")
    assert "summaries-for-crews/1: approved, to be signed by clifire, clinhs" in result.out
    ours = run("agreement", "check", *DEMONSTRATION, "--strict")
    assert (ours.code, len(DEMONSTRATION)) == (0, 3), ours.out


def test_the_agencies_of_the_examples_are_a_file_to_check_with() -> None:
    """What a directory holds and no check reads is passed over; no party of an example is unknown then."""
    examples = Path("docs/agreements").resolve()
    result = run("agreement", "check", *examples.glob("*-*.toml"), "--agencies", examples / "agencies.toml")
    assert (result.code, "agency.assumed" in result.out) == (0, False), result.out


def test_what_a_strict_check_says_of_the_examples_stands_on_their_page() -> None:
    """Three warnings, each with its reason; whoever mends one, or makes a new one, changes the page too."""
    examples = Path("docs/agreements").resolve()
    files = sorted(examples.glob("*-*.toml"))
    result = run("agreement", "check", *files, "--agencies", examples / "agencies.toml", "--strict", "--json")
    assert result.code == 1
    found = {(Path(each["file"]).name[:2], each["rule"]) for each in result.json["findings"]}
    page = (examples / "README.md").read_text()
    table = page.partition("## What a strict check still says")[2]
    told = re.findall(r"^\| (\d+) \| .*?\(`([a-z.-]+)`\) \|", table, re.MULTILINE)
    assert found == set(told)
    assert len(told) == 3


def test_each_message_has_its_file_line_key_rule_and_fix(file: Path, agencies: Path) -> None:
    """For people as compilers write it; the same for scripts, and exit code 1."""
    changed(file, '"allergies.state"', '"allergis.state"')
    changed(file, 'gateway = "frsa-2004-s7"', 'gateway = "care-act-2014-s42"')
    line = file.read_text().splitlines().index('gateway = "care-act-2014-s42"') + 1
    result = run("agreement", "check", file, "--agencies", agencies)
    assert result.code == 1
    assert (
        f"{file}:{line}: error: legal.gateway: no gateway opens: care-act-2014-s42 does not serve" in result.out
    )
    assert "[gateway.opens]\n    name one that does, such as " in result.out
    assert f"{file}: draft: mend the errors" in result.out
    told = run("agreement", "check", file, "--agencies", agencies, "--json").json
    assert told["errors"] == 4
    (leaf,) = [each for each in told["findings"] if each["rule"] == "path.leaf"]
    assert leaf == {
        "file": str(file),
        "line": file.read_text()
        .splitlines()
        .index(next(x for x in file.read_text().splitlines() if "allergis" in x))
        + 1,
        "key": "flows.0.permitted.1",
        "severity": "error",
        "rule": "path.leaf",
        "problem": "'allergis.state' is not a field of records.nhs.v1.PatientSummary",
        "fix": "did you mean 'allergies.state'?",
    }


def test_warnings_fail_only_strictly(file: Path, agencies: Path) -> None:
    """Exit code 0 without --strict, 1 with it."""
    changed(file, 'dpia_status = "approved"\n', "")
    for strict, code in (((), 0), (("--strict",), 1)):
        result = run("agreement", "check", file, "--agencies", agencies, *strict)
        assert result.code == code
        assert "warning: governance.dpia_status" in result.out
        assert "0 errors, 1 warning\n" in result.out


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("version = 1", "version = ", ":2: error: file: not TOML"),
        (
            "weight = ",
            "wait = ",
            ": error: directives.wait: there is no such key [form]\n    did you mean weight?",
        ),
        (
            'basis = "art6-1-e"',
            'basis = "art6-1-z"',
            "unknown code 'art6-1-z' [form]\n    did you mean art6-1-",
        ),
        ("version = 1", 'version = "1"', ":2: error: version: Input should be a valid integer"),
    ],
)
def test_what_is_no_agreement_is_told_with_its_line(
    file: Path, agencies: Path, old: str, new: str, says: str
) -> None:
    """And nothing else of it is checked."""
    result = run("agreement", "check", changed(file, old, new), "--agencies", agencies)
    assert result.code == 1
    assert says in result.out


def test_a_misspelt_key_lists_those_there_are(file: Path, agencies: Path) -> None:
    """In a table that may be absent too; and every such key is told, not the first alone."""
    file.write_text(file.read_text() + "[limits]\nper_minut = 5\n[override]\ncodes = ['x']\nminutes = 3\n")
    out = run("agreement", "check", file, "--agencies", agencies).out
    assert "did you mean per_minute? The keys here are emergency_per_minute, per_minute" in out
    assert "the keys here are codes, hours, minimum_assurance, review_hours" in out


def test_files_are_held_against_each_other(file: Path, agencies: Path) -> None:
    """An overlap and a role that is spelt apart are of two files; each is told at its own."""
    other = file.with_name("other.toml")
    other.write_text(
        file.read_text().replace("summaries-for-crews", "other").replace('["fire-crew"]', '["fire-crw"]')
    )
    told = run("agreement", "check", file, other, "--agencies", agencies, "--json").json["findings"]
    assert {(each["file"], each["rule"]) for each in told} == {
        (str(path), rule) for path in (file, other) for rule in ("overlap", "roles.alike")
    }


def test_agencies_that_are_not_known_leave_the_law_unchecked(file: Path, agencies: Path) -> None:
    """A warning says so; a file of agencies, or the demonstration's, mends it."""
    told = findings(file)
    assert [rule for _, _, rule in told] == ["agency.assumed"] * 2
    assert {severity for _, severity, _ in told} == {"warning"}
    for words, says in (
        ("agencies = 3", "holds no [[agencies]]"),
        ('[[agencies]]\nid = "x"\nkind = "fir"', "agencies.0.kind: one of fire, "),
        ('[[agencies]]\nid = "x"\nknd = "fire"', "agencies.0.knd: the keys are id, kind"),
        ("x = ", "not TOML"),
    ):
        agencies.write_text(words)
        result = run("agreement", "check", file, "--agencies", agencies)
        assert result.code == 1
        assert says in result.err


def test_how_far_a_file_has_come(file: Path, agencies: Path) -> None:
    """Draft, approved, signed: a signature over other bytes is none."""

    def stage() -> dict[str, Any]:
        told = run("agreement", "check", file, "--agencies", agencies, "--json").json["files"][0]
        return {"stage": told["stage"], "missing": told["not_signed_by"]}

    for agency in ("clifire", "clinhs"):
        Signatory(agency).put(file.parent, file.name, file.read_bytes())
    assert stage() == {"stage": "signed", "missing": []}
    changed(file, "Patient summaries", "Summaries")
    assert stage() == {"stage": "approved", "missing": ["clifire", "clinhs"]}
    changed(file, "art9-2-g-sch1-para18", "art9-2-a")
    assert stage()["stage"] == "draft"


def test_against_a_broker(broker: Run, parties: Parties, tmp_path: Path, running_broker: Any) -> None:
    """Its directory, record types and agreements are all there are; what is applied is told to be."""
    applied = broker("agreement", "check", parties.file, "--json").json
    assert applied["files"][0]["stage"] == "in force"
    assert "version.higher" not in {each["rule"] for each in applied["findings"]}
    other = tmp_path / "other.toml"
    other.write_text(AGREEMENT.replace("summaries-for-crews", "other").replace("version = 1", "version = 1", 1))
    told = broker("agreement", "check", other, "--json").json["findings"]
    assert ("overlap", "error") in {(each["rule"], each["severity"]) for each in told}
    again = tmp_path / "again.toml"
    again.write_text(AGREEMENT + "# a comment\n")
    told = broker("agreement", "check", again, "--json").json["findings"]
    assert ("version.higher", "error") in {(each["rule"], each["severity"]) for each in told}
    stranger = tmp_path / "stranger.toml"
    stranger.write_text(AGREEMENT.replace("clinhs", "nowhere"))
    told = broker("agreement", "check", stranger, "--as", parties.requester, "--json").json["findings"]
    assert ("agency.known", "error") in {(each["rule"], each["severity"]) for each in told}
    both = broker("agreement", "check", parties.file, "--agencies", tmp_path / "again.toml")
    assert both.code == 2


def test_two_files_are_compared_without_a_broker(file: Path, tmp_path: Path) -> None:
    """What widens, what narrows, what else: in words, and for scripts."""
    new = tmp_path / "new.toml"
    text = file.read_text().replace('weight = "respected"', 'weight = "recorded"')
    new.write_text(text.replace('"allergies.items.substance.display"]', '"contact.state"]'))
    out = run("agreement", "diff", file, new).out
    assert out.splitlines()[0].startswith("widens: ")
    assert "more: field contact.state (contact" in out
    assert "less: field allergies.items.substance.display (special-category" in out
    assert "what the person has said is recorded, was respected" in out
    told = run("agreement", "diff", file, new, "--json").json
    assert {each["kind"] for each in told["differences"]} == {"widens", "narrows"}
    assert "say the same" in run("agreement", "diff", file, file).out
    assert "neither a file nor ID/VERSION" in run("agreement", "diff", file, "No such file").err


def test_what_is_applied_is_compared_by_id_and_version(broker: Run, parties: Parties, file: Path) -> None:
    """One side may be a file, the other what a broker has."""
    told = broker("agreement", "diff", "summaries-for-crews/1", file, "--json").json
    assert "last day is 2027-12-31, was 2099-12-31" in {each["words"] for each in told["differences"]}
    assert "no such agreement" in broker("agreement", "diff", "nobodys/7", file).err


LINES = b"""# a comment
id = "x"
legal.basis = "a"
"quoted key" = 1
[actors]
level = "l"
[[flows]]
permitted = [
    "a",  # one
    # two
    "b",
]
[[flows]]
inner = { deep = "x", list = [1,
  2] }
[flows.table]
key = 1
[[flows.items]]
n = 1
[[flows.items]]
n = 2
[[flows]]
[[flows.items]]
n = 3
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("id", 2),
        ("legal.basis", 3),
        ("quoted key", 4),
        ("actors.level", 6),
        ("flows.0", 7),
        ("flows.0.permitted", 8),
        ("flows.0.permitted.1", 11),
        ("flows.1.inner.deep", 14),
        ("flows.1.inner.list.1", 15),
        ("flows.1.table.key", 17),
        ("flows.1.items.1.n", 21),
        ("flows.2.items.0.n", 24),
        ("actors.missing", 5),
        ("flows.0.roles.3", 7),
        ("governance.dpia", 1),
    ],
)
def test_the_line_of_a_key(key: str, line: int) -> None:
    """Of what is missing: the nearest table around it."""
    assert line_of(key, toml_lines.lines(LINES)) == line
