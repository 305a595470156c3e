"""Receipts good and bad for two verifiers to judge: changed at every layer, and whole again above the change.

A changed byte of an entry fails at the tree, whoever parses entries; so most mutants are sealed again: their
tree, note and signatures are in order, and what is asked of them is the reading of one layer.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from broker.core.checkpoint import Checkpoint, Cosigner, Note, NoteSignature, Signer, sign_checkpoint
from broker.core.entry import commit
from broker.core.merkle import EMPTY_ROOT, CompactRange, extend_with_proofs, leaf_hash
from broker.core.proof_file import ProofFile
from broker.core.record import Record
from tests.support.static_log import ORIGIN, SIGNER

ID = "0d6c1b52-1c5e-4b8a-9a51-7f3b0c2d4e6f"
AT = "2026-11-21T10:00:07Z"
TEXTS = [
    "request_id",
    "outcome",
    "code",
    "record_type",
    "provider",
    "agreement",
    "response",
    "regime",
    "controller",
    "trace",
]
RECORD = Record("type.googleapis.com/records.fire.v1.PremisesRisk", b"\x0a\x03abc" * 3)
WITNESSES = [Cosigner.from_seed(f"w{n}.example/w", bytes([n + 1]) * 32) for n in range(3)]
SALT = bytes(range(32))


def dump(value: Any) -> bytes:
    """Canonical JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass
class Question:
    """What both verifiers are asked; `why` says what was changed."""

    why: str
    proof: bytes
    entry: bytes
    vkey: bytes
    opening: bytes | None
    record: bytes | None
    policy: tuple[int, tuple[str, ...]] | None = None

    def as_json(self) -> dict[str, Any]:
        """For Node."""
        files = {k: getattr(self, k) for k in ("proof", "entry", "vkey", "opening", "record")}
        told = {k: None if v is None else base64.b64encode(v).decode() for k, v in files.items()}
        policy = self.policy and {"quorum": self.policy[0], "vkeys": self.policy[1]}
        return {"kind": "receipt", **told, "policy": policy}


@dataclass
class Recipe:
    """A receipt to be made, layer by layer; each may be given in place of what would be made."""

    why: str = "good"
    view: bytes | None = None
    entry: bytes | None = None
    note: Callable[[Checkpoint, Signer], bytes] = field(default=lambda c, s: sign_checkpoint(c, s))
    index: int = 5
    after: int = 6
    record: bytes | None = RECORD.to_any()
    opened: bool = True
    whose: str = "requester"
    proof: Callable[[bytes], bytes] = field(default=lambda data: data)
    vkey: bytes = f"{SIGNER.verifier.vkey}\n".encode()
    policy: tuple[int, tuple[str, ...]] | None = None

    def make(self) -> Question:
        """The files."""
        view = dump(view_of()) if self.view is None else self.view
        entry = dump(entry_of(**{self.whose: commit(SALT, view)})) if self.entry is None else self.entry
        old = CompactRange(0, ()).extend(leaf_hash(b"before %d" % n) for n in range(self.index))
        batch = [leaf_hash(entry), *(leaf_hash(b"after %d" % n) for n in range(self.after))]
        grown, proofs = extend_with_proofs(old, batch)
        note = self.note(Checkpoint(ORIGIN, grown.size, grown.root()), SIGNER)
        head = ProofFile(self.index, proofs[0], b"x").to_bytes()[:-1]
        file = self.proof(head + note)
        opening = SALT + view if self.opened else None
        record = self.record if self.opened else None
        return Question(self.why, file, entry, self.vkey, opening, record, self.policy)


def view_of(**changes: Any) -> dict[str, Any]:
    """A requester's view; what is changed to `...` is left out."""
    made: dict[str, Any] = {
        "v": 1,
        "event": "disclosure",
        **dict.fromkeys(TEXTS, "x"),
        "response": RECORD.digest(),
        "code": None,
        **changes,
    }
    return {k: v for k, v in made.items() if v is not ...}


def entry_of(**changes: Any) -> dict[str, Any]:
    """An entry's object."""
    made = {
        "at": AT,
        "full": "0" * 64,
        "id": ID,
        "provider": "1" * 64,
        "requester": "2" * 64,
        "v": 1,
        **changes,
    }
    return {k: v for k, v in made.items() if v is not ...}


def deep(levels: int) -> bytes:
    """A view with so many containers one in the other, itself counted."""
    value: Any = 1
    for _ in range(levels - 1):
        value = [value]
    return dump(view_of(more=value))


