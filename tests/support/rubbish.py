"""Files that are not what they should be, the same in every process: what a disk, a stranger or a mistake
leaves."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

Spoil = Callable[[bytes], bytes]

_NOISE = random.Random(7).randbytes(3000)
_DEEP = 5000


def _flipped(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([each ^ 1 for each in data[at : at + 1]]) + data[at + 1 :]


CONTENTS: dict[str, Spoil] = {
    "empty": lambda _: b"",
    "a-newline": lambda _: b"\n",
    "newlines": lambda _: b"\n" * 500,
    "a-zero": lambda _: b"\0",
    "zeros": lambda _: bytes(70_000),
    "noise": lambda _: _NOISE,
    "all-ones": lambda _: b"\xff" * 4096,
    "nine-megabytes": lambda _: b"a" * (9 << 20),
    "one-long-line": lambda _: b"x " * 60_000,
    "not-utf8": lambda data: b"\xff\xfe" + data,
    "utf16": lambda _: "a log\n".encode("utf-16"),
    "byte-order-mark": lambda data: b"\xef\xbb\xbf" + data,
    "carriage-returns": lambda data: data.replace(b"\n", b"\r\n") + b"\r\n",
    "half": lambda data: data[: len(data) // 2],
    "all-but-one": lambda data: data[:-1],
    "twice": lambda data: data + data,
    "and-junk": lambda data: data + b"\x00\x05HELLO",
    "a-bit": lambda data: _flipped(data),
    "backwards": lambda data: data[::-1],
    "json-list": lambda _: b"[]",
    "json-null": lambda _: b"null",
    "json-object": lambda _: b"{}",
    "json-deep": lambda _: b"[" * _DEEP + b"]" * _DEEP,
    "json-number": lambda _: b"9" * 6000,
    "json-surrogate": lambda _: b'{"checkpoints":{"\\ud800":"\\udfff"},"v":1}',
    "json-kinds": lambda _: json.dumps({"checkpoints": {"a": 5}, "v": "1", "blocks": 7}).encode(),
    "long-number": lambda _: b"9" * 6000 + b" 1 2\n",
    "other-digits": lambda _: "²\n٣ ٤ ٥\n".encode(),
    "a-page": lambda _: b"<!doctype html><title>502 Bad Gateway</title>\n",
    "a-certificate": lambda _: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "gzip": lambda _: b"\x1f\x8b\x08\x00" + bytes(40),
    "escape-codes": lambda _: b"\x1b[2J\x1b]0;owned\x07 \xe2\x80\xae\n",
}
PLACES = ("missing", "folder", "link-to-nothing", "link-to-itself", "link-to-zeros", "pipe")


def place(path: Path, how: str, sound: bytes) -> None:
    """Put that in the place of a file or folder. `link-to-zeros` has no end, and `pipe` nobody who writes."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if how in CONTENTS:
        path.write_bytes(CONTENTS[how](sound))
    elif how == "folder":
        path.mkdir()
    elif how == "link-to-nothing":
        path.symlink_to(path.with_name("nothing-here"))
    elif how == "link-to-itself":
        path.symlink_to(path)
    elif how == "link-to-zeros":
        path.symlink_to("/dev/zero")
    elif how == "pipe":
        os.mkfifo(path)
    else:
        assert how == "missing"
