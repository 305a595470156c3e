"""What can still be asked of a log that is closed, and of one whose entries were dropped: all as it is typed.

One broker, two half-years. The first log is longer than a partition, so that its middle can be dropped; what is
asked about stands there. Each test is asked before and after the drop where the answer must be the same.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from broker.core.entry import parse_entry
from broker.core.rotation import split_origin
from broker.core.tiles import PARTITION
from broker.errors import InvalidRequest
from broker.offline.rotation import origin_of
from tests.cli.conftest import FORMS, Result, run
from tests.support.filled import fill
from tests.support.fleet import Fleet, Risks, ask, attached, fleet
from tests.support.postgres import Server
from tests.support.postgres import ask as value
from tests.support.processes import true_within

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
HOME, TOLD, AGAIN = (f"uprn:10006299000{n}" for n in range(1, 4))
WHO = ("--reason", "complaint", "--actor-id", "ann", "--role", "auditor")
AUDITOR, NWAS, CFRS, OPERATOR = (
    ("--as", name) for name in ("auditor-console", "nwas-cad", "cfrs-mdt", "operator-cli")
)


@dataclass
class Years:
    """A broker with a closed log and a current one. `archive` is the closed one's export; `ids` are entries."""

    running: Fleet
    dsn: str
    folder: Path
    old: str = ""
    new: str = ""
    size: int = 0
    ids: dict[str, str] = field(default_factory=dict)
    request_id: str = str(uuid.uuid4())
    before: dict[str, Any] = field(default_factory=dict)
    state: str = "closed"

    @property
    def half(self) -> str:
        """The closed half-year."""
        return split_origin(self.old)[1]

    @property
    def archive(self) -> Path:
        """Where the closed log was exported to."""
        return self.folder / "archive"

    @property
    def kept(self) -> Path:
        """Receipts of both logs."""
        return self.folder / "kept"

    @property
    def vkey(self) -> Path:
        """The keys of both logs."""
        return self.running.state.vkey

    def run(self, *words: object, stdin: str = "") -> Result:
        """A command of this broker."""
        return run(*words, "--state", self.running.state.folder, stdin=stdin)

    def published(self, *words: object, path: str = "/log") -> Result:
        """A command on the log as it is published."""
        files, port = self.running.files("operator-cli"), self.running.told["http"]
        more = ("--ca", files.ca, "--cert", files.cert, "--key", files.key, "--vkey", self.vkey)
        return run("audit", *words, f"https://localhost:{port}{path}", *more)

    def found(self, *words: object, who: tuple[str, str] = AUDITOR, stdin: str = "") -> list[dict[str, Any]]:
        """What a search finds."""
        done = self.run("audit", "search", *WHO, *who, "--json", *words, stdin=stdin)
        assert done.code == 0, done.err
        *rows, end = map(json.loads, done.out.splitlines())
        assert end["end"]["found"] == len(rows)
        return rows

    async def asks(self, name: str, subject: str, **more: Any) -> None:
        """A crew asks, and what it got is kept."""
        async with self.running.client() as client:
            scheme, _, value = subject.partition(":")
            disclosure = await ask(client, subject=(scheme, value), timeout=20, **more)
        self.ids[name] = parse_entry(disclosure.receipt.entry).id
        disclosure.save(self.kept / name)

    def export(self, name: str, *words: object) -> Result:
        """An export of the closed log to a file of that name."""
        out = ("-o", self.folder / name, "--log", self.half)
        return self.run("audit", "export", *out, *WHO, *words, "--json")


async def made(dsn: str, folder: Path, running: Fleet) -> Years:
    """Asked in the first half-year and in the second; the first closed and exported."""
    years = Years(running, dsn, folder)
    await fill(dsn, 300)
    async with attached(running, Risks()):
        await years.asks("old", HOME)
        await years.asks("again", AGAIN, request_id=years.request_id)
        await years.asks("told", TOLD)
    done = years.run(
        *("audit", "complaint", "add", "--reference", "C-17", "--words", "-", *NWAS, "--json"),
        *("--actor-id", "d.lee", "--role", "dpo"),
        stdin="words\n",
    )
    assert done.code == 0, done.err
    years.ids["complaint"] = done.json["complaint"]
    done = years.run(
        *("audit", "report", "subject", *WHO, *NWAS, "--json"),
        stdin=TOLD,
    )
    assert done.code == 0, done.err
    years.ids["access"] = done.json["access"]
    assert years.published("monitor", "--state", folder / "monitor").code == 0
    await fill(dsn, PARTITION + 300)
    done = years.run("audit", "rotate", "--early", "--reason", "key-lost", "--yes", "--json")
    assert done.code == 0, done.err
    years.old, years.new = done.json["log"], done.json["next"]
    years.size = await value(dsn, "select entries from log where closed_at is not null")
    async with attached(running, Risks()):
        await years.asks("new", HOME)
    return years


