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