# JSON as it may be written; two spaces between.
_RAW = (
    r'1.0  1e2  -0  0.5  1E400  01  NaN  Infinity  "\u00e9"  "\/"  "\ud800"  "\n"  "\u000a"  "\u001F"'
    r'  "\u001f"  "\b"  "\u0008"  [ ]  [1,]  tru  {}  {"b":1,"a":2}  [[],{}]  1  -1  "\\"  "\u005c"'
)


def _views() -> Iterator[tuple[str, bytes]]:
    good = dump(view_of())
    for key in view_of():
        yield f"view without {key}", dump(view_of(**{key: ...}))
        for value in (None, "", 1, True, False, [], {}, "é", "A" * 64, "a" * 64, 0, 2, -1):
            yield f"view with {key} {value!r}", dump(view_of(**{key: value}))
    for value in (0, -1, 2**53 - 1, 2**53, 1 - 2**53, -(2**53)):
        yield f"view with more {value!r}", dump(view_of(more=value))
    for value in ("\u2028", "\x7f", "\x1f", "\ufeff", "😀", '"\\/', "\t"):
        yield f"view with more {value!r}", dump(view_of(more=value))
    for text in _RAW.split("  "):
        raw = good.replace(b'"outcome":"x"', b'"outcome":"x","outcomf":' + text.encode())
        yield f"view with raw {text}", raw
    for levels in (2, 31, 32, 33, 34):
        yield f"view {levels} deep", deep(levels)
    yield "view with a key that is not ASCII", dump(view_of(ä=1))
    yield "view with __proto__", dump(view_of(__proto__="x"))
    yield "view with number keys", dump(view_of(more={"10": 1, "9": 2}))
    yield "view with a key twice", good[:-1] + b',"v":1}'
    yield "view with a space", good.replace(b",", b", ", 1)
    yield "view with a newline", good + b"\n"
    yield "view with a byte order mark", b"\xef\xbb\xbf" + good
    yield "view that is not UTF-8", good.replace(b'"x"', b'"\xff"', 1)
    yield "view with an encoded surrogate", good.replace(b'"x"', b'"\xed\xa0\x80"', 1)
    yield "view in another order", b'{"v":1,' + good[1:-7] + b"}"
    for other in (b"[]", b"null", b"1", b'"x"', b"{}", b"x"):
        yield f"view that is {other!r}", other


def _entries() -> Iterator[tuple[str, bytes]]:
    good = entry_of(requester=commit(SALT, dump(view_of())))
    for at in (
        "2026-02-29T10:00:00Z",
        "2028-02-29T10:00:00Z",
        "2100-02-29T00:00:00Z",
        "2000-02-29T00:00:00Z",
        "2026-13-01T10:00:00Z",
        "2026-00-01T10:00:00Z",
        "2026-11-31T10:00:00Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21T23:59:60Z",
        "2026-11-21T23:60:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2026-11-21T10:00:07z",
        "2026-11-21 10:00:07Z",
        "2026-11-21T10:00:07+00:00",
        "2026-11-21T10:00:07.0Z",
        "2026-11-21T10:00Z",
        "",
        "٢026-11-21T10:00:07Z",
    ):
        yield f"entry at {at!r}", dump({**good, "at": at})
    for identifier in (
        ID.upper(),
        ID.replace("-", ""),
        ID.replace("4b8a", "1b8a"),
        ID.replace("9a51", "ca51"),
        ID.replace("9a51", "8a51"),
        "",
        f"{ID}\n",
        f" {ID}",
    ):
        yield f"entry with id {identifier!r}", dump({**good, "id": identifier})
    for key in good:
        yield f"entry without {key}", dump({k: v for k, v in good.items() if k != key})
        for value in (None, 1, True, [], "A" * 64, "a" * 63, "a" * 64, "a" * 65, 1.5, 2):
            yield f"entry with {key} {value!r}", dump({**good, key: value})
    yield "entry with more", dump({**good, "w": 1})
    yield "entry with a space", dump(good) + b" "
    yield "entry in another order", json.dumps(dict(reversed(good.items())), separators=(",", ":")).encode()
    yield "entry too long", dump({"at": AT, "id": ID, "log": "x" * 65536, "v": 1})
    yield "entry that is empty", b""
    for log in ("x", "", "é", None, 1, "x" * 60000):
        yield f"rotation to {str(log)[:9]!r}", dump({"at": AT, "id": ID, "log": log, "v": 1})


def _signed(text: str, *signers: Signer) -> bytes:
    lines = "".join(each.sign(text).line() for each in signers or (SIGNER,))
    return f"{text}\n{lines}".encode()


