"""What a command's help ends with: examples to copy, and exit codes for scripts."""

from __future__ import annotations

_EXIT_CODES = """Exit codes: 0 done or succeeded, 1 failed or refused, 2 wrong usage, 3 canceled, 4 not over in time,
5 the service does not answer, 6 not signed in or not allowed, 130 interrupted."""
# Tells click to leave the lines of a paragraph as they are.
_AS_IT_IS = "\b\n"


def epilog(*examples: str, exit_codes: bool = False) -> str:
    """For a command's `epilog`."""
    shown = _AS_IT_IS + "\n".join(["Examples:", *(f"  {example}" for example in examples)])
    return "\n\n".join([*([shown] if examples else []), *([_EXIT_CODES] if exit_codes else [])])
