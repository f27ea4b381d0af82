"""What a Dockerfile says of the image it makes, and what a reviewer would say of that."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from domain.artifact import DockerfileFacts
from domain.deployment import Notice
from domain.refusal import Invalid

DOCKERFILE_BYTES_MAX = 256 * 1024
INSTRUCTIONS_MAX = 1_000
IMAGE_CHARACTERS_MAX = 1000
# Of images, ports and secrets this many are noted each, and that many told.
NAMES_MAX = 100
NAMES_TOLD_MAX = 5
NAME_CHARACTERS_MAX = 100
# The port functions are told to listen on, where a Dockerfile names one.
PORT = "8080"

_KNOWN = frozenset(
    [
        "ADD",
        "ARG",
        "CMD",
        "COPY",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "FROM",
        "HEALTHCHECK",
        "LABEL",
        "MAINTAINER",
        "ONBUILD",
        "RUN",
        "SHELL",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
    ]
)
_ESCAPE = re.compile(r"#\s*escape\s*=\s*([\\`])\s*", re.IGNORECASE)
_HEREDOC = re.compile(r"<<-?\s*([\"']?)([A-Za-z_][A-Za-z0-9_]*)\1")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?[^}]*\}|(\w+))")
_REMOTE = re.compile(r"(?:^|\s)(?:https?://|git@)")
_SECRET = re.compile(
    r"(?:^|_)(?:PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|CREDENTIALS?)(?:$|_)", re.IGNORECASE
)
_NAMES = re.compile(r"(?:^|\s)([A-Za-z_][A-Za-z0-9_]*)(?==|\s|$)")


class DockerfileNotUnderstood(Invalid):
    """The file is not a Dockerfile that could be built."""

    code = "dockerfile_not_understood"
    remedy = "Upload the Dockerfile that `docker build` accepts."
    field = "file"


class _Stage(msgspec.Struct, kw_only=True):
    base: str
    user: str = ""
    start: Literal["", "exec", "shell"] = ""
    ports: tuple[str, ...] = ()


def read_dockerfile(content: bytes) -> DockerfileFacts:
    """The facts in the bytes. Raises DockerfileNotUnderstood."""
    if len(content) > DOCKERFILE_BYTES_MAX:
        raise DockerfileNotUnderstood(f"A Dockerfile has at most {DOCKERFILE_BYTES_MAX} bytes.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DockerfileNotUnderstood("The file is not UTF-8.") from None
    if "\0" in text:
        raise DockerfileNotUnderstood("The file has a NUL byte in it.")
    reading = _Reading()
    for count, (name, rest) in enumerate(_instructions(text), start=1):
        if count > INSTRUCTIONS_MAX:
            raise DockerfileNotUnderstood(f"The file has more than {INSTRUCTIONS_MAX} instructions.")
        reading.take(name, rest)
    return reading.facts()


def notices(facts: DockerfileFacts) -> tuple[Notice, ...]:
    """What the author should know; nothing of it keeps the function from being deployed."""
    return tuple(Notice(code=f"docker_{code}", message=message) for code, message in _remarks(facts))


def _remarks(facts: DockerfileFacts) -> Iterator[tuple[str, str]]:
    unpinned = [base for base in facts.bases if _is_unpinned(base)]
    if unpinned:
        yield "base_unpinned", f"{_several(unpinned)} may be another image tomorrow; name a version or a digest."
    if facts.final_base != "scratch" and facts.user.partition(":")[0] in ("", "root", "0"):
        yield "runs_as_root", "The image runs as root; add a USER that is not."
    if _repository(facts.final_base).rpartition("/")[2] == "dart":
        yield "sdk_in_image", "The image holds the whole Dart SDK; copy what was compiled into a second stage."
    match facts.start:
        case "":
            yield "no_command", "Neither ENTRYPOINT nor CMD says what the image starts."
        case "shell":
            yield "shell_form", "A shell starts the server and keeps SIGTERM from it; write the command as a JSON list."
        case "exec":
            pass
    others = [port for port in facts.ports if port != PORT]
    if others:
        yield "port_ignored", f"EXPOSE {_several(others)} changes nothing: a function listens on $PORT."
    if facts.adds_from_afar:
        yield "adds_from_afar", "ADD fetches from the network what no digest holds to; use RUN with a checksum."
    if facts.secret_names:
        yield (
            "secret_in_image",
            f"{_several(facts.secret_names)} stay readable in the image; use the function's secrets.",
        )


def _several(names: Sequence[str]) -> str:
    told = ", ".join(name[:NAME_CHARACTERS_MAX] for name in names[:NAMES_TOLD_MAX])
    more = len(names) - NAMES_TOLD_MAX
    return f"{told} and {more} more" if more > 0 else told


class _Reading:
    """A Dockerfile half read."""

    def __init__(self) -> None:
        self._arguments: dict[str, str] = {}
        self._stages: list[_Stage] = []
        self._named: dict[str, _Stage] = {}
        self._bases: list[str] = []
        self._secrets: list[str] = []
        self._afar = False

    def take(self, name: str, rest: str) -> None:
        if name not in _KNOWN:
            raise DockerfileNotUnderstood(f"There is no instruction {name[:40]!r}.")
        if not self._stages and name not in ("ARG", "FROM"):
            raise DockerfileNotUnderstood(f"{name} stands before the first FROM.")
        match name:
            case "FROM":
                self._begin(rest)
            case "ARG" if not self._stages:
                key, _, value = rest.partition("=")
                # One more than may be in a name is enough to be too long.
                self._arguments[key.strip()] = value.strip().strip("\"'")[: IMAGE_CHARACTERS_MAX + 1]
            case "ARG" | "ENV":
                found = _NAMES.findall(rest) if "=" in rest else rest.split()[:1]
                self._secrets += [key for key in found if _SECRET.search(key) and key not in self._secrets]
            case "USER":
                self._stages[-1].user = rest.strip()
            case "EXPOSE":
                self._stages[-1].ports += tuple(_ports(rest))
            case "ENTRYPOINT" | "CMD":
                self._start(name, rest)
            case "ADD":
                self._afar = self._afar or _REMOTE.search(rest) is not None
            case _:
                pass

    def _begin(self, rest: str) -> None:
        words = [word for word in rest.split() if not word.startswith("--")]
        match words:
            case [image] | [image, _, _] if len(words) == 1 or words[1].upper() == "AS":
                base = self._image(image)
            case _:
                raise DockerfileNotUnderstood("A FROM names one image, and at most AS and a name.")
        before = self._named.get(base.lower())
        if before is None:
            self._bases.append(base)
        # What a stage inherits of another one of the same file is known; what of another image is not.
        self._stages.append(msgspec.structs.replace(before) if before else _Stage(base=base))
        if len(words) == 3:
            self._named[words[2].lower()] = self._stages[-1]

    def _image(self, text: str) -> str:
        """The image a FROM names, its variables filled in. No step of it is larger than a name may be."""
        if len(text) > IMAGE_CHARACTERS_MAX or len(image := _VARIABLE.sub(self._value, text)) > IMAGE_CHARACTERS_MAX:
            raise DockerfileNotUnderstood(f"The name of an image has at most {IMAGE_CHARACTERS_MAX} characters.")
        return image

    def _value(self, found: re.Match[str]) -> str:
        return self._arguments.get(found[1] or found[3]) or found[2] or found[0]

    def _start(self, name: str, rest: str) -> None:
        stage = self._stages[-1]
        form: Literal["exec", "shell"] = "exec" if _is_list(rest) or rest.lstrip().startswith("exec ") else "shell"
        # An ENTRYPOINT decides how it starts, whatever CMD gives it.
        if name == "ENTRYPOINT" or stage.start == "":
            stage.start = form

    def facts(self) -> DockerfileFacts:
        if not self._stages:
            raise DockerfileNotUnderstood("The file has no FROM.")
        final = self._stages[-1]
        return DockerfileFacts(
            bases=tuple(dict.fromkeys(self._bases))[:NAMES_MAX],
            final_base=final.base,
            user=final.user,
            ports=tuple(dict.fromkeys(final.ports))[:NAMES_MAX],
            start=final.start,
            adds_from_afar=self._afar,
            secret_names=tuple(self._secrets)[:NAMES_MAX],
        )


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """Each instruction's name and the rest of it: lines joined, comments and here-documents left out."""
    lines = iter(text.splitlines())
    first = _ESCAPE.fullmatch(text.partition("\n")[0].strip())
    escape = first[1] if first else "\\"
    for line in _said(lines):
        parts = [line.strip()]
        while parts[-1].endswith(escape):
            parts[-1] = parts[-1].removesuffix(escape)
            parts.append(next(_said(lines), "").strip())
        name, _, rest = " ".join(parts).partition(" ")
        if name.upper() in ("RUN", "COPY", "ADD"):
            for _, ending in _HEREDOC.findall(rest):
                _skip_to(ending, lines)
        yield name.upper(), rest.strip()


def _said(lines: Iterable[str]) -> Iterator[str]:
    """Comments and empty lines are passed over, within an instruction too."""
    return (line for line in lines if line.strip() and not line.lstrip().startswith("#"))


def _skip_to(ending: str, lines: Iterator[str]) -> None:
    if not any(line.strip() == ending for line in lines):
        raise DockerfileNotUnderstood(f"A here-document is not ended by {ending[:40]}.")


def _is_list(text: str) -> bool:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, list) and all(isinstance(word, str) for word in found)


def _ports(rest: str) -> Iterator[str]:
    """A port that a variable names is the function's own business."""
    return (word.partition("/")[0] for word in rest.split() if "$" not in word)


def _repository(base: str) -> str:
    """The image without its tag and digest; the colon of a registry's port is none of a tag."""
    name = base.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]


def _is_unpinned(base: str) -> bool:
    if base == "scratch" or "@" in base or "$" in base:
        return False
    tag = base.removeprefix(_repository(base)).removeprefix(":")
    return tag in ("", "latest")