def _notes() -> Iterator[tuple[str, Callable[[Checkpoint, Signer], bytes]]]:
    stranger = Signer.from_seed(ORIGIN, bytes(32))
    elsewhere = Signer.from_seed("elsewhere.example/log", bytes(range(32)))
    changes: dict[str, Callable[[str], str]] = {
        "with an extension": lambda t: t + "more\n",
        "with two extensions": lambda t: t + "more\nand more\n",
        "with an empty extension": lambda t: t + "\n",
        "with an empty one before": lambda t: t + "\nmore\n",
        "of another origin": lambda t: t.replace("blue", "red", 1),
        "of no origin": lambda t: t.replace(ORIGIN, "", 1),
        "with a leading zero": lambda t: t.replace("\n12\n", "\n012\n"),
        "with a plus": lambda t: t.replace("\n12\n", "\n+12\n"),
        "with a space": lambda t: t.replace("\n12\n", "\n12 \n"),
        "with another size": lambda t: t.replace("\n12\n", "\n13\n"),
        "with a smaller size": lambda t: t.replace("\n12\n", "\n5\n"),
        "with Arabic digits": lambda t: t.replace("\n12\n", "\n١٢\n"),
        "with a size past the bound": lambda t: t.replace("\n12\n", "\n9223372036854775808\n"),
        "with a size at the bound": lambda t: t.replace("\n12\n", "\n9223372036854775807\n"),
        "of an empty tree": lambda t: t.replace("\n12\n", "\n0\n"),
        "with carriage returns": lambda t: t.replace("\n", "\r\n"),
        "with a tab": lambda t: t + "a\tb\n",
        "with DEL": lambda t: t + "a\x7fb\n",
        "with NEL": lambda t: t + "a\x85b\n",
        "with a line separator": lambda t: t + "a\u2028b\n",
        "with two lines only": lambda t: t.rpartition("\n")[0].rpartition("\n")[0] + "\n",
        "with a root unpadded": lambda t: t.replace("=", ""),
        "with a root spelled otherwise": lambda t: t.replace("=\n", "A\n"),
        "with a root too short": lambda t: t.split("\n")[0] + "\n12\nAAAA\n",
    }
    for why, change in changes.items():
        yield f"note {why}", lambda c, s, change=change: _signed(change(c.text()), s)
    empty = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    yield "note of nothing", lambda _c, s: sign_checkpoint(empty, s)
    yield "note by a stranger", lambda c, _s: _signed(c.text(), stranger)
    yield "note by another log", lambda c, _s: _signed(c.text(), elsewhere)
    yield "note by a stranger too", lambda c, s: _signed(c.text(), stranger, s)
    yield "note signed twice", lambda c, s: _signed(c.text(), s, s)
    yield "note signed by many", lambda c, s: _signed(c.text(), s, *[elsewhere] * 31)
    yield "note signed by too many", lambda c, s: _signed(c.text(), s, *[elsewhere] * 32)
    lines: dict[str, Callable[[str], str]] = {
        "a hyphen": lambda n: n.replace("—", "-"),
        "no dash": lambda n: n.replace("— ", ""),
        "two spaces": lambda n: n.replace("— ", "—  "),
        "a space in the name": lambda n: n.replace("— blue", "— bl ue"),
        "a plus in the name": lambda n: n + "— a+b AAAAAAAA\n",
        "a no-break space in a name": lambda n: n + "— a\u00a0b AAAAAAAA\n",
        "an ideographic space in a name": lambda n: n + "— a\u3000b AAAAAAAA\n",
        "a zero-width space in a name": lambda n: n + "— a\u200bb AAAAAAAA\n",
        "a byte order mark in a name": lambda n: n + "— a\ufeffb AAAAAAAA\n",
        "NEL in a name": lambda n: n + "— a\x85b AAAAAAAA\n",
        "a control character in a name": lambda n: n + "— a\x01b AAAAAAAA\n",
        "a unit separator in a name": lambda n: n + "— a\x1fb AAAAAAAA\n",
        "an unknown line": lambda n: n + "— other AAAAAAAA\n",
        "an unknown line too short": lambda n: n + "— other AAAAAA==\n",
        "an unknown line of five bytes": lambda n: n + "— other AAAAAAA=\n",
        "an unknown line not base64": lambda n: n + "— other !!!!\n",
        "an unknown line unpadded": lambda n: n + "— other AAAAAAA\n",
        "an unknown line with base64url": lambda n: n + "— other AAAA_AAA\n",
        "an unknown line with loose bits": lambda n: n + "— other AAAAAAB=\n",
        "no final newline": lambda n: n[:-1],
        "two final newlines": lambda n: n + "\n",
        "a byte order mark": lambda n: "\ufeff" + n,
        "an empty line less": lambda n: n.replace("\n\n", "\n"),
        "an empty line more": lambda n: n.replace("\n\n", "\n\n\n"),
        "text before": lambda n: "x\n\n" + n,
        "nothing": lambda _n: "",
        "newlines only": lambda _n: "\n\n\n",
    }
    for why, change in lines.items():
        yield f"note with {why}", lambda c, s, change=change: change(sign_checkpoint(c, s).decode()).encode()
    yield "note not UTF-8", lambda c, s: sign_checkpoint(c, s) + b"\xe2\x80\x94 \xff AAAAAAAA\n"
    yield "note too long", lambda c, s: _signed(c.text() + "x" * (1 << 17) + "\n", s)


