"""What is read of a pubspec.yaml, and what is refused."""

from __future__ import annotations

import pytest

from commands.pubspec import DEPTH_MAX, NODES_MAX, PUBSPEC_BYTES_MAX, Pubspec, PubspecNotUnderstood, read_pubspec
from domain.version import ConstraintNotUnderstood


class TestReadPubspec:
    def test_reads_the_name_the_sdk_constraint_and_the_packages_from_outside(self) -> None:
        content = b"""
name: hello
environment:
  sdk: '>=3.9.0 <4.0.0'
dependencies:
  shelf: ^1.4.0
  flutter:
    sdk: flutter
"""

        assert read_pubspec(content) == Pubspec(name="hello", sdk=">=3.9.0 <4.0.0", dependencies=("shelf",))

    def test_takes_no_text_for_a_number(self) -> None:
        assert read_pubspec(b"name: 123\nenvironment:\n  sdk: 3.10.0\n").sdk == "3.10.0"

    def test_needs_neither_an_environment_nor_dependencies(self) -> None:
        assert read_pubspec(b"name: hello\ndependencies:\n") == Pubspec(name="hello")

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b"- a list", id="no mapping"),
            pytest.param(b"environment: {}", id="no name"),
            pytest.param(b"name: [a]", id="the name a list"),
            pytest.param(b"name: a\nname: b", id="a key twice"),
            pytest.param(b"name: a\n? [b]\n: c", id="a key that is no text"),
            pytest.param(b"name: a\nenvironment: none", id="environment no mapping"),
            pytest.param(b"name: a\nenvironment: {sdk: [1]}", id="sdk no text"),
            pytest.param(b"name: a\ndependencies: [b]", id="dependencies no mapping"),
            pytest.param(b"name: !!python/object:os.system a", id="a tag"),
            pytest.param(b"name: !!str a", id="a harmless tag"),
            pytest.param(b"name: &a a\nb: *a", id="an alias"),
            pytest.param(b"name: a\n  b: c", id="no YAML"),
            pytest.param(b"name: a\n--- \nname: b", id="two documents"),
            pytest.param(b"name: \xff", id="no UTF-8"),
            pytest.param(b"name: a\nb: " + b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1), id="too deep"),
            pytest.param(b"name: a\nb: [" + b"1," * NODES_MAX + b"]", id="too many values"),
            pytest.param(b"name: a\n#" + b"x" * PUBSPEC_BYTES_MAX, id="too long"),
            pytest.param(b"name: a\x00", id="a control character"),
        ],
    )
    def test_refuses(self, content: bytes) -> None:
        with pytest.raises(PubspecNotUnderstood):
            read_pubspec(content)

    def test_refuses_a_constraint_pub_would_not_read(self) -> None:
        with pytest.raises(ConstraintNotUnderstood):
            read_pubspec(b"name: a\nenvironment: {sdk: latest}")
