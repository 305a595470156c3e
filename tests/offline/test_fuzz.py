"""Whatever bytes the offline tools are given, sound ones changed or none at all: the named errors, and no
others."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.core.bundles import encode_bundle
from broker.core.keys import Verifier
from broker.core.merkle import EMPTY_RANGE, extend_with_proofs, leaf_hash
from broker.core.proof_file import ProofFile
from broker.errors import IntegrityError, SetupError
from broker.offline.export.manifest import Manifest, beside
from broker.offline.export.verify import verify
from broker.offline.fsck import fsck
from broker.offline.memory import Memory
from broker.offline.monitor import Look, look
from broker.offline.problems import MOST
from broker.offline.reading import split
from broker.offline.receipts import read, receipts
from broker.offline.reconcile import matches, reconcile
from broker.offline.source import Folder, Unreadable
from tests.support.exporting import NAMES, keys, world_of_kinds, written
from tests.support.exporting import given as given_of
from tests.support.static_log import ENTRIES, SIGNER, StaticLog, note

KEYS = (SIGNER.verifier,)
FEW = settings(max_examples=60, deadline=2000, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=150, deadline=2000, suppress_health_check=list(HealthCheck))


@st.composite
def mutated(draw: st.DrawFn, sound: bytes) -> bytes:
    """Sound bytes with up to four pieces changed, cut out, doubled or put in; or bytes of no kind."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=400))
    data = bytearray(sound)
    for _ in range(draw(st.integers(1, 4))):
        at, span = draw(st.integers(0, len(data))), draw(st.integers(0, 40))
        put = draw(st.one_of(st.binary(max_size=40), st.sampled_from(ODD)))
        how = draw(st.sampled_from(("replace", "insert", "cut", "double")))
        if how == "double":
            data[at:at] = data[at : at + span]
        else:
            data[at : at + (0 if how == "insert" else span)] = b"" if how == "cut" else put
    return bytes(data)


ODD = [
    b"\n",
    b"\n\n",
    b"\0",
    b"9" * 5000,
    "²".encode(),
    "٣".encode(),
    b"\xff",
    b"\\ud800",
    b'"',
    b"[" * 3000,
    b"-",
]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [0, -1, 1 << 63, 1 << 70, 10**400, 1.5, float("inf"), "", "x", "\ud800", "\0", "²", "9" * 5000]
    ),
    st.sampled_from([[], {}, [[]], [{}], {"": None}, {"\udfff": 1}, ["A" * 43 + "="], "A" * 44]),
    st.integers(),
    st.text(max_size=20),
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from _places(each, (*path, key))


