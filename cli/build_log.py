"""What a deployment's build said, printed once or as it is said."""

from __future__ import annotations

import time
from collections.abc import Iterator

from cli.client import Json
from cli.following import GONE, OUTCOMES
from cli.live import Live
from cli.session import Session

LOOK_SECONDS = 1.0


def build_log(session: Session, deployment: Json, *, follow: bool) -> Json:
    """Print the log; what it says in all, and how many bytes of its middle were not kept."""
    path = f"projects/{deployment['projectId']}/deployments/{deployment['deploymentId']}"
    said, dropped = [], 0
    for piece in _followed(session, path) if follow else _pieces(session, f"{path}/logs", None):
        if piece["text"] and not session.as_json:
            session.screen.say(piece["text"].rstrip("\n"))
        said.append(piece["text"])
        dropped += piece["droppedBytes"]
    return {"deploymentId": deployment["deploymentId"], "text": "".join(said), "droppedBytes": dropped}


def _followed(session: Session, path: str) -> Iterator[Json]:
    """Until the build is over: by the live stream, and by asking where none gets through."""
    cursor: str | None = None
    streams = True
    while True:
        if streams:
            with Live(session.api, f"{path}/logs", after=cursor) as live:
                while not live.is_over:
                    message = live.next(LOOK_SECONDS)
                    if message is not None and message.data is not None:
                        cursor = message.data["nextCursor"]
                        yield message.data
            streams = live.was_heard
        # In this order: what was said before it rested is read after that.
        rests = session.api.get(path)["status"] in OUTCOMES | GONE
        for piece in _pieces(session, f"{path}/logs", cursor):
            cursor = piece["nextCursor"]
            yield piece
        if rests:
            return
        time.sleep(LOOK_SECONDS)


def _pieces(session: Session, path: str, cursor: str | None) -> Iterator[Json]:
    """What stands beyond the cursor."""
    while True:
        piece = session.api.get(path, cursor=cursor)
        yield piece
        if piece["nextCursor"] in (None, cursor) or not piece["text"]:
            return
        cursor = piece["nextCursor"]
