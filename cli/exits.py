"""The exit codes of `dcf`: what a script goes by."""

from __future__ import annotations

from typing import Final

OK: Final = 0
# The deployment failed, or what was asked was refused.
FAILED: Final = 1
USAGE: Final = 2
CANCELED: Final = 3
TIMED_OUT: Final = 4
UNREACHABLE: Final = 5
# No credential, one that is not known, or one that does not allow this.
NOT_ALLOWED: Final = 6
INTERRUPTED: Final = 130

EXPLAINED = """Exit codes: 0 done or succeeded, 1 failed or refused, 2 wrong usage, 3 canceled, 4 not over in time,
5 the service does not answer, 6 not signed in or not allowed, 130 interrupted."""
