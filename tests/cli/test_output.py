"""What commands print, whatever was written into it by others."""

from __future__ import annotations

import json

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
    output.many(found, ("names", "is_good", "none", "text"), False, "there are none")
    out = capsys.readouterr().out
    assert "is good" in out
    assert [cell.strip() for cell in out.splitlines()[-1].split("\u2502")] == [
        "a, b",
        "yes",
        "",
        "[red]x[/red]\ufffd",
    ]
    output.many([], ("names",), False, "there are none")
    assert capsys.readouterr().out == "there are none\n"
    output.many([], ("names",), True, "there are none")
    assert json.loads(capsys.readouterr().out) == []
