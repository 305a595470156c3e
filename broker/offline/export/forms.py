"""The forms that an export can have, by name. Each version of a form is its name for good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from broker.errors import SetupError
from broker.offline.export import auditevent, jsonlines, otel, table
from broker.offline.export.row import Row, Said

# More than the largest row has in any form: a view of a megabyte, twice, one of them in base64.
MAX_LINE = 8 << 20


def _no_other(_line: bytes, _said: Said) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Form:
    """How a row becomes a line and a line a row. Whoever verifies writes the row again and compares; `same` may
    accept a line that says more than its receipt proves."""

    name: str
    write: Callable[[Said], bytes]
    read: Callable[[bytes], Row]
    head: bytes = b""
    same: Callable[[bytes, Said], bool] = _no_other
    # The lines are only on the way to it: it is made when they are complete.
    columnar: bool = False

    def says(self, line: bytes, said: Said) -> bool:
        """Whether the line is what this form makes of the row."""
        try:
            return self.write(said) == line or self.same(line, said)
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell and no line of ours has
            return False


FORMS = {
    each.name: each
    for each in (
        Form(jsonlines.NAME, jsonlines.write, jsonlines.read),
        Form(table.NAME, table.write, table.read, table.HEAD),
        Form("parquet", jsonlines.write, jsonlines.read, columnar=True),
        Form(auditevent.NAME, auditevent.write, auditevent.read),
        Form(otel.NAME, otel.write, otel.read, same=otel.same),
        Form(otel.DETAILED, otel.write_detailed, otel.read_detailed),
    )
}


def form(name: str) -> Form:
    """The form of that name. Raises SetupError."""
    if name not in FORMS:
        raise SetupError(f"{name} is no form of an export: there are {', '.join(FORMS)}")
    return FORMS[name]
