"""What stands in the way of a start, as one sentence for the operator.

Owns the translation of PostgreSQL's own words and of the system's errors. Refuses to guess: what it does not
know is shown as it was said.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.children import Child
from broker.errors import SetupError
from broker.store.embedded.layout import Layout

_SENTENCES = (
    ("No space left on device", "The disk that holds {folder} is full: make room and start again."),
    ("Disk quota exceeded", "The disk quota for {folder} is used up: make room and start again."),
    ("Read-only file system", "The disk that holds {folder} is read-only: name another state folder."),
    (
        "Permission denied",
        "PostgreSQL may not use all of {folder}: give its files back to the user who made it.",
    ),
    ("has invalid permissions", "Other users can read {folder}/files/data: run chmod 0700 on it."),
    ("incompatible with server", "{folder} was made by another release of PostgreSQL: dump and restore it."),
)


def explained(layout: Layout, child: Child, wait: Callable[[], None]) -> None:
    """Do `wait()`; what `child` said on failing becomes a sentence if it is known. Raises SetupError."""
    try:
        wait()
    except SetupError as e:
        said = child.last_lines()
        for words, sentence in _SENTENCES:
            if words in said:
                raise SetupError(sentence.format(folder=layout.folder)) from e
        raise


def unusable(layout: Layout, error: OSError) -> SetupError:
    """The sentence for a system error met while preparing the folders."""
    said = error.strerror or str(error)
    for words, sentence in _SENTENCES:
        if words == said and words != "Permission denied":
            return SetupError(sentence.format(folder=layout.folder))
    place = error.filename if error.filename is not None else layout.folder
    return SetupError(f"The embedded PostgreSQL cannot use {layout.folder}: {place}: {said}.")