def _anys() -> Iterator[tuple[str, bytes]]:
    url, value = RECORD.type_url.encode(), RECORD.value
    first, second = b"\x0a" + bytes([len(url)]) + url, b"\x12" + bytes([len(value)]) + value
    yield "record in another order", second + first
    yield "record with a long length", b"\x0a" + bytes([len(url) | 0x80, 0]) + url + second
    yield "record with its type twice", first + first + second
    yield "record with its value twice", first + second + second
    yield "record with an unknown field", first + second + b"\x1a\x00"
    yield "record without a value", first
    yield "record with an empty value", first + b"\x12\x00"
    yield "record without a type", second
    yield "record with an empty type", b"\x0a\x00" + second
    yield "record cut", (first + second)[:-1]
    yield "record and more", first + second + b"\x00"
    yield "record with a tag of two bytes", b"\x8a\x00" + first[1:] + second
    yield "record that is empty", b""


def _proofs() -> Iterator[tuple[str, Callable[[bytes], bytes]]]:
    def lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
        def changed(data: bytes) -> bytes:
            head, _, note = data.partition(b"\n\n")
            return b"\n".join(change(head.split(b"\n"))) + b"\n\n" + note

        return changed

    yield "proof without its header", lines(lambda h: h[1:])
    yield "proof of version 2", lines(lambda h: [b"c2sp.org/tlog-proof@v2", *h[1:]])
    yield "proof with extra data", lines(lambda h: [h[0], b"extra AAAA", *h[1:]])
    yield "proof with empty extra data", lines(lambda h: [h[0], b"extra ", *h[1:]])
    for index in (*b"0 4 6 05 +5 x 12 9223372036854775807".split(), b"", b"5 ", b"9" * 19, b"9" * 40):
        yield f"proof with index {index!r}", lines(lambda h, index=index: [h[0], b"index " + index, *h[2:]])
    yield "proof without an index", lines(lambda h: [h[0], *h[2:]])
    yield "proof with a hash less", lines(lambda h: h[:-1])
    yield "proof with a hash less at first", lines(lambda h: [*h[:2], *h[3:]])
    yield "proof with a hash more", lines(lambda h: [*h, h[-1]])
    yield "proof with hashes changed about", lines(lambda h: [*h[:2], *reversed(h[2:])])
    yield "proof with a short hash", lines(lambda h: [*h[:-1], b"AAAA"])
    yield "proof with a loose hash", lines(lambda h: [*h[:-1], h[-1][:-2] + b"B="])
    yield "proof with 64 hashes", lines(lambda h: [*h, *[h[-1]] * 64])
    yield "proof with a carriage return", lines(lambda h: [each + b"\r" for each in h])
    yield "proof that is not ASCII", lines(lambda h: [h[0] + "é".encode(), *h[1:]])
    yield "proof without an empty line", lambda d: d.replace(b"\n\n", b"\n", 1)
    yield "proof with two empty lines", lambda d: d.replace(b"\n\n", b"\n\n\n", 1)
    yield "proof that is empty", lambda _d: b""


def _vkeys() -> Iterator[tuple[str, bytes]]:
    good = SIGNER.verifier.vkey
    own = good.split("+")[1]
    other = Signer.from_seed("other.example/log", bytes(32)).vkey
    for why, text in {
        "no newline": good,
        "an empty line": f"{good}\n\n",
        "another first": f"{other}\n{good}\n",
        "itself twice": f"{good}\n{good}\n",
        "another alone": f"{other}\n",
        "nothing": "",
        "a newline": "\n",
        "a space": f"{good} \n",
        "a carriage return": f"{good}\r\n",
        "an id in capitals": good.replace(own, own.upper()),
        "another id": good.replace(own, "00000000"),
        "a comment": f"# key\n{good}\n",
        "a witness": f"{good}\n{WITNESSES[0].vkey}\n",
        "a witness alone": WITNESSES[0].vkey,
        "too many": f"{good}\n" * 65,
        "as many as may be": f"{good}\n" * 64,
        "another kind": f"{ORIGIN}+00000000+{base64.b64encode(bytes([6]) + bytes(32)).decode()}",
    }.items():
        yield f"vkeys with {why}", text.encode()
    yield "vkeys not UTF-8", b"\xff" + good.encode()


