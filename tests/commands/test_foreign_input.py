"""Whatever stands in an uploaded file, it is read or refused: in bounded time and memory, and never otherwise.

Goal: nobody's file stops the service. Method: files made of the pieces that mean something to each reader, and the worst of
them we could think of at full length.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from resource import RUSAGE_SELF, getrusage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.dart_source import SOURCE_BYTES_MAX, declares_main
from commands.dockerfile import DOCKERFILE_BYTES_MAX, NAMES_MAX, notices, read_dockerfile
from commands.pubspec import PUBSPEC_BYTES_MAX, read_pubspec
from domain.refusal import Invalid
from domain.version import VersionConstraint

# Ten times what the slowest takes.
SECONDS_MAX = 3.0
MEMORY_KIB_MAX = 100_000
MESSAGE_CHARACTERS_MAX = 1_000

FILES = settings(max_examples=120)


def files(*pieces: str) -> st.SearchStrategy[bytes]:
    """Files of these pieces, with anything between them now and then, and not always UTF-8."""
    words = st.one_of(st.sampled_from(pieces), st.sampled_from(pieces), st.text(max_size=4))
    texts = st.lists(words, max_size=25).map("".join)
    return st.one_of(texts.map(lambda text: text.encode("utf-8", "replace")), st.binary(max_size=30))


def read(reader: Callable[[bytes], object], content: bytes) -> None:
    """Read or refuse it. A refusal says why in a message somebody can read."""
    refused: list[Invalid] = []
    try:
        reader(content)
    except Invalid as refusal:
        refused.append(refusal)
    for told in refused:
        assert told.remedy
        assert len(told.detail) < MESSAGE_CHARACTERS_MAX
        told.detail.encode()


class TestAnyFile:
    @FILES
    @given(
        files(
            *("name: a\n", "environment:\n", "  sdk: ", "'^3.9.0'\n", "dependencies:\n", "  shelf: any\n", "- ", "? "),
            *(
                ": ",
                "\n",
                "  ",
                "[",
                "]",
                "{",
                "}",
                ",",
                "&a ",
                "*a",
                "!!str ",
                "|\n",
                ">-\n",
                "---\n",
                "...\n",
                "%YAML 1.1\n",
            ),
            *('"', "'", "\\U00110000", "\\UFFFFFFFF", "\\ud800", "\\x", "\t", "\x00", "<<: ", "~", "#"),
        )
    )
    def test_is_a_pubspec_or_refused(self, content: bytes) -> None:
        read(read_pubspec, content)

    @FILES
    @given(
        files(
            *("FROM ", "a", " AS ", "b", "scratch", "ARG ", "A=", "${A}", "${A:-", "$A", "}", "USER ", "EXPOSE ", "1 "),
            *(
                "CMD ",
                "[",
                '"x"',
                "]",
                ",",
                "RUN ",
                "<<END ",
                "END\n",
                "\\\n",
                "`\n",
                "# escape=`\n",
                "#",
                "\n",
                "--platform=",
            ),
            *("ENV ", "API_KEY=", "ADD http://", "ENTRYPOINT ", "ONBUILD ", "\u2028", "\x0c", "\x00", "\r\n"),
        )
    )
    def test_is_a_dockerfile_or_refused(self, content: bytes) -> None:
        read(lambda given: [notice.message.encode() for notice in notices(read_dockerfile(given))], content)

    @FILES
    @given(
        files(
            *(
                "main",
                "void ",
                "(",
                ")",
                "{",
                "}",
                "'",
                '"',
                "'''",
                '"""',
                "r'",
                "${",
                "$",
                "\\",
                "/*",
                "*/",
                "//",
                "\n",
            ),
            *("=", "=>", "get ", "export 'a.dart';", "part of ", "class A ", ";"),
        )
    )
    def test_has_a_main_or_not(self, content: bytes) -> None:
        assert declares_main(content) in (True, False, None)

    @FILES
    @given(
        st.lists(
            st.one_of(
                st.sampled_from(
                    ["^", ">", ">=", "<", "<=", "any", " ", "1.2.3", "3.0.0", "-0", "-a.1", "+b", ".", "9" * 19]
                ),
                st.text(max_size=3),
            ),
            max_size=12,
        ).map("".join)
    )
    def test_has_a_constraint_or_is_refused(self, text: str) -> None:
        read(
            lambda given: VersionConstraint.parse_sdk(given.decode("utf-8", "surrogatepass")),
            text.encode("utf-8", "surrogatepass"),
        )


def _full(reader: Callable[[bytes], object], begins: bytes, goes_on: bytes, length: int) -> object:
    content = begins + goes_on * ((length - len(begins)) // len(goes_on))
    return pytest.param(reader, content, id=f"{begins[-12:]!r} {goes_on!r}")


_D, _P, _S = DOCKERFILE_BYTES_MAX, PUBSPEC_BYTES_MAX, SOURCE_BYTES_MAX


class TestTheWorstFile:
    @pytest.mark.parametrize(
        ("reader", "content"),
        [
            _full(read_dockerfile, b"FROM a\nCMD ", b"[", _D),
            _full(read_dockerfile, b"FROM a\nEXPOSE ", b"1 ", _D),
            _full(read_dockerfile, b"FROM a\nRUN x", b"\\\ny", _D),
            _full(read_dockerfile, b"FROM a\nRUN ", b"<<A ", _D),
            _full(read_dockerfile, b"FROM ", b"${", _D),
            _full(read_dockerfile, b"ARG A=" + b"x" * (_D // 2) + b"\nFROM ", b"$A", _D),
            _full(read_pubspec, b"name: a\nb: ", b"x ", _P),
            _full(read_pubspec, b"name: a\n", b"\n", _P),
            _full(read_pubspec, b"name: a\nb: |\n", b"\n ", _P),
            _full(read_pubspec, b"name: a\nb: ", b":", _P),
            _full(declares_main, b"", b"'${", _S),
            _full(declares_main, b"", b"r'", _S),
            _full(declares_main, b"main", b" ", _S),
            _full(declares_main, b"main", b"/*", _S),
        ],
    )
    def test_takes_no_more_than_a_moment_and_little_room(
        self, reader: Callable[[bytes], object], content: bytes
    ) -> None:
        begun, before = time.process_time(), getrusage(RUSAGE_SELF).ru_maxrss
        with suppress(Invalid):
            reader(content)

        assert time.process_time() - begun < SECONDS_MAX
        assert getrusage(RUSAGE_SELF).ru_maxrss - before < MEMORY_KIB_MAX

    def test_says_no_more_than_somebody_reads(self) -> None:
        ports = " ".join(str(port) for port in range(10_000, 30_000))
        secrets = " ".join(f"API_KEY_{number}=1" for number in range(5_000))

        facts = read_dockerfile(f'FROM a:1\nUSER b\nEXPOSE {ports}\nENV {secrets}\nCMD ["c"]\n'.encode())

        assert (len(facts.ports), len(facts.secret_names)) == (NAMES_MAX, NAMES_MAX)
        assert [notice.code for notice in notices(facts)] == ["docker_port_ignored", "docker_secret_in_image"]
        assert all(len(notice.message) < MESSAGE_CHARACTERS_MAX for notice in notices(facts))
        assert "and 95 more" in notices(facts)[0].message