@pytest.fixture(scope="module")
async def years(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Years]:
    """Before anything is dropped."""
    folder = tmp_path_factory.mktemp("years")
    async with postgres.fresh() as dsn, fleet(dsn, folder / "state", workers=1) as running:
        yield await made(dsn, folder, running)


@pytest.fixture(scope="module", params=["closed", "dropped"])
def over(request: pytest.FixtureRequest, years: Years) -> Years:
    """The first log closed; then, for the same tests again, its entries dropped."""
    years.state = request.param
    if request.param == "dropped":
        done = years.published("partition", "export", years.archive, "--log", path=f"/log/{years.half}")
        assert done.code == 0, done.err
        done = years.run("audit", "partition", "drop", years.archive, "--place", "vault 3", "--yes", "--json")
        assert (done.code, len(done.json["partitions"])) == (0, 1), done.err
    return years


def archived(over: Years) -> tuple[object, ...]:
    """What is given where the entries are kept in an export alone."""
    return ("--archive", over.archive) if over.state == "dropped" else ()


ELSEWHERE = "is kept in an export alone (vault 3)"


def test_a_search_goes_over_all_logs_and_says_how_far_it_reached(over: Years) -> None:
    """Newest first, each place with its log, and up to where the index of each log reaches."""
    found = over.found("--person", "-", "--where", "event=disclosure", stdin=HOME)
    assert [(each["log"], each["entry"]) for each in found] == [
        (over.new, over.ids["new"]),
        (over.old, over.ids["old"]),
    ]
    line = ("audit", "search", *WHO, *NWAS, "--person", "-", "--where", "event=disclosure")
    told = f"{over.size} of {over.old}"
    assert true_within(20, lambda: told in over.run(*line, stdin=HOME).out), "the workers fill the index"
    plain = over.run(*line, stdin=HOME).out.splitlines()
    assert plain[1].split()[0] == f"{over.half}:{found[1]['index']}"
    end = next(each for each in plain if "The index reaches" in each)
    assert f"of {over.new}" in end
    assert told in end


@pytest.mark.parametrize("who", [NWAS, AUDITOR], ids=["party", "auditor"])
def test_an_entry_is_shown_and_proven(over: Years, who: tuple[str, str], tmp_path: Path) -> None:
    """By its id and by its place; of a dropped one with a copy of the export, and without one it is said."""
    (found,) = over.found("--person", "-", "--where", "event=disclosure", "--log", over.half, stdin=HOME)
    place, words = f"{over.half}:{found['index']}", (*WHO, *who)
    for entry in (over.ids["old"], place):
        if over.state == "dropped":
            for command in (("show", entry, *words), ("prove", entry, "-o", tmp_path / "x", *who)):
                refused = over.run("audit", *command)
                assert (refused.code, f"{place} {ELSEWHERE}" in refused.err) == (1, True), refused.err
        shown = over.run("audit", "show", entry, *words, "--json", *archived(over))
        assert shown.code == 0, shown.err
        assert (shown.json["log"], shown.json["entry"]) == (over.old, over.ids["old"])
        assert shown.json["view"] == over.before.setdefault(f"view {who[1]}", shown.json["view"])
    out = tmp_path / "x"
    line = ("audit", "prove", place, "-o", out, "--open", *words, *archived(over))
    assert over.run(*line).code == 0
    files = ("--entry", f"{out}.entry", "--opening", f"{out}.opening", "--vkey", over.vkey)
    verdict = run("audit", "verify", f"{out}.tlog-proof", *files)
    assert (verdict.code, verdict.out.startswith("GOOD")) == (0, True), verdict.out


def test_a_copy_that_is_not_the_logs_is_not_believed(over: Years, tmp_path: Path) -> None:
    """A changed entry does not verify; a folder with another log, or none, is named."""
    nothing = over.run("audit", "show", over.ids["old"], *WHO, *NWAS, "--archive", tmp_path)
    assert (nothing.code, "holds no log" in nothing.err) == (1, True)
    if over.state == "closed":
        return  # nothing else is asked of a copy as long as the entries are there
    (found,) = over.found("--person", "-", "--where", "event=disclosure", "--log", over.half, stdin=HOME)
    bundle = over.archive / "tile/entries/001"
    good = bundle.read_bytes()
    try:
        bundle.write_bytes(good.replace(b'"v":1', b'"v":2'))
        bad = over.run("audit", "show", over.ids["old"], *WHO, *NWAS, *archived(over))
        assert bad.code == 1
        assert "vault" not in bad.err
        bundle.unlink()
        gone = over.run("audit", "show", over.ids["old"], *WHO, *NWAS, *archived(over))
        assert (gone.code, f"does not hold entry {found['index']}" in gone.err) == (1, True), gone.err
    finally:
        bundle.write_bytes(good)


