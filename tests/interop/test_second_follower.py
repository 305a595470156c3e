"""Two followers of a rotation that share no code come to the same key, or to none, whatever they are shown."""

from __future__ import annotations

import base64
import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from broker.cli.audit_verify import parse_vkeys
from broker.core.checkpoint import Signer, open_checkpoint
from broker.core.rotation import Link, follow
from broker.errors import IntegrityError
from tests.interop.conftest import HERE
from tests.support.chain import AFTER, NEXT, ORIGIN, MemoryChain, OneTree, linking

Shown = dict[str, Any]
FIELDS = ("last", "last_proof", "final", "consistency", "first", "first_proof", "head")


def chain(later: str = NEXT, word: str = "filler", seed: int = 0) -> MemoryChain:
    """Two logs of eleven and five entries."""
    made = MemoryChain(OneTree(Signer.from_seed(ORIGIN, bytes([seed] * 32))))
    made.current.grow(10, word)
    made.keys[later] = Signer.from_seed(later, bytes(range(32)))
    made.turn(later)
    made.current.grow(4)
    return made


def shown(made: MemoryChain, size: int = 6, **forged: Any) -> Shown:
    """A link with what its verifier knows."""
    link = made.linked(ORIGIN, size, **forged)
    fields = {name: getattr(link, name) for name in FIELDS}
    old = made.logs[0]
    return {**fields, "known": old.note(size), "vkey": f"{old.signer.vkey}\n".encode()}


def ours(each: Shown) -> str:
    """The key that the product comes to; empty where it refuses."""
    try:
        keys = parse_vkeys(each["vkey"])
        known = open_checkpoint(each["known"], keys)
        return follow(Link(**{name: each[name] for name in FIELDS}), known, keys).verifier.vkey
    except IntegrityError:
        return ""


def _json(value: Any) -> Any:
    return [_json(each) for each in value] if isinstance(value, tuple) else base64.b64encode(value).decode()


def theirs(node: Path, questions: list[Shown]) -> list[str]:
    """The same of the verifier in Node."""
    names = {"last_proof": "lastProof", "first_proof": "firstProof"}
    lines = [
        json.dumps({"kind": "follow", "policy": None} | {names.get(k, k): _json(v) for k, v in each.items()})
        for each in questions
    ]
    done = subprocess.run(
        [node, HERE / "verifier.mjs"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line).get("vkey", "") for line in done.stdout.splitlines()]


def forgeries() -> Iterator[Shown]:
    """Links whose parts were taken from elsewhere, and named what they must not."""
    good, other = chain(), chain(word="other")
    parts = shown(other)
    for name in FIELDS:
        yield shown(good) | {name: parts[name]}
    for later in (AFTER, "blue-light.test/log/2028h1", "green.test/log/2027h1", "blue-light.test/log/2026h1"):
        yield shown(chain(later))
    for named in ("x", "", "\n", "no\n\nnote\n", f"{ORIGIN}+00000000+AAAA"):
        forged = chain()
        old = forged.logs[0]
        old.tree = type(old.tree)([*old.tree.entries[:-1], linking(named)])
        yield shown(forged)
        forged = chain()
        new = forged.logs[1]
        new.tree = type(new.tree)([linking(named), *new.tree.entries[1:]])
        yield shown(forged)
    for size in (0, 1, 10, 11):
        yield shown(chain(), size)
    yield shown(good) | {"vkey": f"{Signer.from_seed(NEXT, bytes(32)).vkey}\n".encode() + shown(good)["vkey"]}
    yield shown(good) | {"vkey": f"{good.logs[1].signer.vkey}\n".encode() + shown(good)["vkey"]}
    yield shown(good) | {"known": other.logs[0].note(6)}


def noise(count: int) -> Iterator[Shown]:
    """Good links with a few bytes changed somewhere."""
    chance = random.Random(27)
    for _ in range(count):
        made = shown(chain(), chance.choice((0, 3, 6, 11)))
        name = chance.choice((*FIELDS, "known"))
        if isinstance(made[name], tuple):
            hashes = list(made[name])
            if hashes and chance.randrange(2):
                hashes[chance.randrange(len(hashes))] = chance.randbytes(32)
            else:
                hashes.insert(chance.randrange(len(hashes) + 1), chance.randbytes(32))
            made[name] = tuple(hashes)
        else:
            data = bytearray(made[name])
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            made[name] = bytes(data)
        yield made


def test_both_come_to_the_same_key_or_to_none(node_alone: Path) -> None:
    """Good links, forged ones, and some with bytes changed by chance: never one without the other."""
    questions = [shown(chain()), *forgeries(), *noise(300)]
    mine = [ours(each) for each in questions]
    assert theirs(node_alone, questions) == mine
    assert mine[0] == chain().logs[1].signer.vkey
    assert 8 < sum(map(bool, mine)) < 60
