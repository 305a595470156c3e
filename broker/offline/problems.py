"""What a check of a whole log found: problems by their place, what was looked at, and what was not."""

from __future__ import annotations

from dataclasses import dataclass, field

MOST = 100  # problems that are named; more are counted
MISPLACED = "links to another log, and only a log's first entry, or the last of one that is closed, may"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: `index` is that of the first entry it bears on; -1 for the checkpoint.

    `kind` is checkpoint, entry, bundle (its entries may be good), tile or dropped (the list of what lies in an
    export alone); `path` the tile's or bundle's name.
    """

    kind: str
    index: int
    path: str
    text: str

    def __str__(self) -> str:
        where = f"entry {self.index}" if self.kind == "entry" else self.path
        return f"{where}: {self.text}"


@dataclass
class Report:
    """What was looked at, and what was wrong with it, by index."""

    origin: str = ""
    size: int = 0
    root: bytes = b""
    tiles: int = 0
    entries: int = 0
    rotations: int = 0
    # Checkpoints kept elsewhere that the log begins with.
    held: int = 0
    # First entry of each partition that lies in an export alone; its tiles were checked.
    dropped: list[int] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    more: int = 0
    # What was not looked at, a sentence each.
    unchecked: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def count(self) -> int:
        """How many problems there are, named or not."""
        return len(self.problems) + self.more

    @property
    def first(self) -> Problem | None:
        """The problem that comes first in the log."""
        return min(self.problems, key=lambda each: (each.index, each.kind != "entry"), default=None)

    def add(self, problem: Problem) -> None:
        """One more, named or counted."""
        if len(self.problems) < MOST:
            self.problems.append(problem)
        else:
            self.more += 1
