"""Exported files: every row of every form proves itself, and a change, a gap, a cut is named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fhirkit
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.keys import Verifier
from broker.core.model import Caller
from broker.core.searchterms import Question
from broker.errors import SetupError
from broker.offline.export import forms
from broker.offline.export.manifest import beside, load
from broker.offline.export.verify import Report, verify
from tests.support.exporting import NAMES, keys, rows, world_of_kinds, written
from tests.support.exporting import given as given_of
from tests.support.values import replace
from tests.support.world import AUDITOR, caller

NWAS, CFRS = caller("nwas"), caller("cfrs")


def modes(folder: Path) -> dict[str, int]:
    """The mode of each file in it."""
    return {each.name: each.stat().st_mode & 0o777 for each in folder.iterdir()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("who", [AUDITOR, NWAS, CFRS], ids=["auditor", "requester", "provider"])
async def test_every_row_of_every_form_verifies(tmp_path: Path, name: str, who: Caller) -> None:
    """With the log's key and nothing else; the manifest says how many, of which places, to which checkpoint."""
    world = await world_of_kinds()
    export = await given_of(world, who)
    manifest = written(tmp_path / "x", name, export)
    report = verify(tmp_path / "x", keys(world))
    assert (report.problem, report.rows, report.listed) == ("", manifest.rows, True)
    assert report.rows == len(rows(export)) > 0
    # All but the one that says how the export ended.
    assert (report.size, report.whole) == (len(world.store.entries) - 1, who is AUDITOR)
    assert load(tmp_path / "x") == manifest
    assert modes(tmp_path) == {"x": 0o600, "x.manifest.json": 0o600}


@pytest.mark.parametrize("who", [AUDITOR, NWAS, CFRS], ids=["auditor", "requester", "provider"])
async def test_a_row_that_was_not_asked_for_is_named(tmp_path: Path, who: Caller) -> None:
    """By the manifest's filters, times and range, as far as the row's own view tells; what it cannot tell it
    lets by."""
    world = await world_of_kinds()
    only = Question((("event", "disclosure"), ("agency", "nwas"), ("purpose", "emergency-response")))
    manifest = written(tmp_path / "x", "jsonl", await given_of(world, who, only))
    assert manifest.rows == 2

    def told(**changes: Any) -> str:
        beside(tmp_path / "x").write_text(json.dumps(replace(manifest, **changes).as_json()))
        return verify(tmp_path / "x", keys(world)).problem

    facts = ("event=disclosure", "agency=nwas", "purpose=emergency-response")
    assert told(facts=facts) == ""
    other = told(facts=("agency=ncic", "incident=nwas/2026-11-21/0099"), incidents=("a/1/2",))
    assert other.startswith("is not by incident=nwas") is (who is AUDITOR)
    assert told(facts=("event=refusal",)).startswith("is not by event=refusal")
    assert told(facts=("outcome=refuse",)).startswith("is not by outcome=refuse")
    assert bool(told(facts=("purpose=home-fire-safety",))) is (who is AUDITOR)
    assert "began at" in told(since="2099-01-01T00:00:00+00:00")
    assert "ended before" in told(until="2020-01-01T00:00:00+00:00")
    assert "a time that is none" in told(until="soon")
    assert "is not of its manifest's range" in told(first=manifest.last_row)


@pytest.mark.parametrize("name", ["jsonl", "otlp"])
async def test_half_a_surrogate_pair_is_bad_and_no_defect(tmp_path: Path, name: str) -> None:
    """JSON can spell what no UTF-8 holds: it is not what any receipt says."""
    world = await world_of_kinds()
    written(tmp_path / "x", name, await given_of(world))
    lines = (tmp_path / "x").read_bytes().splitlines(keepends=True)
    (tmp_path / "x").write_bytes(lines[0].replace(b'"operator"', b'"\\ud800"').replace(b'"nwas"', b'"\\ud800"'))
    (tmp_path / "x.manifest.json").unlink()
    report = verify(tmp_path / "x", keys(world), name)
    assert report.problem == "says something else than its receipt"