@pytest.mark.parametrize("name", FORMS)
def test_each_export_of_an_old_log_is_the_same_to_the_byte(over: Years, name: str) -> None:
    """Closed; and dropped, with a copy of the folder it was exported to; without, it is said where that is."""
    words = (*FORMS[name], "--from", 200, "--to", 400)
    if over.state == "dropped":
        stopped = over.export(f"{name}.dropped", *words)
        assert stopped.code == 1
        assert f"{over.half}:256 {ELSEWHERE}" in stopped.err
        assert "--resume" in stopped.err
        words = (*words, "--resume", "--archive", over.archive)
    made = over.export(f"{name}.{over.state}", *words)
    assert made.code == 0, made.err
    assert (made.json["log"], made.json["rows"], made.json["others"]) == (over.old, 200, [])
    out = over.folder / f"{name}.{over.state}"
    assert out.read_bytes() == (over.folder / f"{name}.closed").read_bytes()
    good = run("audit", "export", "verify", out, "--vkey", over.vkey, "--json")
    assert (good.code, good.json["complete"]) == (0, True), good.err


def test_an_export_of_a_person_names_the_logs_that_are_not_in_it(over: Years) -> None:
    """Each is of one log, and the other one is named; what no log of the broker is, is refused."""
    for half, entry, other in ((over.half, "old", over.new), ("", "new", over.old)):
        out = over.folder / f"person.{half}.{over.state}"
        words = ("--person", "-", "--where", "event=disclosure", *WHO, *NWAS, *archived(over))
        line = ("audit", "export", "-o", out, *words, *(("--log", half) if half else ()))
        made = over.run(*line, stdin=HOME)
        assert made.code == 0, made.err
        assert [json.loads(row)["id"] for row in out.read_text().splitlines()] == [over.ids[entry]]
        assert f"Not in it: what {other} has of that time." in made.out
    refused = over.run("audit", "export", "-o", over.folder / "no", "--log", "2020h1", *WHO)
    assert (refused.code, "is no log of this broker" in refused.err) == (1, True)
    wrong = over.export("wrong", "--at", 300)
    assert (wrong.code, "is closed, and its last checkpoint" in wrong.err) == (1, True)


def test_receipts_of_both_half_years_stand_in_the_log(over: Years) -> None:
    """Reconciled against what is published, and matched with the record that was released."""
    done = over.published("reconcile", over.kept)
    assert (done.code, done.out) == (0, "4 of 4 receipts stand in the log as they say\n")
    (record,) = (over.kept / "old").glob("*.record*")
    matched = run("audit", "match", record, over.kept, "--vkey", over.vkey)
    assert (matched.code, over.ids["old"] in matched.out) == (0, True), matched.out


def test_a_monitor_goes_on_over_the_rotation(over: Years) -> None:
    """And notices nothing of a drop."""
    looked = over.published("monitor", "--state", over.folder / "monitor")
    assert (looked.code, over.new in looked.out) == (0, True), looked.out


def faults(done: Result) -> list[str]:
    """What fsck names in any log, but that entries which were filled in never had views."""
    problems = [str(each) for log in (done.json, *done.json["earlier"]) for each in log["problems"]]
    return [each for each in problems if "its views are gone" not in each]


def test_the_database_and_what_replaced_it_are_whole(over: Years) -> None:
    """Every log of the database, the published ones, and the folder; what cannot be checked is said."""
    line = ("audit", "fsck", over.dsn, "--vkey", over.vkey, "--keys", over.running.state.keys, "--json")
    done = run(*line)
    assert faults(done) == []
    (old,) = done.json["earlier"]
    assert (old["log"], old["dropped"]) == (over.old, [0] if over.state == "dropped" else [])
    told = " ".join(old["unchecked"])
    assert ("kept in an export alone" in told) is (over.state == "dropped")
    if over.state == "dropped":
        assert f"{PARTITION - 256} entries" in told
        assert old["places"] == {"0": "vault 3"}
        plain = run(*line[:-1]).out
        assert f"Entries of 0 to {PARTITION - 1} are kept in an export alone: vault 3" in plain
        whole = run(*line, *archived(over))
        (again,) = whole.json["earlier"]
        assert (faults(whole), "export alone" in " ".join(again["unchecked"])) == ([], False), again
        assert again["opened"] == old["opened"]
        folder = run("audit", "fsck", over.archive, "--vkey", over.vkey)
        assert (folder.code, folder.out.startswith(f"GOOD {over.old}")) == (0, True), folder.out
    for path in (f"/log/{over.half}", "/log"):
        assert over.published("fsck", path=path).code == 0


