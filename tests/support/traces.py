"""Whether words stand anywhere in files, however they were written down.

A word is looked for as it is, as UTF-16, in hexadecimal and in base64 at each of its three alignments, in
either case. What was compressed or encrypted is not found; who needs that looks at what it was made from.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path


def spellings(word: str) -> tuple[bytes, ...]:
    """Lower-case byte strings, one of which is in any lower-cased text that holds `word`."""
    raw = word.encode()
    found = {raw.lower(), word.lower().encode("utf-16-le"), raw.hex().encode()}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw)
        # The characters at either end hold bits of the neighbours too, so they depend on them.
        whole = slice((0, 2, 3)[before], (before + len(raw)) * 8 // 6)
        found.add(encoded[whole].lower())
    return tuple(sorted(found))


def traces(words: Iterable[str], data: bytes) -> list[str]:
    """Those of the words that stand in `data`."""
    lowered = data.lower()
    return [word for word in words if any(spelling in lowered for spelling in spellings(word))]


def found_in(words: Iterable[str], folder: Path, but: Iterable[Path] = ()) -> dict[str, list[str]]:
    """File below `folder` -> words that stand in it, files below `but` left out; names of files count too."""
    wanted, excluded = tuple(words), tuple(but)
    found: dict[str, list[str]] = {}
    for path in files(folder):
        if any(path.is_relative_to(each) for each in excluded):
            continue
        if hits := traces(wanted, str(path).encode() + b"\n" + path.read_bytes()):
            found[str(path.relative_to(folder))] = hits
    return found


def files(folder: Path) -> Iterator[Path]:
    """Every regular file below `folder`."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
