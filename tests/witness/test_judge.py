"""What a witness decides: the specification's statuses, and no two histories whatever it is sent."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from broker.core.checkpoint import Checkpoint, Cosigner, Note, Signer, open_checkpoint, sign_checkpoint
from broker.core.merkle import EMPTY_ROOT, CompactRange, leaf_hash, verify_consistency
from broker.core.tiles import TILE_WIDTH, consistency_proof
from broker.core.witness import MAX_PROOF_LINES, Accepted, Refusal, Submission, judge
from broker.errors import IntegrityError, SetupError
from broker.witness.state import WitnessState
from tests.support.static_log import ENTRIES, ORIGIN, SIGNER, entry, levels, note

KEYS = {ORIGIN: (SIGNER.verifier,)}
FORKED = [*ENTRIES[:3], entry(9000), *ENTRIES[4:]]
HISTORIES = (ENTRIES[:40], FORKED[:40])


def proof(entries: list[bytes], old: int, new: int) -> tuple[bytes, ...]:
    """Consistency between two sizes of one history."""
    made = levels(entries[:new])
    return consistency_proof(
        old,
        new,
        lambda tile: b"".join(made[tile.level][tile.index * TILE_WIDTH :][: tile.width]),
    )


def body(old: int, new: int, entries: list[bytes] = ENTRIES, **changes: object) -> bytes:
    """A submission from one size to another, good but for `changes`."""
    made = {"old_size": old, "proof": proof(entries, old, new), "note": note(entries[:new]), **changes}
    return Submission(**made).to_bytes()  # type: ignore[arg-type]


def at(size: int, entries: list[bytes] = ENTRIES) -> Checkpoint:
    """A checkpoint seen before."""
    return open_checkpoint(note(entries[:size]), KEYS[ORIGIN])


def status(data: bytes, seen: Checkpoint | None) -> tuple[int, int | None]:
    """The status and size that are answered."""
    found = judge(data, KEYS, lambda _: seen)
    return (found.status, found.size) if isinstance(found, Refusal) else (200, None)


STRANGER = Signer.from_seed(ORIGIN, bytes(32))
ELSEWHERE = Signer.from_seed("other.example/log/2026h2", bytes(32))


@pytest.mark.parametrize(
    ("data", "seen", "expected"),
    [
        (body(0, 5), None, (200, None)),
        (body(5, 9), at(5), (200, None)),
        (body(5, 5), at(5), (200, None)),
        (body(0, 0), None, (200, None)),
        (body(0, 5, note=note(ENTRIES[:5], ELSEWHERE)), None, (404, None)),
        (body(0, 5, note=note(ENTRIES[:5], STRANGER)), None, (403, None)),
        (body(9, 9, note=note(ENTRIES[:5])), at(9), (400, None)),
        (body(0, 9), at(5), (409, 5)),
        (body(3, 9), at(5), (409, 5)),
        (body(5, 9), None, (409, 0)),
        (body(5, 5, FORKED), at(5), (409, 5)),
        (body(5, 9, FORKED), at(5), (422, None)),
        (body(5, 9, proof=()), at(5), (422, None)),
        (body(5, 9, proof=(*proof(ENTRIES, 5, 9), bytes(32))), at(5), (422, None)),
        (body(0, 5, proof=(bytes(32),)), None, (422, None)),
        (body(5, 5, proof=(bytes(32),)), at(5), (422, None)),
        (b"", None, (400, None)),
        (b"old 05\n\n" + note(ENTRIES[:5]), at(5), (400, None)),
        (b"old 0\n" + note(ENTRIES[:5]), None, (400, None)),
        (b"old -1\n\n" + note(ENTRIES[:5]), None, (400, None)),
        (b"old 0\nAAAA\n\n" + note(ENTRIES[:5]), None, (400, None)),
        (body(0, 5, proof=(bytes(32),) * (MAX_PROOF_LINES + 1)), None, (400, None)),
        (body(0, 5) + b"x", None, (400, None)),
    ],
)
def test_statuses_are_those_of_the_specification(
    data: bytes, seen: Checkpoint | None, expected: tuple[int, int | None]
) -> None:
    """C2SP tlog-witness: 400, 403, 404, 409 with the size, 422, and 200 for what is proven."""
    assert status(data, seen) == expected


def test_a_fork_is_told_from_a_stale_size() -> None:
    """Two roots that the log's key signed for one size are a crime; an old size is not."""
    fork = judge(body(0, 5, FORKED), KEYS, lambda _: at(5))
    stale = judge(body(0, 9), KEYS, lambda _: at(5))
    assert (fork.forked, stale.forked) == (True, False)  # type: ignore[union-attr]


