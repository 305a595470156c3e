"""The key folder: private, made once, agreed on by workers that start together, never made again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker.errors import KeyMissing, SetupError
from broker.keys import FolderKeys


def _modes(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder.parent)): oct(p.stat().st_mode & 0o777) for p in folder.rglob("*")}


def test_keys_are_private_apart_and_lasting(tmp_path: Path) -> None:
    """Folders of 0700, files of 0600, every key its own, and the same ones at the next start."""
    old = os.umask(0)
    try:
        ring = FolderKeys(tmp_path / "keys")
        keys = [
            ring.signing_seed(),
            ring.index_key(),
            ring.make_wrapping_key("2026-11", "standard"),
            ring.make_wrapping_key("2026-12", "standard"),
            ring.make_wrapping_key("2026-12", "long"),
            ring.make_log_seed("2027h1"),
        ]
    finally:
        os.umask(old)
    assert len(set(keys)) == 6
    assert {len(k) for k in keys} == {32}
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert _modes(tmp_path / "keys") == {
        "keys/log.key": "0o600",
        "keys/index.key": "0o600",
        "keys/logs": "0o700",
        "keys/logs/2027h1.key": "0o600",
        "keys/views": "0o700",
        "keys/views/2026-11.standard.key": "0o600",
        "keys/views/2026-12.standard.key": "0o600",
        "keys/views/2026-12.long.key": "0o600",
    }
    again = FolderKeys(tmp_path / "keys")
    assert [again.signing_seed(), again.index_key(), again.wrapping_key("2026-11", "standard")] == keys[:3]
    assert [again.log_seed("2027h1"), again.log_seed("2027h2")] == [keys[5], None]


def test_a_key_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    """Asked for as an earlier one, a key that is not there is missing, which says what to bring back."""
    ring = FolderKeys(tmp_path / "keys")
    ring.make_wrapping_key("2026-10", "standard")
    key = tmp_path / "keys" / "views" / "2026-10.standard.key"
    key.unlink()
    for _ in range(2):
        with pytest.raises(KeyMissing, match=r"bring back views/2026-10\.standard\.key"):
            ring.wrapping_key("2026-10", "standard")
    assert not key.exists()


@pytest.mark.parametrize(
    ("month", "retention"),
    [
        ("2026-13", "standard"),
        ("../../x", "standard"),
        ("2026-10", "../x"),
        ("2026-10", ""),
        ("2026-10", "a\n"),
        ("٢٠٢٦-10", "standard"),
    ],
)
def test_names_are_months_and_classes(tmp_path: Path, month: str, retention: str) -> None:
    """No other name reaches the file system."""
    ring = FolderKeys(tmp_path / "keys")
    for use in (ring.wrapping_key, ring.make_wrapping_key):
        with pytest.raises(ValueError, match="not a month"):
            use(month, retention)
    assert list((tmp_path / "keys").rglob("*")) == [tmp_path / "keys" / "views"]


def test_what_others_can_read_is_refused(tmp_path: Path) -> None:
    """A folder or key that others may read is refused with the command that mends it."""
    ring = FolderKeys(tmp_path / "keys")
    ring.index_key()
    (tmp_path / "keys" / "index.key").chmod(0o640)
    with pytest.raises(SetupError, match="run: chmod 600"):
        ring.index_key()
    (tmp_path / "keys" / "views").chmod(0o750)
    with pytest.raises(SetupError, match="run: chmod 700"):
        FolderKeys(tmp_path / "keys")


@pytest.mark.parametrize("content", ["", "zz" * 32, "ab" * 31, "ab" * 33, "\xe9" * 64])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, content: str) -> None:
    """What is not 64 hex digits is refused, never replaced."""
    ring = FolderKeys(tmp_path / "keys")
    (tmp_path / "keys" / "log.key").write_text(content)
    (tmp_path / "keys" / "log.key").chmod(0o600)
    with pytest.raises(SetupError, match=r"log\.key"):
        ring.signing_seed()
    assert (tmp_path / "keys" / "log.key").read_text() == content


def test_no_place_for_keys_is_said(tmp_path: Path) -> None:
    """A folder that cannot be made is the operator's to fix."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="key folder"):
        FolderKeys(tmp_path / "file" / "keys")


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    """Several processes at their first use get one key, and leave nothing half written."""
    FolderKeys(tmp_path / "keys")
    code = (
        "import sys, time, pathlib; from broker.keys import FolderKeys;"
        "ring = FolderKeys(pathlib.Path(sys.argv[1])); print('ready', flush=True); sys.stdin.readline();"
        "print(*(ring.make_wrapping_key(f'{y}-01', 'standard').hex() for y in range(2000, 2060)))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "keys")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = {process.communicate(timeout=30)[0] for process in processes}
    assert len(said) == 1
    assert len(list((tmp_path / "keys" / "views").iterdir())) == 60
