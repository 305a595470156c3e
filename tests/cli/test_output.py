"""What commands print, whatever was written into it by others."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout

import pytest

from broker.cli import output

HOSTILE = "a\x1b[2J\x7f\x9b1m\u202e\U000e0041\ud800 \u00e9\n"


def test_json_is_exact_and_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Every control, format and lone surrogate is escaped, and reads back as what it was."""
    output.emit_json({"name": HOSTILE})
    out = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in out)
    assert "\u00e9" in out
    assert json.loads(out) == {"name": HOSTILE}


def test_tables_show_what_was_given_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    """Lists with commas, yes and no, nothing for nothing; an empty list is a sentence; markup is text."""
    found = [{"names": ["a", "b"], "is_good": True, "none": None, "text": "[red]x[/red]\x1b"}]
    output.many(found, ("names", "is_good", "none", "text"), "there are none")
    out = capsys.readouterr().out
    assert "is good" in out
    assert [cell.strip() for cell in out.splitlines()[-1].split("\u2502")] == [
        "a, b",
        "yes",
        "",
        "[red]x[/red]\ufffd",
    ]
    output.many([], ("names",), "there are none")
    assert capsys.readouterr().out == "there are none\n"
    output.listed("things", [], ("names",), True, "there are none", {"entry": "x"})
    assert json.loads(capsys.readouterr().out) == {"things": [], "entry": "x"}


class Terminal(io.StringIO):
    """A terminal of 80 columns."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a terminal says of itself."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")


DIGEST = "0123456789abcdef" * 4


def test_tables_shorten_digests_and_times(capsys: pytest.CaptureFixture[str]) -> None:
    """The first 16 digits, minutes, and days alone; JSON has all of it."""
    found = [{"digests": [DIGEST, DIGEST], "at": "2026-11-21T10:01:02.5Z", "day": "2026-11-21T00:00:00Z"}]
    output.many(found, ("digests", "at", "day"), "")
    cells = [cell.strip() for cell in capsys.readouterr().out.splitlines()[-1].split("\u2502")]
    assert cells == ["0123456789abcdef..., 0123456789abcdef...", "2026-11-21 10:01", "2026-11-21"]
    output.listed("things", found, ("digests",), True, "")
    assert json.loads(capsys.readouterr().out) == {"things": found}


def test_a_narrow_terminal_breaks_no_id() -> None:
    """A table that does not fit becomes one block for each thing, with every value whole."""
    ids = [f"{n}{'agency-of-some-length-' * 3}" for n in range(2)]
    with redirect_stdout(Terminal()) as shown:
        rows = [{"id": each, "key": DIGEST, "none": None} for each in ids]
        output.many(rows, ("id", "key", "none"), "")
    assert shown.getvalue() == "\n".join(f"id   {each}\nkey  {DIGEST}\n" for each in ids)
    with redirect_stdout(Terminal()) as shown:
        output.many([{"id": "cfrs"}], ("id",), "")
    assert "\u2501" in shown.getvalue()


def test_several_lines_stand_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """A value's lines begin in one column, and a later field cannot be made up inside of one."""
    output.fields([("paths", "a\nb"), ("x", "c")])
    assert capsys.readouterr().out == "paths  a\n       b\nx      c\n"


def test_raw_text_is_exact_in_a_file_and_harmless_on_a_terminal(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    """Bytes for whoever verifies them; nothing that repaints a screen."""
    text = "# \u202e\r\n".encode()
    output.raw(text)
    assert capsysbinary.readouterr().out == text
    with redirect_stdout(Terminal()) as shown:
        output.raw(text)
    assert shown.getvalue() == "# \ufffd\ufffd\n"
