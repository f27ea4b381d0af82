"""Versions and constraints as pub reads them; the facts are those of pub_semver's own tests and of pub's SDK rule."""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.version import TEXT_LENGTH_MAX, ConstraintNotUnderstood, Version, VersionConstraint

# Some thousand times what it takes, and nothing to what it takes where time grows as a power of the length.
PARSE_SECONDS_MAX = 1.0


def allowed(constraint: str, *versions: str) -> list[bool]:
    """Which of the versions the constraint allows."""
    parsed = VersionConstraint.parse(constraint)
    return [parsed.allows(Version.parse(version)) for version in versions]


class TestVersion:
    def test_orders_pre_releases_before_and_builds_after_their_release(self) -> None:
        ordered = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0-rc.1+build.1",
            "1.0.0",
            "1.0.0+0.3.7",
            "1.3.7+build",
            "1.3.7+build.2.b8f12d7",
            "1.3.7+build.11.e0f985a",
            "2.0.0",
            "2.1.0",
            "2.2.0",
            "2.11.0",
            "2.11.1",
        ]

        for smaller, larger in pairwise(map(Version.parse, ordered)):
            assert smaller < larger
            assert larger > smaller
            assert smaller <= larger
            assert not smaller >= larger

    @pytest.mark.parametrize(
        ("one", "other"), [("01.2.3", "1.2.3"), ("1.2.3-01", "1.2.3-1"), ("1.2.3+dev.007", "1.2.3+dev.7")]
    )
    def test_does_not_mind_leading_zeros(self, one: str, other: str) -> None:
        assert Version.parse(one) == Version.parse(other)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "1.2.x",
            "v1.2.3",
            " 1.2.3",
            "1.2.3 ",
            "1.2.3\n",
            "1.2.3-",
            "1.2.3-.",
            "1.2.3-a..b",
            "1.2.3+",
            "1.2.3-ä",
            "-1.2.3",
            "1,2,3",
            "1.2.٣",
            "9223372036854775808.0.0",
            "1.2." + "3" * TEXT_LENGTH_MAX,
        ],
    )
    def test_refuses_what_is_none(self, text: str) -> None:
        with pytest.raises(ConstraintNotUnderstood):
            Version.parse(text)

    @pytest.mark.parametrize(
        ("version", "breaking"),
        [("0.0.3", "0.1.0"), ("0.7.2", "0.8.0"), ("1.2.3", "2.0.0"), ("1.0.0-dev", "2.0.0"), ("0.7.2-pre+1", "0.8.0")],
    )
    def test_breaks_next_at_the_minor_below_1_and_at_the_major_from_then_on(self, version: str, breaking: str) -> None:
        assert Version.parse(version).next_breaking() == Version.parse(breaking)


