"""Two founders, as they type it: each enrolment and succession is given by both, and says so until it is."""

from __future__ import annotations

from tests.agreements.test_commands import at, done, failed, typed
from tests.support.office import SECOND, Office, numbers

TOLD = "a second operator, on an operator system of their own, must give the same command"


def systems(office: Office, agency: str) -> list[dict[str, object]]:
    """Those of an agency, as the list shows them."""
    rows = done("system", "list", "--agency", agency, **at(office))["systems"]
    assert isinstance(rows, list)
    return rows


def test_both_founders_enrol_a_system(office: Office) -> None:
    """The first is told to wait, and the list shows it; dropped, it is gone; the word of the second does it."""
    agency, key = office.agency("police").agency, f"{next(numbers):064x}"
    enrol = ("system", "enrol", agency, "control", "--function", "partner", "--key-digest", key)
    code, out, err = typed(*enrol, **at(office))
    assert (code, TOLD in err) == (0, True), (out, err)
    (found,) = systems(office, agency)
    assert (found["key_digests"], found["proposed_key_digest"]) == ([], key)
    assert found["proposed_by"] == "operator/cli"
    assert "second person" in failed(*enrol, **at(office, "bob"))
    revoke = ("certs", "revoke", agency, "control", "--key-digest", key, "--reason", "a slip")
    assert done(*revoke, **at(office))["entry"]
    assert systems(office, agency)[0]["proposed_by"] is None
    assert done(*enrol, **at(office, "bob", SECOND))["proposed"] is True
    assert done(*enrol, **at(office))["proposed"] is False
    (found,) = systems(office, agency)
    assert (found["key_digests"], found["proposed_key_digest"]) == ([key], None)


def test_both_founders_let_an_agency_take_anothers_place(office: Office) -> None:
    """With --yes it is proposed, and nothing carried out; the list says who did; the second carries it out."""
    old, new = (office.agency("council").agency for _ in range(2))
    succeed = ("agency", "succeed", old, "--into", new, "--on", "2099-04-01", "--yes")

    def listed() -> dict[str, object]:
        rows = done("agency", "list", **at(office))["agencies"]
        return next(each for each in rows if each["id"] == old)

    told = done(*succeed, **at(office))
    assert (told["carried_out"], told["proposed"]) == (False, True)
    assert (listed()["successors"], listed()["succession_proposed_by"]) == ([], "operator/cli")
    assert TOLD in typed(*succeed[:-3], "--on", "2099-05-01", "--yes", **at(office, "bob", SECOND))[2]
    told = done(*succeed[:-3], "--on", "2099-05-01", "--yes", **at(office))
    assert (told["carried_out"], told["proposed"]) == (True, False)
    assert (listed()["successors"], listed()["succession_proposed_by"]) == ([new], None)