def test_lines_of_unknown_keys_are_ignored() -> None:
    """A checkpoint that others have signed too is judged by the log's own line."""
    own = Note.parse(note(ENTRIES[:5]))
    other = Cosigner.from_seed("somebody.example/w", bytes(32)).cosign(own.text, 7)
    assert status(body(0, 5, note=own.signed_by_also(other).to_bytes()), None) == (200, None)


def test_a_key_has_one_secret_spelling() -> None:
    """It comes back as it was; a log's, or one with another id, is refused."""
    cosigner = Cosigner.from_seed("w.example/1", bytes(range(32)))
    again = Cosigner.from_skey(cosigner.skey)
    assert again.vkey == cosigner.vkey
    assert again.cosign("x\n", 1) == cosigner.cosign("x\n", 1)
    for wrong in (SIGNER.skey, cosigner.vkey, cosigner.skey[:-1], cosigner.skey.replace("w.ex", "v.ex")):
        with pytest.raises(IntegrityError):
            Cosigner.from_skey(wrong)


class Machine(RuleBasedStateMachine):
    """A witness that is sent anything two histories of one key can make, and restarts when it likes."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.cosigned: list[Checkpoint] = []
        self.state = WitnessState(Path(self.folder.name), KEYS)

    @rule(old=st.integers(0, 40), new=st.integers(0, 40), which=st.sampled_from(HISTORIES), keeps=st.booleans())
    def submit(self, old: int, new: int, which: list[bytes], keeps: bool) -> None:
        """A submission, sometimes with the old size that is right; now and then a crash before the answer."""
        seen = self.state.seen(ORIGIN)
        known = seen.size if seen else 0
        from_ = min(known, new) if keeps else min(old, new)
        found = judge(body(from_, new, which), KEYS, self.state.seen)
        if isinstance(found, Accepted):
            self.state.keep(found.checkpoint, note(which[:new]))
            self.cosigned.append(found.checkpoint)
        elif found.status == 409:
            assert found.size == known
        else:
            assert (found.status, from_) == (422, known)

    @rule(new=st.integers(0, 40), which=st.sampled_from(HISTORIES))
    def crash_before_signing(self, new: int, which: list[bytes]) -> None:
        """Kept, and never answered: what is on the disk binds all the same."""
        seen = self.state.seen(ORIGIN)
        known = seen.size if seen else 0
        if known <= new:
            found = judge(body(known, new, which), KEYS, self.state.seen)
            if isinstance(found, Accepted):
                self.state.keep(found.checkpoint, note(which[:new]))
        self.restart()

    @rule()
    def restart(self) -> None:
        """What was cosigned is known again."""
        self.state.close()
        self.state = WitnessState(Path(self.folder.name), KEYS)

    @invariant()
    def one_history(self) -> None:
        """Whatever was cosigned grows, and each is a prefix of the next."""
        if not hasattr(self, "cosigned"):
            return
        for before, after in zip(self.cosigned, self.cosigned[1:], strict=False):
            assert before.size <= after.size
            shown = [e for e in HISTORIES if root(e[: after.size]) == after.root]
            assert any(root(e[: before.size]) == before.root for e in shown)
            if before.size:
                verify_consistency(
                    before.size,
                    before.root,
                    after.size,
                    after.root,
                    proof(shown[0], before.size, after.size),
                )

    def teardown(self) -> None:
        self.state.close()
        self.folder.cleanup()


def root(entries: list[bytes]) -> bytes:
    """The root of a history's beginning."""
    return CompactRange(0, ()).extend(leaf_hash(e) for e in entries).root() if entries else EMPTY_ROOT


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestWitnessMachine = Machine.TestCase
TestWitnessMachine.__doc__ = "A witness cosigns one history, whatever it is sent and whenever it restarts."


def test_a_state_folder_refuses_what_would_make_a_second_history(tmp_path: Path) -> None:
    """A second process, a file that was changed, a smaller size and another root."""
    state = WitnessState(tmp_path / "s", KEYS)
    with pytest.raises(SetupError, match="in use"):
        WitnessState(tmp_path / "s", KEYS)
    state.keep(at(9), note(ENTRIES[:9]))
    for wrong in (at(8), at(9, FORKED)):
        with pytest.raises(IntegrityError):
            state.keep(wrong, b"")
    state.close()
    (file,) = (tmp_path / "s").glob("*.checkpoint")
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(SetupError, match="bring it back"):
        WitnessState(tmp_path / "s", KEYS)
    unsigned = sign_checkpoint(at(9), STRANGER)
    file.write_bytes(unsigned)
    with pytest.raises(SetupError, match="bring it back"):
        WitnessState(tmp_path / "s", KEYS)
