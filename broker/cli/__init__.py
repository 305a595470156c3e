"""The command line, `broker <noun> <verb>`: one module per noun, put together in `commands`.

Owns exit codes: 0 done; 1 a named failure (`broker.errors`), told in one line on standard error and, for a
refusal, in a second what can be done about it, and so also for a value that is not accepted; 2 a command line
that cannot be read: an option that is unknown, missing, or not of its form; 70 a defect, which no verdict is.
Refuses to turn an unnamed failure into a tidy message: it shows as a traceback.

Imports no command before one is run, so that `broker.cli.audit_verify` can be used with nothing but
`cryptography` installed.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from broker.cli.remedy import remedy
from broker.errors import BrokerError

# gRPC's core writes to standard error what every command says better: each connection that came to nothing.
# Its errors stay. What serves has a log of its own, and keeps all of it.
QUIET = ("GRPC_VERBOSITY", "ERROR")
_SERVES = "serve"
DEFECT = 70  # EX_SOFTWARE of sysexits(3)
INTERRUPTED = 130  # as shells say it of SIGINT
# How writing to standard output fails when nothing is wrong with us: no room, nobody who reads.
_UNWRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line on `arguments` (default: the process's) and exit."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    first, second = (*given[:2], "", "")[:2]
    if first != _SERVES:
        os.environ.setdefault(*QUIET)  # read when grpc is first imported, which is later
    try:
        _run(first, second, given)
    except BrokerError as error:
        sys.stderr.write(f"error: {error}\n")
        if what := remedy(error):
            sys.stderr.write(f"what to do: {what}\n")
        sys.exit(1)
    except OSError as error:
        if error.filename is not None or error.errno not in _UNWRITTEN:
            _defect()
        if error.errno != errno.EPIPE:  # whoever reads no more knows it
            sys.stderr.write(f"error: standard output cannot be written: {error.strerror}\n")
        _leave_unwritten()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception:  # noqa: BLE001 - shown whole, and told from every verdict
        _defect()


def _run(first: str, second: str, given: list[str]) -> None:
    """Everything, with what was said written by its end."""
    from broker.cli.commands import command_line

    try:
        command_line(first, second)(args=given)
    finally:
        # Here, where it can still be said that there was no room; the interpreter would do it too late.
        if sys.stdout is not None:
            sys.stdout.flush()


def _leave_unwritten() -> None:
    """What could not be written is not tried again as the interpreter ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _defect() -> NoReturn:
    sys.excepthook(*sys.exc_info())
    sys.exit(DEFECT)
