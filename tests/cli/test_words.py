"""Free words on the command line: they may be about somebody, and other users can read a process list."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from broker.cli import inputs
from broker.cli.commands import build

# What is given in words, by option. `--reason` is a code where the words have an option of their own.
WORDS = frozenset({"words", "reasoning", "why_overridden", "justification", "override_words", "explained"})


def commands(of: Any, name: str = "broker") -> Iterator[tuple[str, Any]]:
    """Every command below one, by its full name."""
    if not hasattr(of, "commands"):
        yield name, of
        return
    for each, command in of.commands.items():
        yield from commands(command, f"{name} {each}")


def test_words_come_from_a_line_of_standard_input_where_they_are_a_dash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each takes one line, the next one the next; what is given otherwise is taken as it is."""
    monkeypatch.setattr("sys.stdin", io.StringIO("the father is at the door\nhe was told\n"))
    assert inputs.words("as given - so") == "as given - so"
    assert inputs.words("-") == "the father is at the door"
    assert inputs.words("-") == "he was told"


def test_every_option_for_words_can_be_read_so() -> None:
    """None that was added since can be given on the command line alone."""
    found = []
    for name, command in commands(typer.main.get_command(build())):
        for option in command.params:
            if option.name in WORDS:
                found.append(name)
                assert option.type_descriptor.parameter_info.parser is inputs.words, f"{name} --{option.name}"
    assert {"broker referral decide", "broker override review", "broker request", "broker audit search"} <= {
        *found
    }