# constraint, versions it allows, versions it does not
ALLOWED: list[tuple[str, list[str], list[str]]] = [
    ("any", ["0.0.0-blah", "1.2.3", "12345.678.90"], []),
    ("1.2.3-alpha", ["1.2.3-alpha"], ["1.2.3", "1.2.3-beta", "1.2.3-alpha+1"]),
    ("1.2.3", ["1.2.3"], ["1.2.3+foo", "1.2.4", "1.2.3-dev"]),
    (">1.2.3", ["1.2.3+foo", "1.2.4", "1.2.4-dev"], ["1.2.1", "1.2.3-build", "1.2.3"]),
    (">=1.2.3", ["1.2.3", "1.2.3+foo", "1.2.4"], ["1.2.1", "1.2.3-build"]),
    ("<1.2.3", ["1.2.1", "1.2.2+foo", "0.0.0"], ["1.2.3", "1.2.3+foo", "1.2.4", "1.2.3-dev", "1.2.3-0"]),
    ("<=1.2.3", ["1.2.1", "1.2.3-build", "1.2.3"], ["1.2.3+foo", "1.2.4"]),
    (">1.0.0 >=1.2.3 <1.3.0", ["1.2.3", "1.2.5"], ["1.2.3-pre", "1.3.0", "3.4.5"]),
    # The end is no pre-release, so its own pre-releases are past the end, unless the range begins among them.
    ("<2.3.4", ["2.3.3"], ["2.3.4-dev", "2.3.4--1", "2.3.4-0xA", "2.3.4"]),
    (">=1.0.0-dev.2 <1.0.0", ["1.0.0-dev.2", "1.0.0-dev.3"], ["1.0.0-dev.1", "1.0.0"]),
    (">=1.0.0-dev.2 <1.0.1", ["1.0.0-dev.2", "1.0.0"], ["1.0.1-dev"]),
    ("<2.3.4-dev.2", ["2.3.4-dev.1", "2.3.3"], ["2.3.4-dev.2", "2.3.4-dev.3"]),
    ("<1.0.0-dev", ["0.9.9", "1.0.0-0", "1.0.0-alpha"], ["1.0.0-dev", "1.0.0"]),
    (">1.0.0 <2.0.0-0", ["1.9.9", "1.0.0+1"], ["1.0.0", "2.0.0-0", "2.0.0-dev", "2.0.0"]),
    ("<1.2.4+1", ["1.2.4", "1.2.4-dev"], ["1.2.4+1", "1.2.4+2"]),
    ("^0.0.3", ["0.0.3", "0.0.9"], ["0.0.2", "0.1.0", "0.1.0-dev"]),
    ("^0.7.2", ["0.7.2", "0.7.9"], ["0.8.0-dev", "0.8.0", "0.7.2-pre"]),
    ("^1.2.3", ["1.2.3", "1.9.9", "1.9.9-dev"], ["2.0.0--1", "2.0.0-0xA", "2.0.0-0", "2.0.0", "1.2.3-dev"]),
    ("^1.0.0-alpha", ["1.0.0-alpha", "1.0.0", "1.5.0"], ["2.0.0-alpha", "1.0.0-0"]),
    ("^0.7.2-pre+1", ["0.7.2-pre+1", "0.7.2"], ["0.7.2-pre"]),
    # Ranges that hold nothing are understood all the same.
    (">=2.0.0 <1.0.0", [], ["0.9.0", "1.0.0", "1.5.0", "2.0.0", "3.0.0"]),
    (">=1.0.0 <1.0.0", [], ["1.0.0", "0.9.9", "1.0.1"]),
    (">1.0.0 <=1.0.0", [], ["1.0.0"]),
    ("1.0.0 2.0.0", [], ["1.0.0", "1.5.0", "2.0.0"]),
    (">=1.0.0 <=1.0.0", ["1.0.0"], ["1.0.0+1", "1.0.1"]),
    ("1.5.0 <2.0.0", ["1.5.0"], ["1.6.0"]),
    (">=1.0.0 >1.0.0", ["1.0.1"], ["1.0.0"]),
    ("<=2.0.0 <2.0.0", ["1.9.9"], ["2.0.0", "2.0.0-dev"]),
]


class TestVersionConstraint:
    @pytest.mark.parametrize(("constraint", "inside", "outside"), ALLOWED)
    def test_allows_what_pub_allows(self, constraint: str, inside: list[str], outside: list[str]) -> None:
        assert allowed(constraint, *inside) == [True] * len(inside)
        assert allowed(constraint, *outside) == [False] * len(outside)

    @pytest.mark.parametrize(
        ("spaced", "plain"),
        [
            (" >1.0.0>=1.2.3 < 1.3.0", ">=1.2.3 <1.3.0"),
            (">=1.0.0<2.0.0", ">=1.0.0 <2.0.0"),
            (" ^ 1.2.3 ", "^1.2.3"),
            ("\t>=\n1.0.0  ", ">=1.0.0"),
            (">=1.0.0\u00a0<2.0.0", ">=1.0.0 <2.0.0"),
            ("  any ", "any"),
            ("1.0.0-dev>=0.5.0", "1.0.0-dev"),
        ],
    )
    def test_ignores_whitespace(self, spaced: str, plain: str) -> None:
        assert VersionConstraint.parse(spaced) == VersionConstraint.parse(plain)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "   ",
            "foo",
            ">foo",
            "^foo",
            "^",
            ">",
            "1.0.0 foo",
            "1.0.0foo",
            "anything",
            "any 1.0.0",
            "Any",
            "<>1.0.0",
            ">>1.0.0",
            "=>1.0.0",
            "==1.0.0",
            "~1.0.0",
            "1.0.0<",
            "1.0",
            ">=1.0",
            "1.0.x",
            ">=1.2.3 ^1.0.0",
            "^1.0.0 <1.2.3",
            "^1.0.0 ^1.0.0",
            "^^1.0.0",
            "1.0.0 || 2.0.0",
            ">=1.0.0, <2.0.0",
            '"^1.0.0"',
            ">=1.0.0 <" + "9" * TEXT_LENGTH_MAX,
            "\x00",
        ],
    )
    def test_refuses_what_pub_refuses(self, text: str) -> None:
        with pytest.raises(ConstraintNotUnderstood):
            VersionConstraint.parse(text)

    def test_says_in_the_refusal_how_to_write_one(self) -> None:
        with pytest.raises(ConstraintNotUnderstood) as refused:
            VersionConstraint.parse("3")

        assert refused.value.code == "version_constraint_not_understood"
        assert "^3.10.0" in refused.value.remedy

    @pytest.mark.parametrize(
        ("one", "other", "both"),
        [
            (">1.2.3 <2.5.0", ">2.0.0 <3.0.0", ">2.0.0 <2.5.0"),
            ("any", "^1.2.3", "^1.2.3"),
            (">=1.0.0", ">1.0.0", ">1.0.0"),
            ("<=2.0.0", "<2.0.0", "<2.0.0"),
            (">=1.0.0 <3.0.0", "2.0.0", "2.0.0"),
        ],
    )
    def test_intersects_either_way_round(self, one: str, other: str, both: str) -> None:
        left, right = VersionConstraint.parse(one), VersionConstraint.parse(other)

        assert left.intersect(right) == VersionConstraint.parse(both)
        assert right.intersect(left) == VersionConstraint.parse(both)

    def test_intersects_what_does_not_meet_to_nothing(self) -> None:
        nothing = VersionConstraint.parse("<1.0.0").intersect(VersionConstraint.parse(">2.0.0"))

        assert not any(nothing.allows(Version(major, 0, 0)) for major in range(4))


