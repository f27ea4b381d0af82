"""What the documentation names is there: commands, settings, functions, files."""

from __future__ import annotations

import importlib
import re
from contextlib import suppress
from pathlib import Path

import click
import msgspec
import pytest

from cli import exits
from cli.__main__ import COMMANDS
from process.settings import PREFIX, Settings
from tests.support.typed import commands_in, parse

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "examples" / "README.md"]
_BLOCKS = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
# Variables that are no settings of the service: the command line's own, and those of applications on the bridge.
_OTHERS = {"DCF_URL", "DCF_KEY", "DCF_PROJECT", "DCF_TENANT"}


def _named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _inline(page: Path) -> list[str]:
    return _INLINE.findall(_BLOCKS.sub("", page.read_text()))


@pytest.mark.parametrize("page", PAGES, ids=_named)
class TestEveryPage:
    def test_names_commands_that_can_be_typed(self, page: Path) -> None:
        for block in _BLOCKS.findall(page.read_text()):
            for words in commands_in(block):
                parse(words)
        for text in _inline(page):
            for words in commands_in(text):
                # In a sentence a command, or a group of them, is spoken of without what it takes.
                with suppress(click.exceptions.NoArgsIsHelpError, click.MissingParameter):
                    parse(words)

    def test_names_files_that_are_there(self, page: Path) -> None:
        paths = [text for text in _inline(page) if re.fullmatch(r"(docs|examples|tests|migrations)/[\w./-]+", text)]

        assert [path for path in paths if not (ROOT / path).exists()] == []

    def test_names_variables_that_are_read(self, page: Path) -> None:
        named = set(re.findall(r"\bDCF_[A-Z_]*[A-Z]\b", page.read_text()))
        known = {PREFIX + field.encode_name.upper() for field in msgspec.structs.fields(Settings)}

        assert named - known - _OTHERS == set()


class TestLifecycle:
    def test_names_functions_that_are_there(self) -> None:
        """Goal: who follows a deployment through the code finds every step. Method: each name is imported."""
        dotted = [name for name in _inline(ROOT / "docs" / "lifecycle.md") if re.fullmatch(r"[a-z_]+(\.\w+)+", name)]
        # The others are types of events.
        names = [name for name in dotted if (ROOT / name.partition(".")[0] / "__init__.py").exists()]

        missing = [
            name
            for name in names
            if not hasattr(importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2])
        ]

        assert len(names) > 15
        assert missing == []


class TestOperations:
    def test_lists_every_setting(self) -> None:
        page = (ROOT / "docs" / "operations.md").read_text()

        missing = [
            field.encode_name
            for field in msgspec.structs.fields(Settings)
            if f"`{PREFIX}{field.encode_name.upper()}`" not in page
        ]

        assert missing == []


class TestCommandLine:
    PAGE = (ROOT / "docs" / "cli.md").read_text()

    def test_lists_every_command(self) -> None:
        assert [name for name in COMMANDS if f"`{name}" not in self.PAGE] == []

    def test_lists_every_exit_code(self) -> None:
        codes = {value for name, value in vars(exits).items() if name.isupper()}

        assert {int(code) for code in re.findall(r"^\| (\d+) \|", self.PAGE, re.MULTILINE)} == codes
