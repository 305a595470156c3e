"""Two verifiers of receipts that share no code give the same verdict on whatever they are given."""

from __future__ import annotations

import base64
import json
import random
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.cli.audit_verify import parse_vkeys, verify_bytes
from broker.core.checkpoint import Checkpoint, Cosigner, open_checkpoint, sign_checkpoint
from broker.core.merkle import EMPTY_ROOT, CompactRange, leaf_hash, verify_consistency
from broker.core.tiles import TILE_WIDTH, consistency_proof
from broker.errors import IntegrityError
from tests.interop.conftest import HERE
from tests.interop.mutants import WITNESSES, Question, Recipe, noise, recipes
from tests.support.static_log import ENTRIES, ORIGIN, SIGNER, entry, levels

VERDICTS = {0: "good", 1: "bad", 3: "unwitnessed"}


def nodes(node: Path, questions: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The verdicts of the verifier in Node, each with a word on why."""
    done = subprocess.run(
        [node, HERE / "verifier.mjs"],
        input="".join(f"{json.dumps(each)}\n" for each in questions),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def ours(question: Question) -> tuple[str, str]:
    """The product's verdict."""
    policy = None
    if question.policy is not None:
        lines = [f"quorum = {question.policy[0]}"]
        for n, vkey in enumerate(question.policy[1]):
            lines += ["[[witness]]", f'name = "w{n}"', f'vkey = "{vkey}"']
        policy = "\n".join(lines).encode()
    code, said = verify_bytes(
        question.proof, question.entry, question.vkey, question.opening, question.record, policy
    )
    return VERDICTS[code], said


def agree(node: Path, questions: list[Question]) -> Counter[str]:
    """How often each verdict was given; fails the test with every question on which they differ."""
    theirs = nodes(node, [each.as_json() for each in questions])
    assert len(theirs) == len(questions)
    mine = [ours(each) for each in questions]
    differ = [
        f"{question.why}: ours {said!r}, theirs {their['verdict']} {their['why']}"
        for question, (verdict, said), their in zip(questions, mine, theirs, strict=True)
        if verdict != their["verdict"]
    ]
    assert differ == [], "\n".join(differ)
    return Counter(verdict for verdict, _ in mine)


def test_both_judge_alike_what_was_changed_at_any_layer(node_alone: Path) -> None:
    """Hundreds of receipts, sealed again above what was changed: views, entries, notes, records, proofs."""
    made = [each.make() for each in recipes()]
    counts = agree(node_alone, made)
    assert len(made) > 600
    assert counts["good"] > 150
    assert counts["bad"] > 250
    assert counts["unwitnessed"] >= 5


def test_both_judge_alike_what_was_changed_by_chance(node_alone: Path) -> None:
    """Two thousand receipts with a stretch of bytes changed somewhere."""

    def note(checkpoint: Checkpoint, signer: Any) -> bytes:
        from broker.core.checkpoint import Note

        signed = Note.parse(sign_checkpoint(checkpoint, signer))
        return signed.signed_by_also(WITNESSES[0].cosign(signed.text, 1_795_000_000)).to_bytes()

    good = Recipe(note=note, policy=(1, (WITNESSES[0].vkey,))).make()
    counts = agree(node_alone, [good, *noise(good, 2000, seed=20)])
    assert counts["good"] >= 1
    assert counts["bad"] > 1500


def consistency(m: int, n: int, chance: random.Random) -> dict[str, Any]:
    """Two checkpoints and a proof between them, perhaps not of one history, perhaps changed."""
    fork = [*ENTRIES[:7], entry(9000), *ENTRIES[8:]]
    newer = chance.choice((ENTRIES, ENTRIES, ENTRIES, fork))[:n]
    low, high = min(m, n), max(m, n)
    made = levels(newer if n == high else ENTRIES[:high])
    hashes = [
        *consistency_proof(low, high, lambda t: b"".join(made[t.level][t.index * TILE_WIDTH :][: t.width]))
    ]
    match chance.randrange(8):
        case 0 if hashes:
            hashes.pop(chance.randrange(len(hashes)))
        case 1:
            hashes.insert(chance.randrange(len(hashes) + 1), chance.randbytes(32))
        case 2 if hashes:
            hashes[chance.randrange(len(hashes))] = chance.randbytes(32)
        case 3:
            hashes.reverse()
        case _:
            pass
    return {"older": _note(ENTRIES[:m]), "newer": _note(newer), "hashes": hashes}


def _note(entries: list[bytes]) -> bytes:
    root = CompactRange(0, ()).extend(leaf_hash(e) for e in entries).root() if entries else EMPTY_ROOT
    return sign_checkpoint(Checkpoint(ORIGIN, len(entries), root), SIGNER)


def test_both_judge_consistency_alike(node_alone: Path) -> None:
    """Every pair of sizes up to 24, and larger ones: of one history, of two, with a proof changed."""
    chance = random.Random(7)
    pairs = [(m, n) for m in range(25) for n in range(25)]
    pairs += [(chance.randrange(1, 300), chance.randrange(1, 300)) for _ in range(100)]
    asked = [consistency(m, n, chance) for m, n in pairs]
    vkey = f"{SIGNER.verifier.vkey}\n".encode()
    mine = [_ours(each, vkey) for each in asked]
    theirs = nodes(node_alone, [{"kind": "consistency", **_told({**each, "vkey": vkey})} for each in asked])
    differ = [
        (pair, my, their)
        for pair, my, their in zip(pairs, mine, theirs, strict=True)
        if my != (their["verdict"] == "good")
    ]
    assert differ == []
    assert 100 < sum(mine) < 450


def _told(question: dict[str, Any]) -> dict[str, Any]:
    def encoded(value: Any) -> Any:
        return [encoded(v) for v in value] if isinstance(value, list) else base64.b64encode(value).decode()

    return {key: encoded(value) for key, value in question.items()}


def _ours(question: dict[str, Any], vkey: bytes) -> bool:
    older, newer = (open_checkpoint(question[name], parse_vkeys(vkey)) for name in ("older", "newer"))
    try:
        verify_consistency(older.size, older.root, newer.size, newer.root, question["hashes"])
    except IntegrityError:
        return False
    return True


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.long
@settings(max_examples=25)
@given(st.lists(st.tuples(JSON, st.booleans(), st.booleans()), min_size=20, max_size=40))
def test_both_read_any_json_alike(node_alone: Path, values: list[tuple[Any, bool, bool]]) -> None:
    """Views with any further key, written canonically or nearly so."""
    from tests.interop.mutants import view_of

    questions = []
    for value, ascii_only, by_key in values:
        text = json.dumps(view_of(zz=value), sort_keys=by_key, separators=(",", ":"), ensure_ascii=ascii_only)
        view = text.encode("utf-8", "surrogatepass")
        questions.append(Recipe(f"{view!r}", view=view, record=None).make())
    agree(node_alone, questions)


def test_a_disagreement_would_be_seen(node_alone: Path) -> None:
    """The second verifier can say no where ours says yes: it is not told our verdict."""
    good = Recipe().make()
    stranger = Cosigner.from_seed("x.example/w", bytes(32)).vkey
    (their,) = nodes(node_alone, [{**good.as_json(), "policy": {"quorum": 1, "vkeys": [stranger]}}])
    assert (ours(good)[0], their["verdict"]) == ("good", "unwitnessed")
    (their,) = nodes(node_alone, [{**good.as_json(), "entry": ""}])
    assert (their["verdict"], their["why"]) == ("bad", "inclusion: another root")
