"""Every command explains itself, and a wrong one ends with the code for wrong usage."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli import exits
from cli.__main__ import COMMANDS, dcf
from tests.cli.conftest import Terminal
from tests.support.typed import commands_in, parse


def _commands(command: click.Command, names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield names
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _commands(found, (*names, name))


def _command(names: tuple[str, ...]) -> click.Command:
    found: click.Command | None = dcf
    for name in names:
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), name)
    assert found is not None
    return found


def _is_group(names: tuple[str, ...]) -> bool:
    return isinstance(_command(names), click.Group)


def _options(names: tuple[str, ...]) -> set[str]:
    return {option for parameter in _command(names).params for option in parameter.opts}


ROOT = Path(__file__).parents[2]
ALL = list(_commands(dcf))
# The table of docs/cli.md: what stands behind each group. `operators projections` is `projections` by its other name.
GUIDE = dict(re.findall(r"^\| `([a-z ]+)` \| (.*) \|$", (ROOT / "docs/cli.md").read_text(), flags=re.MULTILINE))
GROUPED = [
    names
    for names in ALL
    if len(names) > 1 and names[:2] != ("operators", "projections") and not any(other[:-1] == names for other in ALL)
]


class TestHelp:
    @pytest.mark.parametrize("names", ALL, ids=" ".join)
    def test_each_command_has_it(self, terminal: Terminal, names: tuple[str, ...]) -> None:
        shown = terminal.must(*names, "--help").out

        assert shown.startswith(f"Usage: {' '.join(['dcf', *names])} ")
        assert shown.splitlines()[2].strip(), "it says what the command does"

    @pytest.mark.parametrize("names", ALL, ids=" ".join)
    def test_has_examples_that_can_be_typed(self, terminal: Terminal, names: tuple[str, ...]) -> None:
        """Goal: no example is wrong. Method: each is parsed as its command would be."""
        shown = terminal.must(*names, "--help").out

        examples = commands_in(shown.partition("Examples:\n")[2].partition("\n\n")[0])

        assert examples
        for example in examples:
            parse(example)

    def test_each_that_shows_something_can_show_it_as_json(self) -> None:
        shows_nothing = {("serve",), ("logout",), ("completion",)}

        assert {names for names in ALL if not _is_group(names) and "--json" not in _options(names)} == shows_nothing

    def test_explains_the_exit_codes(self, terminal: Terminal) -> None:
        assert "3 canceled" in " ".join(terminal.must("deploy", "--help").out.split())

    @pytest.mark.parametrize("names", GROUPED, ids=" ".join)
    def test_each_command_of_a_group_is_in_the_guide(self, names: tuple[str, ...]) -> None:
        *group, name = names
        row = GUIDE.get(" ".join(group))

        assert f"`{name}`" in row if row is not None else f"`{' '.join(names[1:])}`" in GUIDE[names[0]]

    def test_all_commands_are_listed(self, terminal: Terminal) -> None:
        shown = terminal.must("--help").out

        assert all(f"\n  {name} " in shown for name in COMMANDS)

    @pytest.mark.parametrize("group", [dcf, dcf.get_command(click.Context(dcf), "audit")], ids=["dcf", "audit"])
    def test_says_of_each_command_what_it_says_itself_though_none_is_loaded(self, group: click.Group) -> None:
        context = click.Context(group)
        ours, own = context.make_formatter(), context.make_formatter()

        group.format_commands(context, ours)
        click.Group.format_commands(group, context, own)

        assert ours.getvalue() == own.getvalue()


class TestWrongUsage:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["nothing"],
            ["projects"],
            ["projects", "create"],
            ["projects", "list", "--output", "yaml"],
            ["deployments", "list", "--limit", "0"],
            ["deploy", "no/such/folder"],
            ["login", "--url", "here", "--key", "k"],
        ],
        ids=" ".join,
    )
    def test_ends_with_a_code_of_its_own(self, terminal: Terminal, arguments: list[str]) -> None:
        ended = terminal.type(*arguments)

        assert ended.code == exits.USAGE
        assert ended.err
        assert ended.out == ""

    @pytest.mark.parametrize(
        ("arguments", "next_step"),
        [
            (["deploymets"], "Did you mean dcf deployments"),
            (["projects", "creat"], "Did you mean dcf projects create?"),
            (["login", "--key-file", "no/such/file"], "Next:  dcf login --help"),
            (["log", "archive", "--older-than", "soon", "--yes"], "dcf log archive --help"),
            (["functions", "create", "hello", "--env", "A=1", "--env", "A=2", "-p", "shop"], "say it once"),
        ],
        ids=" ".join,
    )
    def test_says_what_to_type_next(self, owner: Terminal, arguments: list[str], next_step: str) -> None:
        owner.must("projects", "create", "shop")

        ended = owner.type(*arguments)

        assert ended.code == exits.USAGE
        assert next_step in ended.err


class TestCompletion:
    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_prints_a_script_the_shell_can_read(self, terminal: Terminal, shell: str) -> None:
        script = terminal.must("completion", shell).out

        assert "_DCF_COMPLETE" in script
        if program := shutil.which(shell):
            assert subprocess.run([program, "-n"], input=script, text=True, check=False).returncode == 0

    def test_completes_commands(self) -> None:
        assert _completed("dcf", "dep") == ["deploy", "deployments"]

    def test_completes_what_only_the_service_knows(self, owner: Terminal, folder: Path) -> None:
        owner.must("deploy", str(folder), "--no-wait")
        owner.must("projects", "create", "Second shop")

        assert _completed("dcf", "functions", "list", "--project", "", **owner.environment) == ["second-shop", "hello"]
        named = ("dcf", "deployments", "show", "--project", "hello", "h")
        assert _completed(*named, **owner.environment) == ["hello", "hello#1"]
        assert _completed("dcf", "functions", "show", "-p", "hello", "HE", **owner.environment) == ["hello"]
        assert _completed("dcf", "keys", "revoke", "first", **owner.environment) == ["first owner key"]
        assert "deployments:write" in _completed("dcf", "keys", "create", "ci", "--scope", "dep", **owner.environment)

    def test_offers_nothing_where_the_service_is_not(self) -> None:
        away = {"DCF_URL": "http://127.0.0.1:1", "DCF_KEY": "dcf_key"}

        assert _completed("dcf", "projects", "show", "", **away) == []


def _completed(*words: str, **environment: str) -> list[str]:
    asked = {
        "_DCF_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(word if word else "''" for word in words),
        "COMP_CWORD": str(len(words) - 1),
    }
    completed = subprocess.run(
        [sys.executable, "-m", "cli"],
        cwd=ROOT,
        env={**os.environ, **environment, **asked},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.stderr == ""
    return [line.partition(",")[2] for line in completed.stdout.splitlines() if line]