def test_the_index_of_every_log_is_checked_and_made_anew(over: Years) -> None:
    """What it says of each log holds, and the same is found when it has been made anew."""
    line = (over.dsn, "--keys", over.running.state.keys)
    checked = run("audit", "index", "check", *line, "--json")
    assert checked.code == 0, checked.out
    assert [each["log"] for each in checked.json["earlier"]] == [over.old]
    (found,) = over.found("--person", "-", "--where", "event=disclosure", "--log", over.half, stdin=HOME)
    rebuilt = run("audit", "index", "rebuild", *line, "--json")
    assert rebuilt.code == 0, rebuilt.err
    assert rebuilt.json["earlier"] == {over.old: over.size}
    assert run("audit", "index", "check", *line).code == 0
    again = over.found("--person", "-", "--where", "event=disclosure", "--log", over.half, stdin=HOME)
    assert again == [found]


def test_reports_read_every_log_and_say_so(over: Years) -> None:
    """A breach counts what stands in both; each log is named with how far its index reaches."""
    for report, more in (
        ("breach", ("--people",)),
        *((name, ()) for name in ("agency", "snooping", "overrides")),
    ):
        since = ("--since", "2020-01-01")
        made = over.run("audit", "report", report, *since, *WHO, *AUDITOR, "--json", *more)
        assert made.code == 0, made.err
        facts = dict(made.json["facts"]) if isinstance(made.json["facts"], list) else made.json["facts"]
        assert f"{over.old}: {over.size} of its {over.size} entries: all of them" in str(facts)
        if report == "breach":
            for name in ("old", "new"):
                assert over.ids[name] in made.out


def test_a_request_for_access_that_was_begun_before_the_rotation_is_answered(over: Years) -> None:
    """Its drafts, its clearing and its answer hold what stood before it, in whichever log that is by now."""
    access, words = over.ids["access"], ("--actor-id", "d.lee", "--role", "dpo")
    for who in (NWAS, CFRS):
        draft = over.run("audit", "report", "draft", access, "--reason", "access", *words, *who, "--json")
        assert draft.code == 0, draft.err
        assert over.ids["told"] in draft.out
        listed = over.run("audit", "report", "drafts", "--reason", "to-check", *words, *who)
        assert (listed.code, access in listed.out) == (0, over.state == "closed"), listed.err
        if over.state == "closed":
            cleared = over.run("audit", "report", "clear", access, "--all", *words, *who)
            assert cleared.code == 0, cleared.err
    line = ("audit", "report", "answer", access, "--yes", "--reason", "access", *words, *NWAS, "--json")
    answered = over.run(*line)
    assert (answered.code, over.ids["told"] in answered.out) == (0, True), answered.err
    tables = answered.json["tables"]
    assert tables == over.before.setdefault("answer", tables)


def test_a_complaint_of_the_old_half_year_is_closed_in_the_new(over: Years) -> None:
    """Acknowledged before the drop, closed after it; the report has it with its clock."""
    who = ("--actor-id", "d.lee", "--role", "dpo", *NWAS)
    step = ("acknowledge",) if over.state == "closed" else ("close",)
    more = () if over.state == "closed" else ("--outcome", "upheld", "--words", "-")
    done = over.run("audit", "complaint", *step, over.ids["complaint"], *more, *who, stdin="done\n")
    assert done.code == 0, done.err
    report = over.run("audit", "report", "complaints", *WHO, *NWAS, "--json")
    assert (report.code, "C-17" in report.out) == (0, True), report.err


async def test_a_request_id_of_the_old_half_year_is_answered_from_there(over: Years) -> None:
    """With its first entry and receipt, and the record anew under another id; of a dropped one it is said."""
    async with attached(over.running, Risks()), over.running.client() as client:
        again = ask(client, subject=("uprn", AGAIN[5:]), timeout=20, request_id=over.request_id)
        if over.state == "dropped":
            with pytest.raises(InvalidRequest, match=r"retry_of naming this one: entry .* kept in an export"):
                await again
            return
        disclosure = await again
    assert disclosure.earlier is not None
    assert parse_entry(disclosure.earlier.entry).id == over.ids["again"]
    assert origin_of(disclosure.earlier.checkpoint) == over.old
    assert origin_of(disclosure.receipt.checkpoint) == over.new
