"""Files that others have made, opened as what they are: never waited for, never followed out of their folder.

Owns that discipline for all that is checked offline. Refuses links below the folder that was named, pipes,
sockets, devices, folders nested deeper than any log's, and files that are longer than they may be.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from broker.errors import IntegrityError

# A log of 2^63 entries nests its tiles nine deep.
MAX_DEPTH = 16
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A pipe opened so returns at once, and is then refused.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_STRANGE = "is a link, or lies behind one: links are not followed (give a copy made with cp -rL)"


def read_below(root: Path, path: str, most: int) -> bytes:
    """A file at a relative path below a folder; the folder itself may be a link, nothing below it.

    Raises FileNotFoundError, OSError, IntegrityError where the file is longer than `most`.
    """
    *folders, name = path.split("/")
    folder = os.open(root, _FOLDER)
    try:
        for each in folders:
            inner = _folder(each, folder)
            os.close(folder)
            folder = inner
        return _read(_file(name, folder), path, most)
    finally:
        os.close(folder)


def read(path: Path, most: int) -> bytes:
    """A file by its own path. Raises as `read_below`."""
    return read_below(path.parent, path.name, most)


def below(root: Path) -> Iterator[tuple[str, str]]:
    """Everything below a folder that is no folder, by relative path; and why it is not to be read, or nothing.

    Sorted in each folder. Raises OSError for the folder itself.
    """
    waiting = [("", 0)]
    with os.scandir(root):  # or a folder that is not there would hold nothing
        pass
    while waiting:
        at, depth = waiting.pop()
        try:
            with os.scandir(root / at) as found:
                each = sorted(found, key=lambda one: one.name)
        except OSError as e:
            yield at, e.strerror or type(e).__name__
            continue
        inner = []
        for one in each:
            path = f"{at}/{one.name}" if at else one.name
            if one.is_symlink():
                yield path, _STRANGE
            elif one.is_dir(follow_symlinks=False):
                if depth + 1 < MAX_DEPTH:
                    inner.append((path, depth + 1))
                else:
                    yield path, "lies deeper than anything of a log"
            elif one.is_file(follow_symlinks=False):
                yield path, ""
            else:
                yield path, "is not a file"
        waiting += reversed(inner)


def _folder(name: str, within: int) -> int:
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=within)
    except OSError as e:
        # Linux says of a link that it is no folder.
        if e.errno in (errno.ENOTDIR, errno.ELOOP) and _is_link(name, within):
            raise OSError(errno.ELOOP, _STRANGE) from e
        raise


def _file(name: str, within: int) -> int:
    try:
        return os.open(name, _FILE, dir_fd=within)
    except OSError as e:
        if e.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, _STRANGE) from e
        raise


def _is_link(name: str, within: int) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=within, follow_symlinks=False).st_mode)


def _read(handle: int, path: str, most: int) -> bytes:
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "is a folder" if stat.S_ISDIR(mode) else "is not a file")
    with os.fdopen(handle, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise IntegrityError(f"{path}: longer than {most} bytes, and nothing of that name may be")
    return data
