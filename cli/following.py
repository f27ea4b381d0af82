"""Follow a deployment: its timeline as it is recorded, until it rests."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final, NoReturn

from cli import exits
from cli.client import PAGE_ITEMS, Api, Json, Unreachable
from cli.live import Live
from cli.screen import Colour, Screen
from cli.trouble import Trouble

DEPLOY_SECONDS_MAX = 900.0
LOOK_SECONDS = 0.4
# How often the line that shows that time passes is moved while the stream says nothing.
TICK_SECONDS = 0.2
# The service greets at once; a stream without a greeting is held up on the way to us.
GREETING_SECONDS_MAX = 5.0
# As often may a stream end before it said anything; after that the service is asked instead.
DEAF_MAX = 2
# After a minute nobody needs to know to the half second.
LATE_LOOK_SECONDS = 2.0
LATE_AFTER_SECONDS = 60.0
# A service that is being restarted or upgraded comes back within this.
OUTAGE_SECONDS_MAX = 120.0

# Of a compiler's words the first are what to mend; all of them are in the build's log.
FAILURE_LINES_MAX = 12

OUTCOMES: Final = frozenset({"succeeded", "failed", "canceled"})
GONE: Final = frozenset({"undeployed", "undeploy_failed"})


class Following:
    """Watches one deployment of a project, by its live stream, or by asking where none gets through.

    `clock` and `pause` are in seconds.
    """

    def __init__(
        self,
        api: Api,
        screen: Screen,
        deployment: Json,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api, self._screen, self._clock, self._pause = api, screen, clock, pause
        self._id, self._project_id = deployment["deploymentId"], deployment["projectId"]
        self._path = f"projects/{self._project_id}/deployments/{self._id}"
        self._status = deployment["status"]
        self._cursor: str | None = None
        self._began = clock()
        self._first_at: datetime | None = None
        self._last_said = str(self._status)
        self._deaf = 0

    def skip(self) -> None:
        """Leave out what happened before now."""
        events = self._api.items(f"{self._path}/events")
        self._cursor = events[-1]["position"] if events else None

    def until(self, resting: frozenset[str], *, seconds_max: float) -> Json:
        """Tell each event once, and return the deployment as it rests.

        Raises Trouble with exit code TIMED_OUT when it does not, and INTERRUPTED when the user has seen enough.
        """
        try:
            while True:
                deployment = self._look()
                if deployment["status"] in resting:
                    return deployment
                passed = self._clock() - self._began
                if passed >= seconds_max:
                    self._give_up(seconds_max)
                if self._deaf < DEAF_MAX:
                    self._listen(resting, self._began + seconds_max)
                else:
                    self._wait(min(LOOK_SECONDS if passed < LATE_AFTER_SECONDS else LATE_LOOK_SECONDS, seconds_max))
        except KeyboardInterrupt:
            raise Trouble(
                "You stopped watching; the deployment goes on.",
                details=(f"to end it: dcf deployments cancel {self._named}",) if resting >= OUTCOMES else (),
                then=f"dcf deployments watch {self._named}",
                exit_code=exits.INTERRUPTED,
            ) from None

    def _look(self) -> Json:
        """The deployment, once its events were told; waits while the service is away. Raises Unreachable."""
        missing_since: float | None = None
        while True:
            try:
                # In this order: what led to the status is told before the status ends the watch.
                deployment: Json = self._api.get(self._path, not_before=self._cursor)
                self._tell_page()
            except Unreachable:
                now = self._clock()
                missing_since = now if missing_since is None else missing_since
                if now - missing_since > OUTAGE_SECONDS_MAX:
                    raise
                self._screen.progress("the service does not answer; the deployment goes on without us")
                self._pause(LATE_LOOK_SECONDS)
                continue
            self._status = deployment["status"]
            return deployment

    def _listen(self, resting: frozenset[str], end: float) -> None:
        """Tell what happens as it happens, until one of the events may have let it rest, or the stream is over."""
        with Live(self._api, f"{self._path}/events", after=self._cursor) as live:
            opened_at = self._clock()
            while not live.is_over and (now := self._clock()) < end:
                message = live.next(min(TICK_SECONDS, end - now))
                if message is None:
                    if not live.was_heard and now - opened_at > GREETING_SECONDS_MAX:
                        self._deaf = DEAF_MAX
                        return
                    self._pass_time()
                elif message.data is not None:
                    self._tell(message.data)
                    if message.event.rpartition(".")[2] in resting:
                        return
        self._deaf = 0 if live.was_heard else self._deaf + 1
        if live.is_over:
            self._wait(LOOK_SECONDS)

    def _tell_page(self) -> None:
        while True:
            page = self._api.get(f"{self._path}/events", limit=PAGE_ITEMS, cursor=self._cursor)
            for event in page["items"]:
                self._tell(event)
            if page.get("nextCursor") is None:
                return

    def _tell(self, event: Json) -> None:
        self._screen.say(f"{self._since_first(event):6.1f} s  {_sentence(event)}", _colour(event))
        self._cursor, self._last_said = event["position"], _first_line(event)

    def _wait(self, seconds: float) -> None:
        self._pass_time()
        self._pause(seconds)

    def _pass_time(self) -> None:
        self._screen.progress(f"{self._last_said} ({self._clock() - self._began:.0f} s)")

    def _since_first(self, event: Json) -> float:
        """Seconds between the first event told and this one, as the log has them."""
        at = datetime.fromisoformat(event["at"])
        self._first_at = self._first_at or at
        return (at - self._first_at).total_seconds()

    def _give_up(self, seconds_max: float) -> NoReturn:
        raise Trouble(
            f"The deployment is {self._status} and not over after {seconds_max:g} s; it goes on.",
            then=f"dcf deployments watch {self._named}",
            exit_code=exits.TIMED_OUT,
        )

    @property
    def _named(self) -> str:
        return f"{self._id} --project {self._project_id}"


def followed(api: Api, screen: Screen, queued: Json, *, no_wait: bool, seconds_max: float) -> None:
    """Follow what was just queued to its outcome, and show that; with `no_wait` say how to. Raises Trouble."""
    if not no_wait:
        report(screen, Following(api, screen, queued).until(OUTCOMES, seconds_max=seconds_max))
        return
    for warning in queued.get("warnings") or []:
        screen.warn(warning["message"])
    screen.result(queued, f"Watch it: dcf deployments watch {queued['deploymentId']}")


def report(screen: Screen, deployment: Json) -> None:
    """Show how a deployment rests. Raises Trouble with the exit code of its outcome unless that is a good one."""
    status = deployment["status"]
    for warning in deployment.get("warnings") or []:
        screen.warn(warning["message"])
    url = deployment.get("url") if status == "succeeded" else None
    if status in ("succeeded", "undeployed"):
        screen.say(status, "green")
    screen.result(deployment, f"url  {url}" if url else None)
    match status:
        case "failed" | "undeploy_failed":
            raise _failed(deployment)
        case "canceled":
            raise Trouble(f"The deployment was canceled{_because(deployment)}.", exit_code=exits.CANCELED)
        case _:
            pass


def _failed(deployment: Json) -> Trouble:
    failure = deployment.get("failure") or {}
    logs = f"dcf deployments logs {deployment['deploymentId']} --project {deployment['projectId']}"
    words = str(failure.get("message") or "no reason was recorded").rstrip()
    first, *rest = words.splitlines()
    if len(rest) > FAILURE_LINES_MAX:
        rest = [*rest[:FAILURE_LINES_MAX], f"… and {len(rest) - FAILURE_LINES_MAX} lines more"]
    where = f" at {failure['step']}" if failure.get("step") else ""
    left = [f"left behind: {name}" for name in deployment.get("remaining") or []]
    return Trouble(
        f"{deployment['status']}{where}: {first}",
        details=(*rest, *left, *([f"({failure['code']})"] if failure.get("code") else [])),
        then=f"{failure['remedy']} ({logs})" if failure.get("remedy") else logs,
    )


def _because(deployment: Json) -> str:
    if newer := deployment.get("supersededBy"):
        return f": the newer deployment {newer} took its place"
    return f": {deployment['reason']}" if deployment.get("reason") else ""


def _sentence(event: Json) -> str:
    """One line; all of a compiler's words come at the end."""
    more = " …" if len(event["message"].splitlines()) > 1 else ""
    return f"{event['type']:<29} {_first_line(event)}{more}"


def _first_line(event: Json) -> str:
    return str(next(iter(event["message"].splitlines()), ""))


def _colour(event: Json) -> Colour:
    match event["type"].rpartition(".")[2]:
        case "failed" | "build_failed" | "undeploy_failed" | "drift_found" | "failure_found":
            return "red"
        case "waiting" | "canceled" | "superseded":
            return "yellow"
        case "succeeded" | "undeployed":
            return "green"
        case _:
            return "plain"