@pytest.mark.parametrize("name", ["jsonl", "csv", "fhir", "otlp-details"])
async def test_a_changed_byte_is_named_by_its_row(tmp_path: Path, name: str) -> None:
    """Every one, wherever it stands in a row: what a row says is made again of what proves it."""
    world = await world_of_kinds()
    export = await given_of(world, NWAS)
    written(tmp_path / "x", name, export)
    whole = (tmp_path / "x").read_bytes()
    head = len(forms.form(name).head)
    line = whole.index(b"\n", head) + 1
    end = whole.index(b"\n", line)
    assert verify(tmp_path / "x", keys(world)).good
    for at in range(line, end, 11):
        changed = bytearray(whole)
        changed[at] = ord("x") if changed[at] != ord("x") else ord("y")
        (tmp_path / "x").write_bytes(changed)
        report = verify(tmp_path / "x", keys(world))
        assert (report.row, report.rows, bool(report.problem)) == (2, 1, True), (at, whole[at : at + 20])


async def test_a_changed_log_record_without_details_is_found(tmp_path: Path) -> None:
    """What proves it names the row; what it says, which nothing opens there, the manifest's digest notices."""
    world = await world_of_kinds()
    written(tmp_path / "x", "otlp", await given_of(world))
    whole = (tmp_path / "x").read_bytes()
    outcome = b'outcome","value":{"stringValue":"'
    (tmp_path / "x").write_bytes(whole.replace(outcome + b"permit", outcome + b"refuse", 1))
    assert (tmp_path / "x").read_bytes() != whole
    first = verify(tmp_path / "x", keys(world))
    assert (first.row, first.problem) == (1, "says something else than its receipt")  # the severity is another
    (tmp_path / "x").write_bytes(whole.replace(b'"stringValue":"cfrs"', b'"stringValue":"ncic"', 1))
    report = verify(tmp_path / "x", keys(world))
    assert report.problem == f"one of the rows 1 to {report.rows} is not as it was written"
    leaf = whole.index(b"bluelight.entry") + 60
    (tmp_path / "x").write_bytes(whole[:leaf] + b"A" + whole[leaf + 1 :])
    assert verify(tmp_path / "x", keys(world)).row == 1


async def test_a_changed_cell_of_a_parquet_file_is_named(tmp_path: Path) -> None:
    """Each column of it."""
    world = await world_of_kinds()
    written(tmp_path / "x", "parquet", await given_of(world))
    made = pq.read_table(tmp_path / "x")
    good = made.to_pylist()
    for column in made.column_names:
        cells = [dict(each) for each in good]
        cells[2][column] = "x" if cells[2][column] is None else _spoilt(cells[2][column])
        pq.write_table(made.from_pylist(cells, schema=made.schema), tmp_path / "x")
        report = verify(tmp_path / "x", keys(world))
        assert (report.row, report.rows) == (3, 2), column


def _spoilt(value: Any) -> Any:
    if isinstance(value, int):
        return value + 1
    if isinstance(value, list):
        return value[1:]
    if isinstance(value, str | bytes):
        return value[:-1]
    return value.replace(year=2001)


async def test_rows_that_are_missing_are_noticed(tmp_path: Path) -> None:
    """Cut off, taken out, put twice, put first: by the manifest, and in a whole range by the places."""
    world = await world_of_kinds()
    written(tmp_path / "x", "jsonl", await given_of(world))
    lines = (tmp_path / "x").read_bytes().splitlines(keepends=True)

    def after(changed: list[bytes]) -> Report:
        (tmp_path / "x").write_bytes(b"".join(changed))
        return verify(tmp_path / "x", keys(world))

    assert "rows are missing" in after(lines[:-1]).problem
    assert after([*lines[:-1], lines[-1][:-9]]).row == len(lines)
    assert "the row of entry 2 is missing" in after(lines[:2] + lines[3:]).problem
    assert "twice" in after([lines[0], *lines]).problem
    assert after([]).problem
    assert after(lines).good
    manifest = json.loads(beside(tmp_path / "x").read_bytes())
    beside(tmp_path / "x").write_text(json.dumps({**manifest, "looked": manifest["before"] - 1}))
    assert "did not come to its end" in after(lines).problem
    beside(tmp_path / "x").write_text("{}")
    assert "manifest" in after(lines).problem


