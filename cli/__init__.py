"""The command line: `dcf` for users over HTTP, and for operators over the packages themselves."""

import sys

# httpx has a command line of its own, and does without where it cannot be imported: its libraries took a fourth of our start.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
