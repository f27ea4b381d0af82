"""A release as a version of a Lambda function, beside the one that serves: the alias `live` decides which that is."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Literal
from uuid import UUID

import msgspec

from domain.placement import LAMBDA_OWN, check_variables
from domain.refusal import Invalid
from providers.aws import naming
from providers.aws.account import Account, target_of
from providers.aws.errors import LET_LAMBDA_READ, Answered, grant_to, lacking
from providers.aws.events import HEALTH_PATH, request_event
from providers.aws.functions import INVOKE_STATEMENT, LATEST, URL_STATEMENT, Alias, Code, Function, Invoked, Published
from providers.aws.policies import LAMBDA, OPENING, SCHEDULER
from providers.aws.schedules import Schedules
from providers.aws.secrets import VARIABLE, KeptSecrets, opened_by
from providers.aws.trust import Trust
from providers.provider import Image, Order, ProviderBusy, ProviderRefused, Secrets, Service
from providers.together import together

MEMORY_MB_MIN, MEMORY_MB_MAX = 128, 10_240
REQUEST_SECONDS_MAX = 900
HEALTHY_MAX = 1000
# What the alias of a release says besides its number: that everybody may call it; and, at its end, that it served.
_PUBLIC, SERVED = "public", "served"
_OPEN_TO_ALL = {URL_STATEMENT, INVOKE_STATEMENT}
# The adapter's and ours, which releases of old may name.
_OWN = frozenset({*LAMBDA_OWN, "AWS_LWA_READINESS_CHECK_PORT", VARIABLE})
# What $LATEST is and the live alias says when they stand for no deployment of ours.
_NONE = "dcf deployment=none number=0"
_MARK = re.compile(r"deployment=(\S+) number=(\d+)")


class Healthy:
    """The deployments that answered once, so that none is called again only to be looked at. At most HEALTHY_MAX."""

    def __init__(self) -> None:
        self._known: OrderedDict[UUID, None] = OrderedDict()

    def __contains__(self, deployment_id: UUID) -> bool:
        return deployment_id in self._known

    def add(self, deployment_id: UUID) -> None:
        self._known[deployment_id] = None
        while len(self._known) > HEALTHY_MAX:
            self._known.popitem(last=False)


class _Seen(msgspec.Struct, frozen=True, kw_only=True):
    """The function, with what says whose turn it is."""

    function: Code
    own: Alias | None
    live: Alias | None
    url: tuple[str, str] | None
    statements: set[str]

    @property
    def is_open(self) -> bool:
        """Whether anybody may call the URL."""
        return self.url is not None and self.statements >= _OPEN_TO_ALL and self.url[1] == "NONE"

    @property
    def is_closed(self) -> bool:
        return self.url is not None and not _OPEN_TO_ALL & self.statements and self.url[1] == "AWS_IAM"


class Releases:
    """The release of one order, as one account sees it."""

    def __init__(self, account: Account, healthy: Healthy, order: Order) -> None:
        self._order, self._target, self._healthy = order, target_of(order), healthy
        self._function = Function(account, self._target)
        self._role = Trust(account, self._target.execution_role_arn, "EXECUTION")
        self._schedules = Schedules(account, order)
        self._secrets = KeptSecrets(account, order)
        self._own = naming.release_alias(order)
        self._mark = naming.mark(order)

    def check(self) -> None:
        """Raises ProviderRefused for what Lambda or the Scheduler would not take, before anything is built for it."""
        release = self._order.release
        try:
            check_variables(release.environment, release.secret_values, self._target)
        except Invalid as refusal:  # Of a release that was queued before this was looked at.
            raise ProviderRefused(refusal.code, refusal.detail, refusal.remedy) from refusal
        self._schedules.check()

    async def check_role(self) -> None:
        """Raises ProviderRefused for an execution role that cannot be used as such, where it may be looked at."""
        services = [LAMBDA, SCHEDULER] if self._schedules.are_needed else [LAMBDA]
        try:
            await self._role.require(*services)
        except Answered as error:
            if not error.is_denied:
                raise

    async def shown(self) -> Service | None:
        """The release as it is now; None when there is none of this deployment."""
        seen = await self._look()
        if seen is None or not self._is_ours(seen.function) or seen.own is None:
            return None
        return await self._shown(seen)

    async def apply(self, image: Image, secrets: Secrets) -> Service:
        """Make the version, or find it made. It gets no traffic: a URL that is new leads there, and nobody may call it."""
        self.check()
        if await self._function.alias(self._own) is None:
            await self._publish(image, secrets)
        seen = await self._look()
        if seen is None or seen.own is None:
            raise ProviderBusy("Lambda does not show yet what was made.")
        if seen.live is None:
            await self._function.name_version(naming.LIVE, seen.own.version, _NONE)
        if seen.url is None:
            await self._function.make_url()
        return await self._shown(await self._look() or seen)

    async def promote(self) -> Service:
        """Let the live alias stand for this release, and open its URL as the release says. Raises ProviderRefused
        (`overtaken`)."""
        seen = await self._look()
        if seen is None or seen.own is None or seen.live is None or not self._is_ours(seen.function):
            raise self._not_healthy("There is no such release.")
        if _number(seen.live.description) > self._order.number:
            raise ProviderRefused(
                "overtaken", "A later deployment of the function serves already.", "Deploy again to replace it."
            )
        if not await self._serves(seen):
            service = await self._shown(seen)
            if service.status != "healthy":
                raise self._not_healthy(service.message or "The release is not healthy.")
            await self._lead(seen.own, seen.live)
        return await self._shown(await self._look() or seen)

    async def withdraw(self) -> tuple[str, ...]:
        """Take the version away, and with the one that serves the whole function; the names of what is still there."""
        seen = await self._look()
        if seen is None or not self._is_ours(seen.function):
            await self._forget(self._secrets.own, was_applied=False)
            return ()
        there = await self._function.versions()
        own = {one.version for one in there if one.mark == self._mark and one.version != LATEST}
        own |= {seen.own.version} if seen.own else set()
        former = await self._former(seen, there, own)
        if former is not None:
            await self._give_back(seen, *former, own)
        elif self._is_alone(seen, own):
            return await self._remove_all(there, was_applied=seen.own is not None)
        if seen.function.mark == self._mark:
            # It serves nobody; but what is withdrawn leaves neither its variables nor the names of its secrets there.
            await self._blank(seen.function)
        used = _opened(one for one in there if one.version not in own and one.mark != self._mark)
        await self._forget(self._secrets.own - used, was_applied=seen.own is not None)
        for version in own - {seen.own.version if seen.own else ""}:
            await self._function.remove_version(version)
        await self._function.remove_alias(self._own)
        if seen.own:
            await self._function.remove_version(seen.own.version)
        return ()

    async def _former(self, seen: _Seen, there: list[Published], own: set[str]) -> tuple[Published, Alias] | None:
        """Whom this release was to take the place of, unless it did so to the end: the newest of the others that served."""
        if seen.own is None or seen.own.description.endswith(SERVED) or seen.live is None:
            return None
        others = [one for one in there if one.version not in own and one.version != LATEST]
        for one in sorted(others, key=lambda one: _number(one.mark), reverse=True):
            marked = _MARK.search(one.mark)
            alias = await self._function.alias(naming.alias_of(marked[1])) if marked else None
            if alias is not None and alias.version == one.version and alias.description.endswith(SERVED):
                return one, alias
        return None

    async def _give_back(self, seen: _Seen, former: Published, alias: Alias, own: set[str]) -> None:
        """Let the former serve as it did, where this release took its place, or closed its URL, before it was refused."""
        assert seen.live is not None, "without it there is nothing to give back"
        leads = seen.live.version in own
        if not leads and seen.live.version != former.version:
            return
        public = f" {_PUBLIC} " in f" {alias.description} "
        if leads and not public and not seen.is_closed:
            await self._function.close()
        if leads:
            await self._function.move_alias(naming.LIVE, former.version, former.mark, seen.live.revision_id)
        if public and not seen.is_open:
            await self._function.open()
        await self._schedules.give_back(former.mark)

    async def _blank(self, latest: Code) -> None:
        nothing = {"Description": _NONE, "Environment": {"Variables": {}}}
        try:
            await self._function.configure(nothing, latest.configuration["RevisionId"])
        except Answered as error:
            # Lambda changes nothing of what it could not make, and that is no reason for the rest to stay.
            if error.code != "InvalidParameterValueException":
                raise

    async def _remove_all(self, there: list[Published], *, was_applied: bool) -> tuple[str, ...]:
        """The whole function. What only versions open that do not serve goes first: once they are gone nothing names it."""
        own = self._secrets.own
        await self._schedules.remove()
        await self._forget(_opened(there) - own, was_applied=was_applied)
        await self._function.remove()
        if await self._function.code() is not None:
            return (f"function {self._target.function_name}",)
        await self._forget(own, was_applied=was_applied)
        return ()

    async def _forget(self, names: set[str], *, was_applied: bool) -> None:
        """Take secrets away. Whose release never came to be for want of the right to keep them has none."""
        try:
            await self._secrets.remove(names)
        except Answered as error:
            if was_applied or not error.is_denied:
                raise

    async def _publish(self, image: Image, secrets: Secrets) -> None:
        """Each step is looked for before it is taken, so that whoever died in between is followed up."""
        configuration = self._configuration()
        function = await self._function.code()
        if function is not None and not self._is_ours(function):
            raise self._taken()
        if function is not None and await self._was_never_made(function):
            await self._function.remove()
            function = None
        if function is None:
            await self._function.make(image.reference, configuration, naming.tags(self._order))
        latest = await self._settled()
        if latest.mark != self._mark:
            await self._function.configure(configuration, latest.configuration["RevisionId"])
            latest = await self._settled()
        if latest.digest != image.digest:
            await self._function.load(image.reference, latest.configuration["RevisionId"])
            latest = await self._settled()
        if latest.mark != self._mark or latest.digest != image.digest:
            raise ProviderBusy("Another deployment changes the function at this moment.")
        if latest.failure:
            raise ProviderRefused("aws_release_failed", latest.failure, self._remedy(latest.failure))
        # From here on $LATEST names the secrets, so that no other release takes them away with it.
        await self._secrets.keep(secrets)
        version = await self._function.publish(latest)
        access = f" {_PUBLIC}" if self._order.release.access == "public" else ""
        await self._function.name_version(self._own, version, f"dcf number={self._order.number}{access}")

    async def _was_never_made(self, function: Code) -> bool:
        """Whether it is what an earlier deployment left that Lambda could not make, and never changes any more."""
        if not function.could_not_be_made or _number(function.mark) >= self._order.number:
            return False
        return not any(one.version != LATEST for one in await self._function.versions())

    async def _settled(self) -> Code:
        return await self._function.settled()

    async def _lead(self, own: Alias, live: Alias) -> None:
        # Nobody who may not call the new release gets at it, and nobody who may is turned away from the old one. Before
        # each call that Lambda does not hold against a revision it is asked again who serves: a runner that stood still
        # meanwhile changes nothing of a later release.
        if self._order.release.access != "public":
            await self._require(live.description)
            await self._function.close()
        await self._function.move_alias(naming.LIVE, own.version, self._mark, live.revision_id)
        if self._order.release.access == "public":
            await self._require(self._mark)
            await self._function.open()
        await self._require(self._mark)
        await self._schedules.put()
        if not own.description.endswith(SERVED):
            description = f"{own.description} {SERVED}"
            await self._function.move_alias(self._own, own.version, description, own.revision_id)

    async def _require(self, mark: str) -> None:
        live = await self._function.alias(naming.LIVE)
        if live is None or live.description != mark:
            raise ProviderBusy("Another deployment of the function was let serve meanwhile.")

    async def _look(self) -> _Seen | None:
        function, own, live, url, statements = await together(
            self._function.code(),
            self._function.alias(self._own),
            self._function.alias(naming.LIVE),
            self._function.url(),
            self._function.statements(),
        )
        if function is None:
            return None
        return _Seen(function=function, own=own, live=live, url=url, statements=statements)

    async def _shown(self, seen: _Seen) -> Service:
        assert seen.own is not None, "only a release that was made is shown"
        code = await self._function.code(seen.own.version)
        serving = await self._serves(seen)
        status, message = await self._status(seen, seen.own, code, serving=serving)
        return Service(
            status=status,
            url=seen.url[0] if seen.url else "",
            revision=code.digest if code else "",
            serving=serving,
            message=message,
            remedy=self._remedy(message) if status == "unhealthy" else "",
        )

    async def _status(
        self, seen: _Seen, own: Alias, code: Code | None, *, serving: bool
    ) -> tuple[Literal["starting", "healthy", "unhealthy", "stopped"], str]:
        if code is None or seen.url is None:
            return "starting", ""
        if code.failure:
            return "unhealthy", code.failure
        if code.is_changing:
            return "starting", ""
        if own.description.endswith(SERVED) and seen.live is not None and seen.live.version != own.version:
            return "stopped", ""
        if serving or self._order.deployment_id in self._healthy:
            return "healthy", ""
        return self._judged(await self._function.invoke(own.version, request_event("GET", HEALTH_PATH, {})))

    def _judged(self, invoked: Invoked) -> tuple[Literal["starting", "healthy", "unhealthy"], str]:
        if invoked.error:
            return "unhealthy", "\n".join(part for part in (invoked.error, invoked.log.strip()) if part)
        if invoked.status >= 500 or not invoked.status:
            return "starting", f"{HEALTH_PATH} answers {invoked.status}."
        self._healthy.add(self._order.deployment_id)
        return "healthy", ""

    async def _serves(self, seen: _Seen) -> bool:
        if seen.own is None or seen.live is None or seen.url is None:
            return False
        leads = seen.live.version == seen.own.version and seen.live.description == self._mark
        as_said = seen.is_open if self._order.release.access == "public" else seen.is_closed
        finished = seen.own.description.endswith(SERVED)
        return leads and as_said and finished and await self._schedules.are_as_said()

    def _is_ours(self, function: Code) -> bool:
        mine = function.tags.get("managed-by") == naming.MANAGED_BY
        return mine and function.tags.get("dcf-function") == str(self._order.release.function_id)

    def _is_alone(self, seen: _Seen, versions: set[str]) -> bool:
        """Without this release nothing would serve."""
        if seen.live is None:
            return seen.function.mark == self._mark
        return seen.live.version in versions

    def _configuration(self) -> dict[str, Any]:
        release, target = self._order.release, self._target
        memory = target.memory_mb or min(max(release.memory_mb_max, MEMORY_MB_MIN), MEMORY_MB_MAX)
        return {
            "Description": self._mark,
            "Role": target.execution_role_arn,
            "MemorySize": memory,
            "Timeout": target.timeout_seconds or min(release.request_seconds_max, REQUEST_SECONDS_MAX),
            "Environment": {"Variables": self._environment()},
        }

    def _environment(self) -> dict[str, str]:
        release = self._order.release
        made = {name: value for name, value in release.environment.items() if name not in _OWN}
        return {**made, **self._secrets.variables(without=_OWN), **LAMBDA_OWN}

    def _remedy(self, failure: str) -> str:
        lacks = lacking(failure)
        if lacks is not None and lacks[0] == OPENING:
            arn = naming.secrets_arn(self._target.role_arn, self._target.region, self._order.project_id)
            return grant_to(self._target.execution_role_arn, OPENING, arn)
        if "ECR" in failure or "image" in failure:
            return LET_LAMBDA_READ
        return ""

    def _taken(self) -> ProviderRefused:
        return ProviderRefused(
            "service_taken",
            f"The Lambda function {self._target.function_name} in {self._target.region} is not this function's.",
            "Choose another functionName, or remove the Lambda function that has it.",
        )

    def _not_healthy(self, message: str) -> ProviderRefused:
        return ProviderRefused("release_not_healthy", message, "Deploy again.")


def _number(mark: str) -> int:
    found = _MARK.search(mark)
    return int(found[2]) if found else 0


def _opened(versions: Iterable[Published]) -> set[str]:
    return {name for one in versions for name in opened_by(one.environment)}