@st.composite
def altered(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value with something in it exchanged, left out, or added."""
    made = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from([each for each in _places(made) if each] or [("x",)]))
        inner = made
        for key in path:
            inner = inner[key]
        how = draw(st.sampled_from(("exchange", "leave out", "add")))
        if how == "leave out" and (isinstance(inner, list) or last in inner):
            del inner[last]
        elif how == "add" and isinstance(inner, dict):
            inner[draw(st.text(max_size=8))] = copy.deepcopy(draw(VALUES))
        elif isinstance(inner, dict) or last < len(inner):
            inner[last] = copy.deepcopy(draw(VALUES))
        if not any(each for each in _places(made)):
            break
    return made


def folder() -> Path:
    """A folder for one example."""
    return Path(tempfile.mkdtemp(dir=_HERE[0]))


_HERE: list[Path] = []


@pytest.fixture(autouse=True)
def _here(tmp_path: Path) -> Iterator[None]:
    _HERE[:] = [tmp_path]
    yield
    _HERE.clear()


SMALL = ENTRIES[:300]
PATHS = ("checkpoint", "dropped", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000")
FILES = ("checkpoint", "tile/0/001.p/44", "tile/entries/001.p/44")


@FEW
@given(st.data())
def test_fsck_and_monitor_of_any_folder(data: st.DataObject) -> None:
    """A report or Unreadable from the one, a verdict from the other; neither grows without end."""
    where = folder()
    log = StaticLog(where / "log").write(SMALL)
    log.put("dropped", b"0 65536 " + b"0" * 64 + b"\n")
    for path in data.draw(st.lists(st.sampled_from(PATHS), min_size=1, max_size=2)):
        log.put(path, data.draw(mutated((log.root / path).read_bytes())))
    try:
        report = fsck(Folder(log.root), KEYS)
        assert len(report.problems) <= MOST
        assert len(report.unchecked) < 4
    except Unreadable:
        pass
    assert isinstance(look(Folder(log.root), KEYS, Memory(where / "state.json")), Look)


@MANY
@given(st.data())
def test_monitor_with_any_state(data: st.DataObject) -> None:
    """Bytes of any kind, and JSON of any shape: a verdict, never an exception, and never FIRST over what was
    kept."""
    where = folder()
    log = StaticLog(where / "log").write(SMALL[:10])
    state = {"checkpoints": {SIGNER.name: note(SMALL[:5]).decode(), "x/log/2026h1": "x"}}
    if data.draw(st.booleans()):
        (where / "state.json").write_bytes(data.draw(mutated(json.dumps(state).encode())))
    else:
        (where / "state.json").write_text(json.dumps(data.draw(altered(state))), errors="surrogatepass")
    assert isinstance(look(Folder(log.root), KEYS, Memory(where / "state.json")), Look)


@MANY
@given(st.data())
def test_any_receipt(data: st.DataObject) -> None:
    """It holds or it is told why not, by every reader of kept receipts."""
    where = folder()
    log = StaticLog(where / "log").write(SMALL[:20])
    _, proofs = extend_with_proofs(EMPTY_RANGE, [leaf_hash(each) for each in SMALL[:9]])
    sound = {
        "tlog-proof": ProofFile(3, proofs[3], note(SMALL[:9])).to_bytes(),
        "entry": SMALL[3],
        "opening": bytes([0]) * 32 + b"3",
        "record": b"\x0a\x01x",
    }
    for name, each in sound.items():
        if name in ("tlog-proof", "entry") or data.draw(st.booleans()):
            changed = data.draw(mutated(each)) if data.draw(st.booleans()) else each
            (where / f"a.{name}").write_bytes(changed)
    ((path, why),) = receipts(where)
    assert not why
    with contextlib.suppress(IntegrityError):
        read(path, KEYS, with_record=True)
    (found,) = reconcile(where, Folder(log.root), KEYS)
    assert found.path == path
    told = matches(b"\x0a\x01x", where, KEYS)
    assert (told.looked, len(told.found)) == (1, 0)
    assert not told.decided or not told.unsound


@MANY
@given(st.binary(max_size=3000), st.integers(1, 256))
def test_any_bundle(data: bytes, width: int) -> None:
    """What is split is what was there, to the byte."""
    entries, left = split(data, width)
    assert (encode_bundle(entries) if entries else b"") + data[len(data) - left :] == data
    assert len(entries) <= width


@dataclass
class Sound:
    """A sound export of a form."""

    lines: list[bytes]
    head: bytes
    manifest: dict[str, Any]
    whole: bytes


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Sound], list[Verifier]]:
    """One of each form, and the keys."""
    where, made = tmp_path_factory.mktemp("exports"), dict[str, Sound]()

    async def make() -> list[Verifier]:
        world = await world_of_kinds()
        given = await given_of(world)
        for form in NAMES:
            written(where / form, form, given)
            whole = (where / form).read_bytes()
            lines = whole.splitlines(keepends=True)
            head = lines.pop(0) if form == "csv" else b""
            manifest = json.loads(beside(where / form).read_bytes())
            made[form] = Sound(lines, head, manifest, whole)
        return keys(world)

    return made, asyncio.run(make())


Rewritten = Callable[[st.DataObject, Sound], bytes]


def _bytes(data: st.DataObject, sound: Sound) -> bytes:
    return data.draw(mutated(sound.whole))


def _line(data: st.DataObject, sound: Sound) -> bytes:
    line = json.loads(data.draw(st.sampled_from(sound.lines)))
    text = json.dumps(data.draw(altered(line)), ensure_ascii=data.draw(st.booleans()))
    return sound.head + text.encode("utf-8", "surrogatepass") + b"\n"


def _cells(data: st.DataObject, sound: Sound) -> bytes:
    cells = data.draw(st.sampled_from(sound.lines)).split(b",")
    cells[data.draw(st.integers(0, len(cells) - 1))] = data.draw(
        st.one_of(st.sampled_from(ODD), st.binary(max_size=9))
    )
    return sound.head + b",".join(cells)


HOW: list[tuple[str, Rewritten]] = [
    *((form, _bytes) for form in NAMES),
    *((form, _line) for form in ("jsonl", "fhir", "otlp", "otlp-details")),
    ("csv", _cells),
]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("form", "rewritten"), HOW, ids=[f"{form}{how.__name__}" for form, how in HOW])
def test_any_export(exports: tuple[dict[str, Sound], list[Verifier]], form: str, rewritten: Rewritten) -> None:
    """Of every form, with its manifest and without: a report that names what is wrong, or that it is
    unreadable."""
    made, verifiers = exports
    sound = made[form]

    @FEW
    @given(st.data())
    def one(data: st.DataObject) -> None:
        where = folder() / "x"
        changed = rewritten(data, sound)
        where.write_bytes(changed)
        if data.draw(st.booleans()):
            beside(where).write_text(json.dumps(sound.manifest))
        report = verify(where, verifiers, form)
        assert not report.listed or changed == sound.whole

    one()


@MANY
@given(st.data())
def test_any_manifest(data: st.DataObject) -> None:
    """JSON of any shape: a manifest, or IntegrityError."""
    good = {"v": 1, "form": "csv", "log": "x", "checkpoint": "x", "first": 0, "before": 3, "agency": "a"}
    good |= {"whole": True, "facts": ["x"], "about_somebody": False, "since": "", "until": "", "entries": ["x"]}
    good |= {"looked": 3, "rows": 3, "first_row": 0, "last_row": 2, "closed": 0, "bytes": 9, "sha256": "x"}
    good |= {"blocks": [[3, 9, "x"]]}
    assert Manifest.of(good).rows == 3
    with contextlib.suppress(IntegrityError):
        Manifest.of(data.draw(altered(good)))


@MANY
@given(st.data())
def test_any_manifest_file(data: st.DataObject) -> None:
    """Bytes of any kind beside an export: IntegrityError or SetupError, which the report or the exit tells."""
    where = folder() / "x"
    where.write_bytes(b"")
    beside(where).write_bytes(data.draw(mutated(b'{"v":1,"form":"csv","blocks":[[1,2,"x"]],"rows":1}')))
    with contextlib.suppress(SetupError):
        assert not verify(where, KEYS, "csv").good