@pytest.mark.parametrize(
    "changed",
    [
        {"form": ["jsonl"]},
        {"form": "xml"},
        {"v": 2},
        {"rows": "3"},
        {"rows": True},
        {"before": -2},
        {"checkpoint": None},
        {"whole": 1},
        {"facts": [1]},
        {"blocks": [[1, 2]]},
        {"blocks": [["1", 2, "x"]]},
        {"blocks": [[1, -1, "x"]]},
        {"blocks": [[1, 1 << 40, "x"]]},
        {"blocks": 7},
        {"more": 1},
    ],
    ids=str,
)
async def test_a_manifest_that_is_none_is_said(tmp_path: Path, changed: dict[str, Any]) -> None:
    """Whatever stands in it: a verdict or a sentence, and nothing is read that is not there."""
    world = await world_of_kinds()
    written(tmp_path / "x", "jsonl", await given_of(world))
    manifest = json.loads(beside(tmp_path / "x").read_bytes())
    beside(tmp_path / "x").write_text(json.dumps({**manifest, **changed}))
    try:
        assert not verify(tmp_path / "x", keys(world)).good
    except SetupError:
        assert changed == {"form": "xml"}


async def test_another_logs_key_proves_nothing(tmp_path: Path) -> None:
    """Named in the first row."""
    world, other = await world_of_kinds(), await world_of_kinds()
    written(tmp_path / "x", "csv", await given_of(world))
    stranger = replace(keys(other)[0], name="another.test/log")
    report = verify(tmp_path / "x", [stranger])
    assert (report.row, report.rows) == (1, 0)


async def test_without_a_manifest_the_form_must_be_said(tmp_path: Path) -> None:
    """And what has no such name is no form."""
    world = await world_of_kinds()
    written(tmp_path / "x", "csv", await given_of(world))
    beside(tmp_path / "x").unlink()
    for name in ("", "xml"):
        with pytest.raises(SetupError):
            verify(tmp_path / "x", keys(world), name)
    assert verify(tmp_path / "x", keys(world), "jsonl").problem
    report = verify(tmp_path / "x", keys(world), "csv")
    assert (report.good, report.listed) == (True, False)
    with pytest.raises(SetupError):
        verify(tmp_path / "none", keys(world), "csv")


async def test_views_that_are_gone_leave_rows_that_verify(tmp_path: Path) -> None:
    """In every form: the entry and its proof are still there."""
    world = await world_of_kinds()
    world.rows.gone = {1, 3}
    export = await given_of(world)
    for name in NAMES:
        assert written(tmp_path / name, name, export).closed == 2
        assert verify(tmp_path / name, keys(world)).problem == ""
    events = [json.loads(line) for line in (tmp_path / "fhir").read_bytes().splitlines()]
    for event in events:
        assert [str(issue) for issue in fhirkit.validate(event)] == []


def test_verifying_stands_on_cryptography_alone() -> None:
    """As the other checks do; pyarrow comes in for Parquet only."""
    code = (
        "import sys\nfrom broker.offline.export import verify\n"
        "print(' '.join(sorted({m.partition('.')[0] for m in sys.modules})))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    foreign = set(found.split()) - set(sys.stdlib_module_names)
    foreign -= {"broker", "cryptography", "cffi", "_cffi_backend"}
    assert {m for m in foreign if not m.startswith(("_", "sitecustomize", "__"))} == set()


@pytest.fixture(scope="module")
async def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, bytes, Sequence[Verifier]]]:
    """A file of each form that has lines, its bytes, and the key that proves it."""
    world = await world_of_kinds()
    export, folder = await given_of(world), tmp_path_factory.mktemp("forms")
    found = {}
    for name in (each for each in NAMES if each != "parquet"):
        written(folder / name, name, export)
        found[name] = (folder / name, (folder / name).read_bytes(), keys(world))
    return found


@given(
    name=st.sampled_from([each for each in NAMES if each != "parquet"]),
    where=st.floats(0, 1, exclude_max=True),
    gone=st.integers(0, 40),
    put=st.sampled_from([b"", b"null", b"[]", b"{}", b"-1", b'"', b"\n", b"9" * 5000, b"\xff"]),
)
@settings(max_examples=200, deadline=None)
def test_whatever_stands_in_a_file_is_said_and_breaks_nothing(
    files: dict[str, tuple[Path, bytes, Sequence[Verifier]]], name: str, where: float, gone: int, put: bytes
) -> None:
    """Anything in any place of a row: another verdict, and never another error."""
    path, good, verifiers = files[name]
    at = int(where * len(good))
    changed = good[:at] + put + good[at + gone :]
    path.write_bytes(changed)
    assert verify(path, verifiers).good is (changed == good)
