"""The rules of the house, for what no other tool looks at."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
FOLDERS = [*PACKAGES, "examples", "tests"]
CODE = [path for folder in PACKAGES for path in sorted((ROOT / folder).rglob("*.py"))]
MODULES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]

# A folder or file of one of these names has no noun of its own.
NAMELESS = {"utils", "util", "helpers", "helper", "common", "base", "manager", "managers", "misc", "core"}

# What decides about the truth may use these parts of the standard library, and msgspec, and nothing else.
PURE = {
    "__future__",
    "base64",
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "hmac",
    "inspect",
    "itertools",
    "json",
    "math",
    "msgspec",
    "operator",
    "re",
    "string",
    "types",
    "typing",
    "unicodedata",
    "urllib.parse",
    "uuid",
    "zoneinfo",
}


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                found |= {name.name for name in names}
            case ast.ImportFrom(module=str(module)):
                found.add(module)
            case _:
                pass
    return found


def _wrong_beginning(path: Path) -> str:
    """What is wrong with how the module begins; empty when nothing is."""
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    if not docstring:
        return "it has no docstring"
    if not docstring.split("\n\n")[0].rstrip().endswith((".", "!", "?", ":")):
        return "it does not begin with a sentence"
    return "say what it is, not that it is" if re.match(r"This (module|package|file)|Contains ", docstring) else ""


class TestPackages:
    @pytest.mark.parametrize("name", PACKAGES)
    def test_each_name_is_ours(self, name: str) -> None:
        """A stranger's wheel that ships the same name must not win."""
        assert Path(str(importlib.import_module(name).__file__)).parent == ROOT / name

    def test_all_are_known_to_every_tool(self) -> None:
        tools = PROJECT["tool"]

        assert sorted(PACKAGES) == sorted(tools["importlinter"]["root_packages"])
        assert sorted(FOLDERS) == sorted(tools["mypy"]["packages"])
        assert sorted(FOLDERS) == sorted(tools["ruff"]["lint"]["isort"]["known-first-party"])

    def test_no_folder_with_code_is_left_out(self) -> None:
        found = {path.parent.name for path in ROOT.glob("[!.]*/__init__.py")}

        assert found == set(FOLDERS)

    def test_the_map_in_the_readme_shows_them_all(self) -> None:
        shown = set(re.findall(r"`(\w+)/`", (ROOT / "README.md").read_text()))

        assert {*FOLDERS, "docs"} <= shown
        assert all((ROOT / folder).is_dir() for folder in shown if folder in FOLDERS)

    def test_the_domain_imports_nothing_impure(self) -> None:
        impure = {
            f"{_named(path)}: {module}"
            for path in sorted((ROOT / "domain").rglob("*.py"))
            for module in _imported(path)
            if not (module in PURE or module.split(".")[0] in PURE | {"domain"})
        }

        assert impure == set()


class TestModules:
    def test_each_opens_by_saying_what_it_is(self) -> None:
        assert {_named(path): wrong for path in MODULES if (wrong := _wrong_beginning(path))} == {}

    def test_each_is_named_by_a_noun_of_its_own(self) -> None:
        assert [_named(path) for path in MODULES if NAMELESS & {path.stem, path.parent.name}] == []

    @pytest.mark.parametrize("folder", FOLDERS)
    def test_lies_in_a_package(self, folder: str) -> None:
        bare = {
            _named(path.parent)
            for path in (ROOT / folder).rglob("*.py")
            if not (path.parent / "__init__.py").exists() and not path.stem.startswith("main")
        }

        assert bare == set()

    def test_each_limits_a_wait_so_that_it_can_still_be_cancelled(self) -> None:
        """Before Python 3.12 asyncio.wait_for forgets a cancellation that comes in the instant of the result
        (bpo-37658), and whoever closes waits for ever. asyncio.timeout does not."""
        assert [_named(path) for path in CODE if "asyncio.wait_for(" in path.read_text()] == []

    def test_no_name_hides_one_of_the_standard_library(self) -> None:
        assert not set(FOLDERS) & set(sys.stdlib_module_names)


class TestMigrations:
    STEPS = sorted((ROOT / "migrations" / "versions").glob("[0-9]*.py"))

    @pytest.mark.parametrize("path", STEPS, ids=_named)
    def test_each_says_its_number_and_when_it_runs(self, path: Path) -> None:
        named = re.fullmatch(r"(\d{4})_(pre|post)_\w+", path.stem)

        assert named, "0007_pre_what.py: its number, before or after the code that needs it, what it makes"
        assert f'revision = "{named[1]}"' in path.read_text()

    def test_they_follow_each_other(self) -> None:
        assert [path.stem[:4] for path in self.STEPS] == [f"{n:04}" for n in range(1, len(self.STEPS) + 1)]


class TestLocks:
    @pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
    def test_hold_hashes_and_no_addresses(self, name: str) -> None:
        lines = (ROOT / name).read_text().splitlines()

        assert any("--hash=sha256:" in line for line in lines)
        assert [line for line in lines if "://" in line or line.startswith("-")] == []

    def test_say_the_same_of_what_runs(self) -> None:
        run, develop = (
            set(re.findall(r"^[a-z0-9._-]+==\S+", (ROOT / name).read_text(), re.MULTILINE))
            for name in ("requirements.lock", "requirements-dev.lock")
        )

        assert run <= develop


def test_an_exception_from_the_security_rules_has_its_reason_beside_it() -> None:
    bare = re.compile(r"# noqa:[A-Z0-9, ]*\bS[0-9]+[A-Z0-9, ]*$")

    assert [
        f"{_named(path)}: {line}" for path in MODULES for line in path.read_text().splitlines() if bare.search(line)
    ] == []


def test_what_bandit_finds_is_excepted_from_the_same_rule_of_ruffs() -> None:
    """
    Goal: nothing that bandit finds stands without a reason.
    Method: run it over all code that meets anything foreign; ruff's rules have bandit's numbers, so each finding has to be
        excepted in its statement, whose reason the test above sees to, or in pyproject.toml for its folder.
    """
    folders = [*(folder for folder in PACKAGES if folder != "benchmarks"), "examples"]
    ran = subprocess.run(
        (sys.executable, "-m", "bandit", "-q", "-r", *folders, "-c", "pyproject.toml", "-f", "json"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    found = json.loads(ran.stdout)

    assert found["errors"] == []
    assert [
        f"{one['filename']}:{one['line_number']}: {one['test_id']} {one['issue_text']}"
        for one in found["results"]
        if not _is_excepted(one["filename"], one["line_number"], f"S{one['test_id'][1:]}")
    ] == []


def _is_excepted(name: str, line: int, rule: str) -> bool:
    folders: dict[str, list[str]] = PROJECT["tool"]["ruff"]["lint"]["per-file-ignores"]
    if any(rule in rules and name.startswith(folder.removesuffix("**")) for folder, rules in folders.items()):
        return True
    return re.search(rf"# noqa:.*\b{rule}\b", _statement(ROOT / name, line)) is not None


def _statement(path: Path, line: int) -> str:
    """The lines of the innermost statement that has this one."""
    text = path.read_text()
    around = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or line)
    ]
    innermost = min(around, key=lambda node: (node.end_lineno or line) - node.lineno)
    return "\n".join(text.splitlines()[innermost.lineno - 1 : innermost.end_lineno])
