"""What a pubspec.yaml asks to be downloaded."""

from __future__ import annotations

from pathlib import Path

import yaml

from providers.provider import ProviderRefused


def packages_needed(path: Path) -> tuple[str, ...]:
    """The packages that a build needs from outside the SDK, by name; a missing file needs none.

    Raises ProviderRefused when the file is not YAML or its dependencies are not a mapping.
    """
    if not path.exists():
        return ()
    try:
        pubspec = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _invalid(f"pubspec.yaml is not YAML: {error}") from error
    dependencies = (pubspec.get("dependencies") or {}) if isinstance(pubspec, dict) else None
    if not isinstance(dependencies, dict):
        raise _invalid("pubspec.yaml is not a mapping, or its dependencies are not.")
    return tuple(
        str(name) for name, source in dependencies.items() if not (isinstance(source, dict) and "sdk" in source)
    )


def require_published(path: Path) -> None:
    """Raise ProviderRefused for a package that is to come from an address or a folder of the sources' own choosing.

    `dart pub get` runs on this machine: it would ask whatever this machine reaches, and read what its user may.
    """
    try:
        pubspec = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _invalid(f"pubspec.yaml is not YAML: {error}") from error
    for section in _SECTIONS:
        needed = pubspec.get(section) if isinstance(pubspec, dict) else None
        for name, source in needed.items() if isinstance(needed, dict) else ():
            if isinstance(source, dict) and source.keys() & _ELSEWHERE:
                raise ProviderRefused(
                    "package_source_refused",
                    f"pubspec.yaml takes {str(name)[:100]} from git, a folder or another host; this machine takes packages "
                    "from its own package host only.",
                    "Depend on a published version, or put the code into main.dart.",
                )


_SECTIONS = ("dependencies", "dev_dependencies", "dependency_overrides")
_ELSEWHERE = {"git", "path", "hosted"}


def _invalid(message: str) -> ProviderRefused:
    return ProviderRefused("pubspec_invalid", message, "Mend pubspec.yaml and deploy again.")
