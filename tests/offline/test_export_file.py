"""A file while it is being exported: gone on with after it was broken off, and bounded in what it takes."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from broker.core.checkpoint import Checkpoint, sign_checkpoint
from broker.core.keys import Verifier
from broker.core.merkle import EMPTY_RANGE, extend_with_proofs, leaf_hash
from broker.errors import IntegrityError, SetupError
from broker.exports import Head, Part, Range
from broker.exports import Row as Given
from broker.offline.export import forms
from broker.offline.export.file import Partial
from broker.offline.export.verify import verify
from tests.support.exporting import NAMES, begun, keys, says, world_of_kinds, written
from tests.support.exporting import given as given_of
from tests.support.static_log import ORIGIN, SIGNER, entry
from tests.support.values import replace


async def test_a_file_goes_on_from_where_it_was_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not count is cut off; the end is the same, byte for byte; nothing is overwritten."""
    monkeypatch.setattr("broker.offline.export.file.BLOCK", 1)
    monkeypatch.setattr("broker.exports.MOST", 3)
    world = await world_of_kinds()
    export = await given_of(world)
    head, parts = export[0], export[1:]
    assert isinstance(head, Head)
    for name in NAMES:
        whole = written(tmp_path / f"{name}.whole", name, export)
        path = tmp_path / name
        partial = begun(path, name, head)
        for part in parts[:1]:
            assert isinstance(part, Part)
            for row in part.rows:
                partial.add(says(head, row))
            partial.looked(part.looked, part.closed)
        partial.close()
        with pytest.raises(SetupError, match="--resume"):
            begun(path, name, head)
        lines = path.with_name(f"{name}.partial")
        lines.write_bytes(lines.read_bytes() + b'{"half a row' * 10_000)
        again = forms.form(name)
        with pytest.raises(SetupError, match="other options"):
            Partial(path, again, b"another question").resume()
        on = Partial(path, again, b"asked")
        manifest = on.resume()
        assert manifest.looked == parts[0].looked  # type: ignore[union-attr]
        with pytest.raises(IntegrityError, match="ended before its end"):
            on.finish()
        on.going_on(manifest.resumed("second"))
        for part in parts[1:]:
            assert isinstance(part, Part)
            for row in part.rows:
                on.add(says(head, row))
            on.looked(part.looked, part.closed)
        made = on.finish()
        assert path.read_bytes() == (tmp_path / f"{name}.whole").read_bytes()
        assert replace(made, entries=whole.entries) == whole
        assert verify(path, keys(world)).good
        with pytest.raises(SetupError, match="already exists"):
            begun(path, name, head)


async def test_what_was_written_and_changed_is_not_gone_on_with(tmp_path: Path) -> None:
    """Its digest says so."""
    world = await world_of_kinds()
    export = await given_of(world)
    head = export[0]
    assert isinstance(head, Head)
    partial = begun(tmp_path / "x", "jsonl", head)
    for part in export[1:]:
        assert isinstance(part, Part)
        for row in part.rows:
            partial.add(says(head, row))
        partial.looked(part.looked, 0)
    partial.close()
    lines = tmp_path / "x.partial"
    lines.write_bytes(lines.read_bytes().replace(b"permit", b"refuse", 1))
    with pytest.raises(IntegrityError, match="changed"):
        Partial(tmp_path / "x", forms.form("jsonl"), b"asked").resume()


@pytest.mark.long
@pytest.mark.parametrize("name", ["jsonl", "parquet"])
def test_a_long_export_takes_no_more_memory_than_a_short_one(tmp_path: Path, name: str) -> None:
    """Neither writing nor verifying holds more than a block of rows, or a group of columns."""
    count = 20_000
    entries = [entry(n) for n in range(count)]
    grown, proofs = extend_with_proofs(EMPTY_RANGE, [leaf_hash(each) for each in entries])
    note = sign_checkpoint(Checkpoint(ORIGIN, count, grown.root()), SIGNER)
    head = Head(note, Range(0, count, count), "5f0c7e0e-5c1d-4c53-9e5c-0b8f0a3f1c11", count, "cumberland", True)
    tracemalloc.start()
    try:
        partial = begun(tmp_path / "x", name, head)
        for n, each in enumerate(entries):
            partial.add(says(head, Given(n, each, None, None, proofs[n])))
            partial.looked(n + 1, 0)
        manifest = partial.finish()
        report = verify(tmp_path / "x", [Verifier.from_vkey(SIGNER.vkey)])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (report.problem, report.rows, report.whole, manifest.rows) == ("", count, True, count)
    assert peak < 24 << 20 < sum(block.bytes for block in manifest.blocks)


@pytest.mark.parametrize("name", ["jsonl", "parquet"])
@pytest.mark.parametrize("named", [True, False], ids=["after it was named", "before it was named"])
async def test_killed_while_it_is_named_it_is_finished(tmp_path: Path, name: str, named: bool) -> None:
    """Whatever of its last steps was done, going on does the others; nothing is asked for again."""
    world = await world_of_kinds()
    export = await given_of(world)
    whole = written(tmp_path / "whole", name, export)
    head = export[0]
    assert isinstance(head, Head)
    partial = begun(tmp_path / "x", name, head)
    for part in export[1:]:
        assert isinstance(part, Part)
        for row in part.rows:
            partial.add(says(head, row))
        partial.looked(part.looked, part.closed)
    left = {f"x.partial{end}": (tmp_path / f"x.partial{end}").read_bytes() for end in ("", ".json")}
    partial.finish()
    for file, data in left.items():
        (tmp_path / file).write_bytes(data)
    again = Partial(tmp_path / "x", forms.form(name), b"asked")
    if not named:
        (tmp_path / "x").unlink()
        assert again.done() is None
        assert again.resume().complete
        assert again.finish() == whole
    assert again.done() == whole
    assert (tmp_path / "x").read_bytes() == (tmp_path / "whole").read_bytes()
    assert not [file for file in left if (tmp_path / file).exists()]


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", NAMES)
def test_kill_9_at_every_step_of_every_form(tmp_path: Path, name: str) -> None:
    """Before and after all that the disk keeps: no file but the complete one has its name, and it goes on."""

    async def given() -> list[Head | Part]:
        return list(await given_of(await world_of_kinds()))

    (tmp_path / "given").write_bytes(pickle.dumps(asyncio.run(given())))
    line = (sys.executable, "-m", "tests.offline.killed_export", tmp_path, name)
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(line, capture_output=True, text=True, cwd=root, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert 20 < int(done.stdout) < 399
