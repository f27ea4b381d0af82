"""Whether a Dart file has a `main`: read tolerantly, past comments, texts and everything in braces."""

from __future__ import annotations

import re

# A longer file is not looked into: reading it would hold up everybody else.
SOURCE_BYTES_MAX = 256 * 1024

# What a file takes from other files is not looked into either.
_ELSEWHERE = frozenset({"export", "part"})

_THING = re.compile(
    r"""(?P<line>//[^\n]*) | (?P<block>/\*) | (?P<raw>r?)(?P<quote>'{3}|"{3}|'|") | (?P<word>[A-Za-z_$][A-Za-z0-9_$]*)
    | (?P<open>[{\[(]) | (?P<close>[}\])])""",
    re.VERBOSE,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_BRACE_OR_QUOTE = re.compile(r"""[{}] | (?P<raw>r?)(?P<quote>'{3}|"{3}|'|")""", re.VERBOSE)
_GIVEN = re.compile(r"(?:\s|//[^\n]*(?:\n|$)|/\*(?:[^*]|\*(?!/))*\*/)*(?:\(|=(?!=))")


def declares_main(content: bytes) -> bool | None:
    """Whether the file declares a top-level `main`. None: it is too long to say, or may take one from another file."""
    if len(content) > SOURCE_BYTES_MAX:
        return None
    try:
        return _declares_main(content.decode("utf-8-sig", "replace"))
    except RecursionError:  # Texts in texts in texts: nobody wrote that.
        return None


def _declares_main(text: str) -> bool | None:
    at = depth = 0
    elsewhere = False
    while (thing := _THING.search(text, at)) is not None:
        at = thing.end()
        match thing.lastgroup:
            case "block":
                at = _comment_end(text, at)
            case "quote":
                at = _text_end(text, at, thing["quote"], is_raw=bool(thing["raw"]))
            case "open":
                depth += 1
            case "close":
                depth = max(0, depth - 1)
            case "word" if depth == 0:
                if thing[0] == "main" and _GIVEN.match(text, at):
                    return True
                elsewhere = elsewhere or thing[0] in _ELSEWHERE
            case _:
                pass
    return None if elsewhere else False


def _comment_end(text: str, at: int) -> int:
    """Where a comment ends, those within it included."""
    depth = 1
    while depth and (edge := _BLOCK_EDGE.search(text, at)) is not None:
        depth += 1 if edge[0] == "/*" else -1
        at = edge.end()
    return len(text) if depth else at


def _text_end(text: str, at: int, quote: str, *, is_raw: bool) -> int:
    """Where a text ends; at the end of its line at the latest, unless its quotes are tripled."""
    ends = [re.escape(quote)] if len(quote) == 3 else [quote, "\n"]
    stops = re.compile("|".join(ends if is_raw else [*ends, r"\\.", r"\$\{"]), re.DOTALL)
    while (stop := stops.search(text, at)) is not None:
        at = stop.end()
        if stop[0] == "${":
            at = _computed_end(text, at)
        elif not stop[0].startswith("\\"):
            return at
    return len(text)


def _computed_end(text: str, at: int) -> int:
    """Where what a text computes ends: at the brace that closes it."""
    depth = 1
    while depth and (found := _BRACE_OR_QUOTE.search(text, at)) is not None:
        at = found.end()
        if found["quote"]:
            at = _text_end(text, at, found["quote"], is_raw=bool(found["raw"]))
        else:
            depth += 1 if found[0] == "{" else -1
    return len(text) if depth else at
