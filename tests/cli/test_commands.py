"""The command line is built of what is wanted, and is the same as if it were built whole."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from broker.cli.commands import COMMANDS, NOUNS, build
from tests.cli.test_words import commands

WHOLE = dict(commands(typer.main.get_command(build())))


def _told(command: Any) -> str:
    """A command's words, options and defaults; where a function lies says nothing of it."""
    shown = repr((command.help, [vars(each) for each in command.params]))
    return re.sub("0x[0-9a-f]+", "", shown)


@pytest.mark.parametrize("path", WHOLE)
def test_one_alone_is_the_same_as_in_the_whole(path: str) -> None:
    """Built for a command line that begins with its names, it has the same words and options."""
    names = path.split()[1:]
    for depth in (1, 2):
        alone = dict(commands(typer.main.get_command(build(*names[:depth]))))
        assert _told(alone[path]) == _told(WHOLE[path])
        assert [each for each in alone if each.split()[1] != names[0]] == []


@pytest.mark.parametrize("first", ["", "--help", "agreemnt"])
def test_anything_else_is_told_of_all_there_is(first: str) -> None:
    """Help, and the names that a mistyped one is like."""
    made = typer.main.get_command(build(first))
    assert isinstance(made, TyperGroup)
    assert list(made.commands) == [*COMMANDS, *NOUNS]


def test_a_command_waits_for_no_other_nouns_imports() -> None:
    """`broker certs` does not read what `broker audit` needs."""
    said = "import sys; from broker.cli.commands import build; build('certs'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "broker.cli.certs" in loaded
    assert not {f"broker.cli.{name}" for name in (*COMMANDS, *NOUNS)} & loaded - {"broker.cli.certs"}
