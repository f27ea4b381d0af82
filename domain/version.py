"""Versions and version constraints as Dart's package manager reads them.

The rules are those of the `pub_semver` package: semantic versioning 2.0 with ordered build metadata, and ranges whose
exclusive upper bound also excludes the pre-releases of that bound.
"""

from __future__ import annotations

import re

import msgspec

from domain.refusal import Invalid

_CORE = (
    r"([0-9]+)\.([0-9]+)\.([0-9]+)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
_VERSION = re.compile(_CORE)
_PART = re.compile(rf"\s*(\^|>=|<=|>|<)?\s*({_CORE})")
TEXT_LENGTH_MAX = 256
NUMBER_MAX = 2**63 - 1  # Dart's integers; pub refuses a version with a larger one.


class ConstraintNotUnderstood(Invalid):
    """The version constraint is not one pub understands."""

    code = "version_constraint_not_understood"
    remedy = "Write it as pub does, for example ^3.10.0 or '>=3.9.0 <4.0.0'."
    field = "file"


def _identifiers(text: str | None) -> tuple[str, ...]:
    """The dot-separated identifiers; numeric ones without leading zeros, since `01` and `1` are one number."""
    parts = text.split(".") if text else []
    return tuple(str(int(part)) if part.isdigit() else part for part in parts)


def _identifier_key(identifier: str) -> tuple[int, int, str]:
    return (0, int(identifier), "") if identifier.isdigit() else (1, 0, identifier)


class Version(msgspec.Struct, frozen=True):
    """A semantic version. Build metadata takes part in the order, as it does in pub."""

    major: int
    minor: int
    patch: int
    pre: tuple[str, ...] = ()
    build: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Version:
        """Raises ConstraintNotUnderstood."""
        match = _VERSION.fullmatch(text) if len(text) <= TEXT_LENGTH_MAX else None
        if match is None:
            raise ConstraintNotUnderstood(f"{text[:40]!r} is not a version.")
        major, minor, patch = int(match[1]), int(match[2]), int(match[3])
        if max(major, minor, patch) > NUMBER_MAX:
            raise ConstraintNotUnderstood(f"{text[:40]!r} is not a version.")
        return cls(major, minor, patch, _identifiers(match[4]), _identifiers(match[5]))

    def __str__(self) -> str:
        pre, build = ".".join(self.pre), ".".join(self.build)
        return f"{self.major}.{self.minor}.{self.patch}{'-' if pre else ''}{pre}{'+' if build else ''}{build}"

    def __lt__(self, other: Version) -> bool:
        return self._key() < other._key()

    def __le__(self, other: Version) -> bool:
        return self._key() <= other._key()

    def __gt__(self, other: Version) -> bool:
        return other < self

    def __ge__(self, other: Version) -> bool:
        return other <= self

    def _key(self) -> tuple[object, ...]:
        # A pre-release comes before its release, a build after it.
        return (
            (self.major, self.minor, self.patch),
            (0, [_identifier_key(part) for part in self.pre]) if self.pre else (1, []),
            [_identifier_key(part) for part in self.build],
        )

    def next_breaking(self) -> Version:
        """The first version that may break what works with this one: the next minor below 1.0.0, else the next major."""
        return Version(0, self.minor + 1, 0) if self.major == 0 else Version(self.major + 1, 0, 0)

    def release(self) -> tuple[int, int, int]:
        """The version without pre-release and build."""
        return (self.major, self.minor, self.patch)


_NULL_SAFE = (2, 12)
_DART_3 = Version(3, 0, 0)
_DART_3_BEGINS = Version(3, 0, 0, pre=("0",))


class VersionConstraint(msgspec.Struct, frozen=True, kw_only=True):
    """A range of versions. A bound that is None is open."""

    minimum: Version | None = None
    includes_minimum: bool = False
    maximum: Version | None = None
    includes_maximum: bool = False

    @classmethod
    def parse(cls, text: str) -> VersionConstraint:
        """`any`, a version, `^version`, or comparisons that must all hold. Raises ConstraintNotUnderstood."""
        if len(text) > TEXT_LENGTH_MAX:
            raise ConstraintNotUnderstood(f"A version constraint has at most {TEXT_LENGTH_MAX} characters.")
        stripped = text.strip()
        if stripped == "any":
            return cls()
        constraint, at = cls(), 0
        if not stripped:
            raise ConstraintNotUnderstood("The version constraint is empty.")
        while at < len(stripped):
            part = _PART.match(stripped, at)
            if part is None:
                raise ConstraintNotUnderstood(f"{text!r} is not a version constraint.")
            if part[1] == "^" and part[0] != stripped:
                raise ConstraintNotUnderstood("A caret constraint stands alone.")
            constraint = constraint.intersect(_range(part[1] or "", Version.parse(part[2])))
            at = part.end()
        return constraint

    @classmethod
    def parse_sdk(cls, text: str) -> VersionConstraint:
        """As `parse`, with pub's rule for the SDK: null-safe code that says `<3.0.0` also runs on Dart 3.

        Source: pub's SdkConstraint.interpretDartSdkConstraint: language version 2.12 or more (a pre-release of 2.12.0
        has it too), and an upper bound of `<3.0.0` or `<3.0.0-0`, is read as `<4.0.0`.
        """
        constraint = cls.parse(text)
        low, high = constraint.minimum, constraint.maximum
        if low is None or high is None or low > high or constraint.includes_maximum:
            return constraint
        null_safe = (low.major, low.minor) >= _NULL_SAFE
        if null_safe and (high == _DART_3_BEGINS or (high == _DART_3 and not constraint.begins_before_its_end)):
            return msgspec.structs.replace(constraint, maximum=Version(4, 0, 0))
        return constraint

    @property
    def begins_before_its_end(self) -> bool:
        """The range begins among the pre-releases of the very version it ends before, so it is meant to hold them."""
        low, high = self.minimum, self.maximum
        return low is not None and high is not None and bool(low.pre) and low.release() == high.release()

    def intersect(self, other: VersionConstraint) -> VersionConstraint:
        """What both allow."""
        low, high = self, self
        if other.minimum is not None and (self.minimum is None or self._starts_before(other)):
            low = other
        if other.maximum is not None and (self.maximum is None or self._ends_after(other)):
            high = other
        return VersionConstraint(
            minimum=low.minimum,
            includes_minimum=low.includes_minimum,
            maximum=high.maximum,
            includes_maximum=high.includes_maximum,
        )

    def allows(self, version: Version) -> bool:
        if self.minimum is not None and (
            version < self.minimum or (version == self.minimum and not self.includes_minimum)
        ):
            return False
        if self.maximum is None:
            return True
        if version > self.maximum or (version == self.maximum and not self.includes_maximum):
            return False
        return not self._is_excluded_pre_release(version)

    def _is_excluded_pre_release(self, version: Version) -> bool:
        # `<3.0.0` means "before 3.0.0 and whatever leads to it", unless the range itself begins among those pre-releases.
        maximum = self.maximum
        if maximum is None or self.includes_maximum or maximum.pre or maximum.build:
            return False
        return bool(version.pre) and version.release() == maximum.release() and not self.begins_before_its_end

    def _starts_before(self, other: VersionConstraint) -> bool:
        assert self.minimum is not None
        assert other.minimum is not None
        return self.minimum < other.minimum or (self.minimum == other.minimum and not other.includes_minimum)

    def _ends_after(self, other: VersionConstraint) -> bool:
        assert self.maximum is not None
        assert other.maximum is not None
        return self.maximum > other.maximum or (self.maximum == other.maximum and not other.includes_maximum)


def _range(operator: str, version: Version) -> VersionConstraint:
    match operator:
        case "^":
            return VersionConstraint(minimum=version, includes_minimum=True, maximum=version.next_breaking())
        case ">=":
            return VersionConstraint(minimum=version, includes_minimum=True)
        case ">":
            return VersionConstraint(minimum=version)
        case "<=":
            return VersionConstraint(maximum=version, includes_maximum=True)
        case "<":
            return VersionConstraint(maximum=version)
        case _:
            return VersionConstraint(minimum=version, includes_minimum=True, maximum=version, includes_maximum=True)