class TestSdkConstraint:
    @pytest.mark.parametrize(
        ("constraint", "dart_3"),
        [
            (">=2.12.0 <3.0.0", True),
            (">=2.12.0-0 <3.0.0", True),  # A pre-release of 2.12.0 speaks language version 2.12 too.
            (">=2.12.0 <3.0.0-0", True),
            ("^2.19.0", True),
            (">2.17.0 <3.0.0", True),
            (">=2.11.9 <3.0.0", False),
            (">=2.0.0 <3.0.0", False),
            ("<3.0.0", False),  # No lower bound: language version 2.7.
            (">=2.12.0 <3.0.1", False),
            (">=2.12.0 <=3.0.0", False),
            (">=2.12.0 <2.19.0", False),
            (">=3.0.0-dev <3.0.0", False),
            (">=3.5.0 <3.0.0", False),  # Holds nothing, whatever it is read as.
            ("2.19.0", False),
            ("^3.5.0", True),
            ("any", True),
            (">=2.19.0", True),
            (">=3.0.0 <4.0.0", True),
        ],
    )
    def test_lets_null_safe_code_run_on_dart_3(self, constraint: str, dart_3: bool) -> None:
        assert VersionConstraint.parse_sdk(constraint).allows(Version(3, 11, 0)) is dart_3

    def test_never_lets_it_run_on_dart_4(self) -> None:
        assert not VersionConstraint.parse_sdk(">=2.12.0 <3.0.0").allows(Version(4, 0, 0))
        assert not VersionConstraint.parse_sdk(">=2.12.0 <3.0.0").allows(Version.parse("4.0.0-dev"))


PARTS = st.sampled_from(
    [*"0123456789.-+^<>= \t", "any", ">=", "<=", "1.0.0", "2.12.0", "3.0.0", "-dev", "+1", "a", "é", "\u00a0", "\x00"]
)
NUMBERS = st.integers(0, 4)
IDENTIFIERS = st.lists(st.sampled_from(["0", "1", "10", "a", "b", "-"]), max_size=2).map(tuple)
VERSIONS = st.builds(Version, NUMBERS, NUMBERS, NUMBERS, IDENTIFIERS, IDENTIFIERS)


class TestAnyText:
    @settings(max_examples=200, deadline=None)
    @given(st.one_of(st.lists(PARTS, max_size=40).map("".join), st.text(max_size=300)))
    def test_is_understood_or_refused_and_nothing_else(self, text: str) -> None:
        with suppress(ConstraintNotUnderstood):
            VersionConstraint.parse_sdk(text).allows(Version(3, 11, 0))

    @pytest.mark.parametrize(
        "text",
        [" " * TEXT_LENGTH_MAX, ">" + " " * 254, "1.0.0-" + "a." * 124 + "ä", "1" * 255, "1.0.0 " * 42, "9" * 10**6],
    )
    def test_is_read_in_bounded_time(self, text: str) -> None:
        begun = time.thread_time()

        with suppress(ConstraintNotUnderstood):
            VersionConstraint.parse(text)

        assert time.thread_time() - begun < PARSE_SECONDS_MAX


class TestAnyVersions:
    @settings(max_examples=150, deadline=None)
    @given(VERSIONS, VERSIONS, VERSIONS)
    def test_have_one_order(self, one: Version, other: Version, third: Version) -> None:
        assert (one < other) + (one == other) + (one > other) == 1
        if one <= other <= third:
            assert one <= third

    @settings(max_examples=150, deadline=None)
    @given(VERSIONS, VERSIONS, VERSIONS)
    def test_are_allowed_by_an_intersection_only_if_both_allow_them(
        self, one: Version, other: Version, version: Version
    ) -> None:
        low = VersionConstraint(minimum=one, includes_minimum=True)
        high = VersionConstraint(maximum=other, includes_maximum=True)

        assert low.intersect(high).allows(version) == (low.allows(version) and high.allows(version))
