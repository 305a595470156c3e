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
from broker.config import Settings
from tests.cli.conftest import run
from tests.cli.test_words import commands

# The supervisor tells each worker, and nobody else sets them.
BY_SUPERVISOR = frozenset({"worker", "pulse_file"})
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


@pytest.mark.parametrize("columns", ["80", "140"])
def test_the_help_of_serve_has_every_setting(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    """Each on a line of its own, with what it is by default, however wide the terminal is; and no other."""
    monkeypatch.setenv("COLUMNS", columns)
    told = dict(re.findall(r"^ +BROKER_(\w+) {2,}(.+)$", run("serve", "--help").out, re.MULTILINE))
    settings = {name: field for name, field in Settings.model_fields.items() if name not in BY_SUPERVISOR}
    assert told.keys() == {name.upper() for name in settings}
    for name, field in settings.items():
        if isinstance(field.default, int | float) or (isinstance(field.default, str) and field.default):
            said = told[name.upper()].split(" ")[0].strip(";:")
            assert said == str(field.default).removesuffix(".0")


@pytest.mark.parametrize("columns", ["80", "140"])
def test_what_goes_with_an_export_is_told_of(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    """`export` does without a name of its own what its siblings have names for: both lists have these."""
    monkeypatch.setenv("COLUMNS", columns)
    for given in (("audit", "--help"), ("audit", "export", "--help")):
        told = " ".join(run(*given).out.replace("│", " ").split())
        assert "export verify FILE" in told
        assert "export send FILE" in told
    assert re.search(r"^ +broker audit export send FILE  ", run("audit", "export", "--help").out, re.MULTILINE)
