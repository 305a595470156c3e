"""`broker audit verify` on files: no changed bit, cut or addition verifies, and exits mean what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.cli.audit_verify import BAD, GOOD, USAGE, verify_bytes, verify_files
from broker.core.checkpoint import Cosigner, Note, Signer
from broker.core.proof_file import ProofFile
from broker.core.receipt import Audience, verify_receipt
from broker.errors import IntegrityError
from tests.support.values import replace

BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


@dataclass(frozen=True)
class Files:
    """The files of one good receipt."""

    proof: Path
    entry: Path
    vkey: Path
    opening: Path
    record: Path

    def verify(self, **other: Path | None) -> tuple[int, str]:
        paths = {field.name: getattr(self, field.name) for field in fields(self)}
        return verify_files(**{**paths, **other})


@pytest.fixture
def files(tmp_path: Path, make_evidence) -> Files:
    """Writes the files of a receipt at index 5 of 12."""
    good = make_evidence(5, 6)
    receipt = good.receipt
    content = {
        "proof": ProofFile(receipt.index, receipt.proof, receipt.checkpoint).to_bytes(),
        "entry": receipt.entry,
        "vkey": f"{good.signer.vkey}\n".encode(),
        "opening": receipt.opening.to_bytes(),
        "record": good.record.to_any(),
    }
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    return Files(*(tmp_path / name for name in content))


def test_good_files_give_one_line_and_exit_0(files: Files) -> None:
    """A good receipt verifies with its record, without it, and without its opening."""
    code, verdict = files.verify()
    assert code == GOOD
    assert verdict == (
        "GOOD entry 0d6c1b52-1c5e-4b8a-9a51-7f3b0c2d4e6f of 2026-11-21T10:00:07Z is number 5 of the 12 entries "
        "in blue-light.test/log/2026h2; the opening is its requester's view (request, permit);"
        " the record is the one released"
    )
    code, verdict = files.verify(record=None)
    assert code == GOOD
    assert verdict.endswith("the record it speaks of was not given")
    code, verdict = files.verify(record=None, opening=None)
    assert code == GOOD
    assert verdict.endswith("in blue-light.test/log/2026h2")


def bits(data: bytes) -> Iterator[bytes]:
    """`data` with each single bit changed."""
    for at in range(len(data)):
        for bit in range(8):
            yield data[:at] + bytes((data[at] ^ 1 << bit,)) + data[at + 1 :]


def lengths(data: bytes) -> Iterator[bytes]:
    """`data` cut at every length, without each byte, with each byte doubled, and with more at either end."""
    for at in range(len(data)):
        yield data[:at]
        yield data[:at] + data[at + 1 :] if data[at : at + 1] != data[at + 1 : at + 2] else data[:at]
        yield data[:at] + data[at : at + 1] + data[at:]
    for more in (b"\n", b"\0", b" ", b"x", b"=", data):
        yield data + more
        yield more + data


@pytest.mark.parametrize("change", [bits, lengths])
@pytest.mark.parametrize("name", ["proof", "entry", "opening", "record"])
def test_any_change_of_any_file_is_bad(
    files: Files, name: str, change: Callable[[bytes], Iterator[bytes]]
) -> None:
    """Every single bit changed, every cut, every byte missing or doubled, and anything added gives exit 1."""
    content = {field.name: getattr(files, field.name).read_bytes() for field in fields(files)}
    assert verify_bytes(**content)[0] == GOOD
    for data in change(content[name]):
        code, verdict = verify_bytes(**{**content, name: data})
        assert (code, verdict[:4]) == (BAD, "BAD "), data
        assert "\n" not in verdict


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.sampled_from(["proof", "entry", "opening", "record"]), draw=st.data())
def test_any_replacement_of_bytes_is_bad(files: Files, name: str, draw: st.DataObject) -> None:
    """Any stretch of any file replaced by any other bytes gives exit 1."""
    path = getattr(files, name)
    good = path.read_bytes()
    start = draw.draw(st.integers(0, len(good)))
    stop = draw.draw(st.integers(start, min(len(good), start + 40)))
    data = good[:start] + draw.draw(st.binary(max_size=40)) + good[stop:]
    try:
        path.write_bytes(data)
        assert files.verify()[0] == (GOOD if data == good else BAD)
    finally:
        path.write_bytes(good)


def test_every_other_spelling_of_base64_is_bad(files: Files) -> None:
    """In each base64 word, the last characters before the padding changed to any other give exit 1."""
    good = files.proof.read_bytes()
    ends = [at for at in range(1, len(good)) if good[at : at + 1] == b"=" != good[at - 1 : at]]
    assert len(ends) >= 6
    for at in ends:
        for char in BASE64:
            if char != good[at - 1]:
                files.proof.write_bytes(good[: at - 1] + bytes((char,)) + good[at:])
                assert files.verify()[0] == BAD


def test_extra_data_is_bad(files: Files) -> None:
    """Extra data is authenticated by nothing, and no receipt of this log has any."""
    good = ProofFile.from_bytes(files.proof.read_bytes())
    files.proof.write_bytes(ProofFile(good.index, good.proof, good.checkpoint, b"trust me").to_bytes())
    code, verdict = files.verify()
    assert code == BAD
    assert "extra data" in verdict


def test_files_of_two_receipts_do_not_mix(files: Files, make_evidence) -> None:
    """An entry, opening or record of another receipt, or its proof, gives exit 1."""
    other = make_evidence(7, 9)
    swaps = {
        "proof": ProofFile(other.receipt.index, other.receipt.proof, other.receipt.checkpoint).to_bytes(),
        "entry": other.receipt.entry,
        "opening": other.receipt.opening.to_bytes(),
        "record": other.receipt.entry,
    }
    for name, data in swaps.items():
        path = getattr(files, name)
        good = path.read_bytes()
        path.write_bytes(data)
        assert files.verify()[0] == BAD
        path.write_bytes(good)
    assert files.verify()[0] == GOOD


def test_several_keys_of_which_one_signed(files: Files, signer: Signer) -> None:
    """A key file may hold several keys, newest first; one of them must be the right one."""
    newer = Signer.from_seed("blue-light.test/log/2027h1", b"n" * 32)
    files.vkey.write_text(f"{newer.vkey}\n{signer.vkey}")
    assert files.verify()[0] == GOOD
    for wrong in (
        "",
        "\n",
        f"{newer.vkey}\n",
        f"{signer.vkey}\n\n",
        f"{signer.vkey}\nnonsense\n",
        f"{signer.vkey} ",
        f"{signer.vkey}\n" * 65,
        signer.vkey[:-2],
    ):
        files.vkey.write_text(wrong)
        assert files.verify()[0] == BAD
    files.vkey.write_bytes(b"\xff\xfe")
    assert files.verify()[0] == BAD


def test_a_witness_among_the_keys_is_checked(files: Files, signer: Signer) -> None:
    """A cosignature by a key in the file must hold; by a key that is not, it is ignored."""
    witness = Cosigner.from_seed("witness.example/w1", b"w" * 32)
    good = ProofFile.from_bytes(files.proof.read_bytes())
    note = Note.parse(good.checkpoint)
    true = note.signed_by_also(witness.cosign(note.text, 1_795_000_000))
    false = note.signed_by_also(witness.cosign(note.text + "x\n", 1_795_000_000))
    for cosigned, keys, expected in (
        (true, signer.vkey, GOOD),
        (true, f"{signer.vkey}\n{witness.vkey}", GOOD),
        (true, witness.vkey, BAD),
        (false, signer.vkey, GOOD),
        (false, f"{signer.vkey}\n{witness.vkey}", BAD),
    ):
        files.proof.write_bytes(ProofFile(good.index, good.proof, cosigned.to_bytes()).to_bytes())
        files.vkey.write_text(keys)
        assert files.verify()[0] == expected


@pytest.mark.parametrize("name", ["proof", "entry", "vkey", "opening", "record"])
def test_a_missing_file_is_exit_2(files: Files, name: str) -> None:
    """A file that is not there, or a folder in its place, gives exit 2 and names it."""
    path = getattr(files, name)
    path.unlink()
    code, verdict = files.verify()
    assert code == USAGE
    assert str(path) in verdict
    path.mkdir()
    assert files.verify()[0] == USAGE


def test_a_record_without_its_opening_is_exit_2(files: Files) -> None:
    """Nothing ties a record to an entry but the opening, so the options make no sense without it."""
    assert files.verify(opening=None)[0] == USAGE


@pytest.mark.parametrize("name", ["proof", "entry", "vkey", "opening", "record"])
def test_a_huge_file_is_bad(files: Files, name: str) -> None:
    """A file past every bound is read no further than the bound, and gives exit 1."""
    with getattr(files, name).open("r+b") as file:
        file.truncate(1 << 33)
    assert files.verify()[0] == BAD


def test_a_file_cannot_write_on_the_terminal(files: Files, signer: Signer) -> None:
    """Control characters from a file do not reach the verdict."""
    missing = files.proof.with_name("a\x1b[2Jb\nGOOD")
    code, verdict = files.verify(proof=missing)
    assert code == USAGE
    assert verdict.isprintable()


def test_an_opening_of_each_audience_verifies_as_its_own(files: Files, tmp_path: Path, make_evidence) -> None:
    """An auditor's or provider's opening verifies too, and the verdict says whose view it opens."""
    sealed = make_evidence(5, 6).sealed
    for opening, whose in ((sealed.provider, "its provider's"), (sealed.full, "the full")):
        path = tmp_path / "another"
        path.write_bytes(opening.to_bytes())
        code, verdict = files.verify(opening=path)
        assert code == GOOD
        assert f"the opening is {whose} view (request, permit)" in verdict
        path.write_bytes(opening.to_bytes() + b" ")
        assert files.verify(opening=path) == (
            BAD,
            "BAD opening: it does not open the entry's commitment to the requester's view",
        )


def test_a_client_takes_only_the_requesters_view(make_evidence) -> None:
    """Without being told otherwise, verification refuses an opening of another audience's view."""
    good = make_evidence(5, 6)
    other = replace(good.receipt, opening=good.sealed.full)
    with pytest.raises(IntegrityError, match="requester's view"):
        verify_receipt(other, [good.signer.verifier], record=good.record)
    assert verify_receipt(other, [good.signer.verifier], record=good.record, audience=Audience.FULL).view
