"""What a pubspec.yaml says of its package: read without tags, aliases or surprises in size and depth."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from domain.refusal import Invalid
from domain.version import VersionConstraint

# Reading takes a second for each 256 KiB of the worst, in which nobody else is answered.
PUBSPEC_BYTES_MAX = 64 * 1024
DEPTH_MAX = 20
NODES_MAX = 10_000

_NULLS = ("", "~", "null", "Null", "NULL")


class PubspecNotUnderstood(Invalid):
    """The file is not a pubspec.yaml that pub would read."""

    code = "pubspec_not_understood"
    remedy = "Upload the pubspec.yaml that `dart pub get` accepts, without YAML tags, anchors or aliases."
    field = "file"


class Pubspec(msgspec.Struct, frozen=True, kw_only=True):
    """`sdk` is the text of `environment.sdk`; `dependencies` names the packages that must come from outside the SDK."""

    name: str
    sdk: str | None = None
    dependencies: tuple[str, ...] = ()


def read_pubspec(content: bytes) -> Pubspec:
    """The pubspec in the bytes. Raises PubspecNotUnderstood, and ConstraintNotUnderstood for its SDK constraint."""
    if len(content) > PUBSPEC_BYTES_MAX:
        raise PubspecNotUnderstood(f"A pubspec.yaml has at most {PUBSPEC_BYTES_MAX} bytes.")
    try:
        document = _document(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise PubspecNotUnderstood("The file is not UTF-8.") from None
    except yaml.YAMLError as error:
        raise PubspecNotUnderstood(f"The file is not YAML: {_where(error)}.") from error
    except (
        ValueError,
        OverflowError,
    ) as error:  # The reader takes the number of an escape such as "\U00110000" as it is.
        raise PubspecNotUnderstood("A text names a character that does not exist.") from error
    return _pubspec(_mapping(document, "The file"))


def _pubspec(fields: dict[str, Any]) -> Pubspec:
    name = fields.get("name")
    if not isinstance(name, str):
        raise PubspecNotUnderstood("`name` is missing or is not text.")
    sdk = _mapping(fields.get("environment"), "`environment`").get("sdk")
    if sdk is not None and not isinstance(sdk, str):
        raise PubspecNotUnderstood("`environment.sdk` is not text.")
    if sdk is not None:
        VersionConstraint.parse_sdk(sdk)
    needed = _mapping(fields.get("dependencies"), "`dependencies`")
    outside = (package for package, source in needed.items() if not (isinstance(source, dict) and "sdk" in source))
    return Pubspec(name=name, sdk=sdk, dependencies=tuple(outside))


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PubspecNotUnderstood(f"{what} is not a mapping.")
    return value


def _document(text: str) -> Any:
    _check_shape(text)
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    return None if node is None else _value(node)


def _check_shape(text: str) -> None:
    """Look at the parts one by one, before anything is built of them."""
    depth = nodes = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise PubspecNotUnderstood("YAML anchors and aliases are not read.")
        if getattr(event, "tag", None) is not None:
            raise PubspecNotUnderstood("YAML tags are not read.")
        match event:
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                depth, nodes = depth + 1, nodes + 1
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                depth -= 1
            case yaml.ScalarEvent():
                nodes += 1
            case _:
                pass
        if depth > DEPTH_MAX or nodes > NODES_MAX:
            raise PubspecNotUnderstood(
                f"The file is deeper than {DEPTH_MAX} levels or has more than {NODES_MAX} values."
            )


def _value(node: yaml.Node) -> Any:
    """Mappings, lists and texts; a scalar's type is never guessed from how it looks."""
    match node:
        case yaml.MappingNode():
            found: dict[str, Any] = {}
            for key_node, value_node in node.value:
                key = _value(key_node)
                if not isinstance(key, str) or key in found:
                    raise PubspecNotUnderstood(f"A key is not text or stands twice: {str(key)[:40]!r}.")
                found[key] = _value(value_node)
            return found
        case yaml.SequenceNode():
            return [_value(item) for item in node.value]
        case _:
            plain = getattr(node, "style", None) is None
            return None if plain and node.value in _NULLS else node.value


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "it cannot be parsed"
    return f"{problem} in line {mark.line + 1}" if mark else problem
