"""`broker directive` against a real broker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.cli.conftest import ACTOR, AGREEMENT, Parties, Run

PERSON = "nhs-number:9912003888"
NUMBER = "9912003888"


def test_what_was_said_is_recorded_listed_and_withdrawn(broker: Run, parties: Parties) -> None:
    """From adding to lifting, the subject read from standard input and never printed."""
    us = ("--as", parties.requester, *ACTOR)
    scope = ("--purpose", "home-fire-safety", "--provider", "clinhs", "--manner", "written")
    times = ("--said-at", "2026-05-01T10:00:00+01:00", "--until", "2099-01-01")
    added = broker(
        "directive", "add", "objection", "--subject", "-", *us, *scope, *times, "--json", stdin=PERSON
    )
    assert added.code == 0, added.err
    assert added.json["verified"] is True
    assert broker("directive", "add", "consent", "--subject", PERSON, *us).code == 0

    found = broker(
        "directive", "list", "--reason", "to-check", "--subject", "-", *us, "--json", stdin=f"{PERSON}\n"
    )
    assert NUMBER not in found.out
    objection = next(each for each in found.rows if each["kind"] == "objection")
    recorded = datetime.fromisoformat(objection.pop("recorded_at"))
    assert abs(datetime.now(UTC) - recorded) < timedelta(minutes=5)
    assert objection == {
        "id": added.json["directive"],
        "kind": "objection",
        "purposes": ["home-fire-safety"],
        "record_types": [],
        "requesters": [],
        "providers": ["clinhs"],
        "recorder": "clifire",
        "standing": "self",
        "manner": "written",
        "said_at": "2026-05-01T09:00:00Z",
        "valid_until": "2099-01-01T00:00:00Z",
        "speaker": None,
        "authority": None,
        "capacity": "presumed",
        "assessor": None,
        "assessed_on": None,
        "assessed": None,
        "taken_by": None,
        "explained": None,
        "company": None,
        "matter": "sharing",
        "reconsider_at": None,
        "actors": [],
    }
    assert "objection" in broker("directive", "list", "--reason", "to-check", "--subject", PERSON, *us).out

    others = ("--as", parties.provider, *ACTOR)
    assert (
        broker("directive", "list", "--reason", "to-check", "--subject", PERSON, *others, "--json").rows == []
    )
    assert (
        "nothing in force"
        in broker("directive", "list", "--reason", "to-check", "--subject", PERSON, *others).out
    )
    denied = broker("directive", "withdraw", added.json["directive"], *others)
    assert denied.code == 1
    assert "no such directive that your agency may withdraw" in denied.err

    ended = broker("directive", "withdraw", "--subject", PERSON, *others, "--json").json
    assert ended["withdrawn"] == [], "whether somebody else had recorded one is not theirs to learn"
    left = broker("directive", "list", "--reason", "to-check", "--subject", PERSON, *us, "--json").rows
    assert [each["kind"] for each in left] == ["objection"]
    assert broker("directive", "withdraw", added.json["directive"], *us).code == 0
    assert broker("directive", "list", "--reason", "to-check", "--subject", PERSON, *us, "--json").rows == []
    again = broker("directive", "withdraw", "--subject", PERSON, *us)
    assert (again.code, again.out.splitlines()[0]) == (
        0,
        "your agency had recorded no consent about this subject that was in force",
    )


def test_a_consent_that_counts_nowhere_is_said_to(broker: Run, parties: Parties, tmp_path: Path) -> None:
    """Recorded all the same, with a warning; where an agreement counts it, that is named instead."""
    us = ("--as", parties.provider, *ACTOR)
    lost = broker("directive", "add", "consent", "--subject", PERSON, *us, "--purpose", "missing-person")
    assert lost.code == 0
    assert lost.err.startswith("warning: no agreement in force requires this consent")
    refusal = broker("directive", "add", "refusal", "--subject", PERSON, *us, "--json")
    assert (refusal.err, "counts_under" in refusal.json) == ("", False)

    file = tmp_path / "required.toml"
    required = 'weight = "required"\nrecorders = ["clinhs"]'
    text = AGREEMENT.replace("summaries-for-crews", "dir-required").replace('weight = "respected"', required)
    text = text.replace("frsa-2004-s7", "crime-and-disorder-act-1998-s115")
    file.write_text(text.replace('"emergency-response"', '"missing-person"'))
    parties.sign(file)
    assert broker("agreement", "apply", file).code == 0
    add = ("directive", "add", "consent", "--subject", PERSON, "--purpose", "missing-person")
    counted = broker(*add, *us, "--json")
    assert (counted.json["counts_under"], counted.err) == (["dir-required"], "")
    # The requester's own word is never enough, and a scope that leaves the flow out reaches nothing.
    assert broker(*add, "--as", parties.requester, *ACTOR, "--json").json["counts_under"] == []
    assert broker(*add, *us, "--requester", "clinhs", "--json").json["counts_under"] == []


def test_an_identifier_is_never_repeated(broker: Run, parties: Parties) -> None:
    """Errors about a subject name the scheme and its form; the value stays out of every text."""
    us = ("--as", parties.requester, *ACTOR)
    for subject, code, says in (
        ("nhs-number:9912003889", 1, "subject.value: not a canonical nhs-number"),
        ("nhs-number:991 200 3888", 1, "not a canonical nhs-number"),
        ("passport:9912003888", 1, "subject.scheme: unknown scheme"),
        ("9912003888", 2, "--subject is SCHEME:VALUE"),
    ):
        for result in (
            broker("directive", "list", "--reason", "to-check", "--subject", subject, *us),
            broker("directive", "list", "--reason", "to-check", "--subject", "-", *us, stdin=subject),
        ):
            assert (result.code, result.out) == (code, "")
            assert says in result.err
            assert "200" not in result.err


def test_wrong_uses(broker: Run, parties: Parties) -> None:
    """An unknown scope, kind or a withdrawal of nothing in particular; and only partners record."""
    us = ("--as", parties.requester, *ACTOR)
    unknown = broker("directive", "add", "refusal", "--subject", PERSON, *us, "--purpose", "fun")
    assert unknown.code == 1
    assert "directive.purposes: 'fun' is unknown; one of " in unknown.err
    assert "home-fire-safety" in unknown.err
    for option, where in (("--record-type", "`broker records list`"), ("--provider", "`broker agency list`")):
        assert where in broker("directive", "add", "refusal", "--subject", PERSON, *us, option, "none").err
    missing = broker("directive", "add", "refusal")
    assert missing.code == 2
    assert "Missing: --subject, --actor-id, --role." in missing.err
    assert broker("directive", "add", "wish", "--subject", PERSON, *us).code == 2
    assert broker("directive", "withdraw", *us).code == 2
    assert broker("directive", "withdraw", "x", "--subject", PERSON, *us).code == 2
    assert broker("directive", "withdraw", "x", "--purpose", "audit", *us).code == 2
    assert "not a UUID" in broker("directive", "withdraw", "x", *us).err
    operator = broker(
        "directive", "list", "--reason", "to-check", "--subject", PERSON, "--as", "operator-cli", *ACTOR
    )
    assert operator.code == 1
    assert "only a system enrolled as partner" in operator.err
    assert (
        broker("directive", "list", "--reason", "to-check", "--subject", PERSON, "--as", parties.requester).code
        == 2
    )


CHILD = "nhs-number:9912003896"
MOTHER = (
    *("--standing", "parental-responsibility", "--speaker", "mother", "--authority", "birth certificate seen"),
    *("--said-at", "2026-05-01T10:00:00Z"),
)


def test_who_spoke_and_how_it_was_taken(broker: Run, parties: Parties) -> None:
    """All of it comes back; a birth date stays here, and becomes the day of asking again."""
    us = ("--as", parties.requester, *ACTOR)
    taken = (
        "--taken-by",
        "s.lowe",
        "--explained",
        "who sees it",
        "--company",
        "accompanied",
        "--matter",
        "visit",
    )
    add = (
        "directive",
        "add",
        "consent",
        "--subject",
        CHILD,
        *us,
        *MOTHER,
        *taken,
        "--birth-date",
        "2012-07-10",
    )
    added = broker(*add, "--json")
    assert added.code == 0, added.err
    assert added.json["reconsider_at"] == "2028-07-09T23:00:00Z"
    assert added.json["lacks"] == "was given for a visit, which is not consent to share"
    assert "warning: this consent does not stand: it was given for a visit" in added.err
    assert added.json["counts_under"] == []
    (listed,) = broker("directive", "list", "--reason", "to-check", "--subject", CHILD, *us, "--json").rows
    assert {name: listed[name] for name in ("standing", "speaker", "authority", "taken_by", "explained")} == {
        "standing": "parental-responsibility",
        "speaker": "mother",
        "authority": "birth certificate seen",
        "taken_by": "s.lowe",
        "explained": "who sees it",
    }
    assert (listed["company"], listed["matter"]) == ("accompanied", "visit")
    assert listed["reconsider_at"] == "2028-07-09T23:00:00Z"
    assert "2012" not in str(listed)
    sooner = broker(*add, "--reconsider-at", "2027-01-01", "--json").json
    assert sooner["reconsider_at"] == "2027-01-01T00:00:00Z"
    older = (*add[:-1], "2009-07-10")
    assert broker(*older, "--json").json["reconsider_at"] == "2027-07-09T23:00:00Z", "past 16: at 18"


def test_a_childs_birth_date_need_not_stand_on_the_command_line(broker: Run, parties: Parties) -> None:
    """Nor who speaks for it: a line of standard input each, as the options stand."""
    us = ("--as", parties.requester, *ACTOR)
    told = (
        "--standing",
        "parental-responsibility",
        "--authority",
        "seen",
        "--speaker",
        "-",
        "--birth-date",
        "-",
    )
    add = ("directive", "add", "consent", "--subject", CHILD, *us, *told, "--json")
    added = broker(*add, stdin="mother\n2012-07-10\n")
    assert added.code == 0, added.err
    assert added.json["reconsider_at"] == "2028-07-09T23:00:00Z"
    listed = broker("directive", "list", "--reason", "to-check", "--subject", CHILD, *us, "--json").rows
    assert "mother" in {each["speaker"] for each in listed}
    assert "a day is 2011-05-09" in broker(*add, stdin="mother\n10 July\n").err


def test_a_birth_date_is_for_what_a_parent_consents_to(broker: Run, parties: Parties) -> None:
    """Not for anybody else's word, nor for an adult's parents; and it is a day."""
    us = ("--as", parties.requester, *ACTOR)
    add = ("directive", "add", "consent", "--subject", CHILD, *us, "--birth-date")
    for arguments, says in (
        ((*add, "2012-07-10"), "--standing parental-responsibility"),
        ((*add, "2001-07-10", *MOTHER), "parental responsibility had ended"),
        ((*add, "10/07/2012", *MOTHER), "a day is 2011-05-09"),
    ):
        result = broker(*arguments)
        assert result.code == 2
        assert says in " ".join(result.err.replace("│", " ").split())


def test_what_shields_somebody_is_recorded_and_lifted_by_its_recorder(broker: Run, parties: Parties) -> None:
    """A conflict names actors; and what a shield has no use for is refused by its name."""
    us, others = (("--as", each, *ACTOR) for each in (parties.requester, parties.provider))
    add = ("directive", "add", "staff-conflict", "--subject", CHILD, *us)
    assert "directive.actors: is required" in broker(*add).err
    conflict = broker(*add, "--conflict", "a.hill", "--conflict", "b.dale", "--json").json["directive"]
    (shown,) = (
        e
        for e in broker("directive", "list", "--reason", "to-check", "--subject", CHILD, *us, "--json").rows
        if e["actors"]
    )
    assert (shown["id"], shown["actors"]) == (conflict, ["a.hill", "b.dale"])
    safe = broker("directive", "add", "safe-contact", "--subject", CHILD, *us, "--json").json["directive"]
    wrong = broker("directive", "add", "safe-contact", "--subject", CHILD, *us, "--standing", "gillick-child")
    assert "directive.standing: a safe-contact is nobody's consent" in wrong.err
    for each in (conflict, safe):
        assert "may withdraw" in broker("directive", "withdraw", each, *others).err
        assert broker("directive", "withdraw", each, *us).code == 0