def _witnessed() -> Iterator[Recipe]:
    keys = tuple(each.vkey for each in WITNESSES)

    def note(*which: int, wrong: int = -1, twice: int = -1, at: int = 1_795_000_000) -> Callable[..., bytes]:
        def made(checkpoint: Checkpoint, signer: Signer) -> bytes:
            signed = Note.parse(sign_checkpoint(checkpoint, signer))
            lines = [WITNESSES[n].cosign(signed.text + ("x\n" if n == wrong else ""), at) for n in which]
            if twice >= 0:
                lines.append(WITNESSES[twice].cosign(signed.text, at + 1))
            return signed.signed_by_also(*lines).to_bytes()

        return made

    for quorum in (1, 2, 3):
        for which in ((), (0,), (1, 2), (2, 1), (0, 1, 2)):
            yield Recipe(f"{which} of quorum {quorum}", note=note(*which), policy=(quorum, keys))
    yield Recipe("a wrong cosignature", note=note(0, 1, wrong=1), policy=(1, keys))
    yield Recipe("a wrong cosignature of somebody unknown", note=note(0, 1, wrong=1), policy=(1, keys[:1]))
    yield Recipe("a cosignature twice", note=note(0, twice=0), policy=(1, keys))
    yield Recipe("a cosignature of long ago", note=note(0, at=0), policy=(1, keys))
    yield Recipe("a cosignature of the end of time", note=note(0, at=(1 << 63) - 1), policy=(1, keys))
    yield Recipe("cosignatures and no policy", note=note(0, 1))
    yield Recipe("a wrong cosignature and no policy", note=note(0, wrong=0))

    def late(checkpoint: Checkpoint, signer: Signer) -> bytes:
        signed = Note.parse(sign_checkpoint(checkpoint, signer))
        verifier = WITNESSES[0].verifier
        line = NoteSignature(verifier.name, verifier.key_id, (1 << 63).to_bytes(8, "big") + bytes(64))
        return signed.signed_by_also(line).to_bytes()

    yield Recipe("a cosignature after the end of time", note=late, policy=(1, keys))


def recipes() -> Iterator[Recipe]:
    """All that are changed by hand."""
    yield Recipe()
    yield Recipe("without the record", record=None)
    yield Recipe("without the opening", opened=False)
    for whose in ("provider", "full"):
        yield Recipe(f"the {whose} view", whose=whose)
    for index in range(9):
        for after in range(9):
            yield Recipe(f"entry {index} of {index + after + 1}", index=index, after=after)
    for why, view in _views():
        yield Recipe(why, view=view, record=None)
    yield Recipe("a view of no record", view=dump(view_of(response=None)))
    for why, entry in _entries():
        yield Recipe(why, entry=entry)
        yield Recipe(f"{why}, not opened", entry=entry, opened=False)
    for why, note in _notes():
        yield Recipe(why, note=note)
    for why, record in _anys():
        yield Recipe(why, record=record)
    nothing = Record("a/b", b"")
    yield Recipe("a record of no value", view=dump(view_of(response=nothing.digest())), record=nothing.to_any())
    for why, proof in _proofs():
        yield Recipe(why, proof=proof)
    for why, vkey in _vkeys():
        yield Recipe(why, vkey=vkey)
    yield from _witnessed()


def noise(good: Question, count: int, seed: int) -> Iterator[Question]:
    """A good receipt with a stretch of one of its files changed, by chance."""
    chance = random.Random(seed)
    for n in range(count):
        name = chance.choice(("proof", "proof", "entry", "opening", "record", "vkey"))
        data = getattr(good, name)
        start = chance.randrange(len(data) + 1)
        stop = min(len(data), start + chance.choice((0, 1, 1, 1, 2, 8)))
        put = chance.choice((b"", b"\n", b" ", b"A", bytes([chance.randrange(256)]), data[start:stop] * 2))
        if chance.random() < 0.3 and start < len(data):
            put, stop = bytes([data[start] ^ 1 << chance.randrange(8)]), start + 1
        changed = data[:start] + put + data[stop:]
        yield replace(good, why=f"noise {n}: {name} {start}:{stop} {put!r}", **{name: changed})
