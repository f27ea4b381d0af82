"""Every test that the page of promises names is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "promises.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py(?:::[\w:]+)?)`(?: (\(proof\)))?", PAGE)


@cache
def _module(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def _way_to(name: str) -> list[ast.AST]:
    """The module, the class and the function of `file::Class::test`, as far as they are there."""
    path, *names = name.split("::")
    way: list[ast.AST] = [_module(path)]
    for wanted in names:
        way += [node for node in ast.iter_child_nodes(way[-1]) if wanted in _names_of(node)][:1]
    return way


def _names_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _is_proof(node: ast.AST) -> bool:
    """Whether all of it runs in `make proof` only."""
    marks = list(getattr(node, "decorator_list", []))
    if isinstance(node, ast.Module):
        marks = [one.value for one in node.body if isinstance(one, ast.Assign) and _names_of(one) == ["pytestmark"]]
    named = [one for mark in marks for one in (mark.elts if isinstance(mark, ast.List) else [mark])]
    return any(ast.unparse(mark) == "pytest.mark.proof" for mark in named)


def _is_there(name: str) -> bool:
    return (ROOT / name.partition("::")[0]).is_file() and len(_way_to(name)) == len(name.split("::"))


def test_a_promise_names_a_test_that_is_there() -> None:
    assert [name for name, _ in NAMED if not _is_there(name)] == []


def test_what_runs_only_in_make_proof_is_said_to() -> None:
    there = [(name, proof) for name, proof in NAMED if _is_there(name)]

    assert [name for name, proof in there if any(map(_is_proof, _way_to(name))) != bool(proof)] == []


def test_every_entry_names_one() -> None:
    entries = re.split(r"\n(?=\d+\. \*\*|- \*\*)", PAGE)[1:]

    assert len(entries) > 30
    assert [entry for entry in entries if "`tests/" not in entry and "See " not in entry] == []
