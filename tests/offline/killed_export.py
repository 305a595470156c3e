"""An export's file killed at each of its steps: `python -m tests.offline.killed_export FOLDER FORM`.

FOLDER holds what a broker gave (`given`, pickled). A step is the moment before or after anything that the disk
keeps: a file made, written through, renamed or removed, a folder made durable. For each step a process of its
own begins, dies there by SIGKILL, and another goes on. Prints how many steps there were.
"""

from __future__ import annotations

import os
import pickle
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from broker.errors import SetupError
from broker.exports import Head, Part
from broker.offline.export import file, forms, manifest, parquet
from broker.offline.export.file import Partial
from tests.support.exporting import begun, says

MOST = 400


class Steps:
    """Counts, and ends the process at the last one."""

    def __init__(self, last: int) -> None:
        self.left = last

    def one(self) -> None:
        """A step has come."""
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, which is two steps."""

        def made(*about: Any, **named: Any) -> Any:
            self.one()
            done = call(*about, **named)
            self.one()
            return done

        return made


def export(path: Path, form: str, given: Sequence[Head | Part]) -> None:
    """As the command does it: begun, or gone on with what counts."""
    head = given[0]
    assert isinstance(head, Head)
    made = forms.form(form)
    partial = Partial(path, made, b"asked")
    if partial.done() is not None:
        return
    try:
        looked = partial.resume().looked
    except SetupError:  # nothing was begun
        partial, looked = begun(path, form, head), head.range.first
    for part in given[1:]:
        assert isinstance(part, Part)
        for row in part.rows:
            if row.index >= looked:
                partial.add(says(head, row))
        if part.looked > looked:
            partial.looked(part.looked, part.closed)
    partial.finish()


def child(work: Callable[[], None]) -> int:
    """A process of its own; how it ended."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as e:
            print(repr(e), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def dying(step: int, path: Path, form: str, given: Sequence[Head | Part]) -> None:
    """The export, up to this step."""
    steps = Steps(step)
    for owner, name in (
        (os, "fsync"),
        (os, "open"),
        (Path, "replace"),
        (Path, "unlink"),
        (file, "write_json"),
        (manifest, "sync_folder"),
        (parquet, "write"),
    ):
        setattr(owner, name, steps.around(getattr(owner, name)))
    export(path, form, given)


def main(folder: Path, form: str) -> None:
    """Every step, until it comes to its end."""
    file.BLOCK = 1
    given = pickle.loads((folder / "given").read_bytes())
    whole = folder / "whole"
    assert child(lambda: export(whole, form, given)) == 0
    step = 0
    for step in range(1, MOST):
        path = folder / f"step-{step}"
        code = child(lambda path=path, step=step: dying(step, path, form, given))  # type: ignore[misc]
        assert code in (0, -signal.SIGKILL), code
        if path.exists():
            assert path.read_bytes() == whole.read_bytes(), "it has its name only when it is complete"
            assert manifest.beside(path).exists()
        assert child(lambda path=path: export(path, form, given)) == 0, step  # type: ignore[misc]
        assert path.read_bytes() == whole.read_bytes(), step
        left = sorted(each.name for each in folder.iterdir() if re.search(rf"step-{step}\b", each.name))
        assert left == [path.name, manifest.beside(path).name], f"step {step} left {left}"
        for name in left:
            (folder / name).unlink()
        if code == 0:
            break
    print(step, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
