"""The port of the clouds over a cloud in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import Random
from typing import IO, TypeVar
from uuid import UUID

import msgspec

from domain.clouds import Identity, Storage, target_key
from domain.release import Toolchain
from providers.archive import checked
from providers.provider import (
    NO_SECRETS,
    Answered,
    Build,
    Bundle,
    Call,
    FilePage,
    Finding,
    Image,
    ListedFile,
    LogChunk,
    NoAnswer,
    Observation,
    Order,
    Place,
    ProviderBusy,
    ProviderRefused,
    ProviderUnreachable,
    Secrets,
    Service,
    Source,
    Step,
)
from providers.simulated.made import FoundFile, Made, MadeBuild, MadeBundle, MadeImage, MadeService
from providers.simulated.weather import FAIR, Behaviour, Weather
from providers.spool import piece_at, pieces, size_of

Address = tuple[str, ...]

_LOG_LINES_PER_SECOND = 2
# Of one page.
FILES_MAX = 100


class Served(msgspec.Struct, frozen=True):
    """From `since` (seconds) on, requests for an address reached this deployment; None: nobody."""

    since: float
    deployment_id: UUID | None
    number: int


T = TypeVar("T", Build, Service)

_HASHED_BYTES = 1024 * 1024


class SimulatedProvider:
    """Everything random comes from the seed, so the same calls in the same order meet the same cloud.

    Beside the port it tells what really happened: `made`, `served`, `calls`, `files`, and `violations`, one sentence each.
    What becomes of a deployment stands in `behaviour`; a `compiler`, where there is one, reads it out of the sources.
    """

    name = "simulated"

    def __init__(
        self,
        seed: int,
        *,
        clock: Callable[[], float],
        weather: Weather = FAIR,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        compiler: Callable[[tuple[Source, ...]], Behaviour] | None = None,
    ) -> None:
        self.weather = weather
        self.behaviour: dict[UUID, Behaviour] = defaultdict(Behaviour)
        self.made: dict[UUID, Made] = defaultdict(Made)
        self.calls: dict[Address, list[Call]] = defaultdict(list)
        self.served: dict[Address, list[Served]] = defaultdict(list)
        self.files: dict[tuple[Storage, str], FoundFile] = {}
        self.violations: list[str] = []
        self._random = Random(seed)  # noqa: S311 - repeatable on purpose
        self._clock = clock
        self._now = now
        self._compiler = compiler

    async def verify_identity(self, tenant_id: UUID, project_id: UUID, identity: Identity) -> Finding:
        return Finding(status="verified", steps=(Step(name="identity", status="passed", message="It is taken."),))

    async def check_storage(self, tenant_id: UUID, project_id: UUID, identity: Identity, storage: Storage) -> Finding:
        return Finding(status="verified", steps=(Step(name="storage", status="passed", message="It is there."),))

    async def put_file(self, place: Place, name: str, content: IO[bytes]) -> bool:
        async with self._stormy():
            before = len(self.files)
            whole = piece_at(content, 0, size_of(content))
            self.files.setdefault((place.storage, name), FoundFile(content=whole, at=self._now()))
            return len(self.files) > before

    async def read_file(self, place: Place, name: str, into: IO[bytes], *, bytes_max: int) -> datetime | None:
        async with self._stormy():
            found = self.files.get((place.storage, name))
            if found is None:
                return None
            into.write(found.content[: bytes_max + 1])
            return found.at

    async def list_files(self, place: Place, folder: str, cursor: str = "") -> FilePage:
        async with self._stormy():
            listed = [
                ListedFile(name=name, at=file.at)
                for (storage, name), file in sorted(self.files.items(), key=lambda item: item[0][1])
                if storage == place.storage and name.startswith(folder) and name > cursor
            ]
            page = tuple(listed[:FILES_MAX])
            return FilePage(items=page, next_cursor=page[-1].name if len(listed) > FILES_MAX else "")

    async def remove_file(self, place: Place, name: str) -> None:
        async with self._stormy():
            self.files.pop((place.storage, name), None)

    async def observe(self, order: Order) -> Observation:
        async with self._call("observe", order):
            now, made = self._clock(), self.made[order.deployment_id]
            bundle, build, image, service = (
                made.bundle.at(now),
                made.build.at(now),
                made.image.at(now),
                made.service.at(now),
            )
            says = self.behaviour[order.deployment_id].says
            return Observation(
                bundle=Bundle(location=bundle.location, digest=bundle.digest) if bundle else None,
                build=_saying(_build(build, now), says) if build else None,
                image=Image(reference=image.reference, digest=image.digest) if image else None,
                service=_saying(_service(service, now), says) if service else None,
            )

    async def bundle(self, order: Order, sources: tuple[Source, ...]) -> Bundle:
        async with self._call("bundle", order):
            if self._compiler is not None:
                self.behaviour[order.deployment_id] = self._compiler(sources)
            whole = hashlib.sha256()
            for source in checked(sources):
                for piece in pieces(source.content, _HASHED_BYTES):
                    whole.update(piece)
            digest = f"sha256:{whole.hexdigest()}"
            location = f"simulated/{order.deployment_id}/source"
            self.made[order.deployment_id].bundle.change(MadeBundle(location, digest), self._visible_at())
            return Bundle(location=location, digest=digest)

    async def start_build(self, order: Order) -> Build:
        async with self._call("start_build", order):
            made = self.made[order.deployment_id]
            if made.bundle.actual is None:
                raise ProviderRefused("bundle_missing", "There is nothing to build.", "Deploy again.")
            if made.build.actual is None:
                self._start_build(order, made)
            assert made.build.actual is not None
            return _build(made.build.actual, self._clock())

    async def stop_build(self, order: Order) -> None:
        async with self._call("stop_build", order):
            self._stop_build(order)

    async def build_log(self, order: Order, cursor: int) -> LogChunk:
        async with self._call("build_log", order):
            build = self.made[order.deployment_id].build.actual
            if build is None:
                return LogChunk(text="", next_cursor=cursor)
            seconds = min(self._clock(), build.ends_at) - build.started_at
            lines = round(seconds * _LOG_LINES_PER_SECOND)
            says = self.behaviour[order.deployment_id].says
            written = [f"line {line}{says}\n" for line in range(lines)]
            if build.complaint and _build(build, self._clock()).status == "failed":
                written.append(f"{build.complaint}{says}\n")
            return LogChunk(text="".join(written[cursor:]), next_cursor=max(cursor, len(written)))

    async def push(self, order: Order) -> Image:
        async with self._call("push", order):
            made, now = self.made[order.deployment_id], self._clock()
            if made.build.actual is None or _build(made.build.actual, now).status != "succeeded":
                raise ProviderRefused("build_missing", "There is nothing to push.", "Deploy again.")
            image = MadeImage(f"simulated/{order.deployment_id}", f"sha256:{order.deployment_id.hex}")
            made.image.change(image, self._visible_at())
            return Image(reference=image.reference, digest=image.digest)

    async def apply(self, order: Order, secrets: Secrets = NO_SECRETS) -> Service:
        async with self._call("apply", order):
            made = self.made[order.deployment_id]
            made.secret_names = tuple(sorted(secrets))
            if not self._has_image(order):
                raise ProviderRefused("image_missing", "There is no image to run.", "Deploy again.")
            if made.image.actual is None:  # What the release pins is kept for this deployment too.
                made.image.change(self._pinned(order), self._visible_at())
            if made.service.actual is None:
                self._start_service(order, made, secrets)
            assert made.service.actual is not None
            return _service(made.service.actual, self._clock())

    async def promote(self, order: Order) -> Service:
        async with self._call("promote", order):
            service, now = self.made[order.deployment_id].service, self._clock()
            if service.actual is None or _service(service.actual, now).status != "healthy":
                raise ProviderRefused("release_not_healthy", "There is no healthy release to serve.", "Deploy again.")
            before = self.serving(order)
            if before is not None and before.number > order.number:
                raise ProviderRefused(
                    "overtaken", "A later deployment of the function serves already.", "Deploy again."
                )
            self._serve(order, before)
            return _service(service.actual, now)

    async def withdraw(self, order: Order) -> tuple[str, ...]:
        async with self._call("withdraw", order):
            made = self.made[order.deployment_id]
            made.withdrawals += 1
            sticks = made.withdrawals <= self.behaviour[order.deployment_id].sticks
            partly = sticks or self._happens(self.weather.withdrawn_in_part)
            self._stop_build(order)
            made.build.change(None, self._visible_at())
            self._remove_service(order, made)
            made.bundle.change(None, self._visible_at())
            if not partly:
                made.image.change(None, self._visible_at())
            return made.remains(self._clock())

    async def call(self, call: Call) -> Answered:
        """A function is called under its address; which of its targets serves there makes no difference."""
        await self._pass_time()
        serving = self._serving_at(call.address)
        if serving is None:
            raise ProviderRefused("function_not_found", "No function answers there.", "Deploy the function.")
        if self._happens(self.weather.throttled + self.weather.unreachable):
            raise ProviderBusy("The function is being started again.", retry_in_seconds=self._random.uniform(0.1, 2.0))
        self.calls[call.address].append(call)
        behaviour = self.behaviour[serving]
        await asyncio.sleep(min(behaviour.answers_after_seconds, call.seconds_max))
        if behaviour.answers_after_seconds > call.seconds_max or self._happens(self.weather.answer_lost):
            raise NoAnswer("The function did not answer in time.")
        return Answered(status=behaviour.answers_with)

    def _serving_at(self, address: Address) -> UUID | None:
        for served_at, history in self.served.items():
            if served_at[: len(address)] == address and history and history[-1].deployment_id is not None:
                return history[-1].deployment_id
        return None

    def meddle(self, deployment_id: UUID, **changes: object) -> None:
        """Somebody changes the service of a deployment behind our back; without changes, removes it."""
        shown = self.made[deployment_id].service
        changed = msgspec.structs.replace(shown.actual, **changes) if shown.actual and changes else None
        shown.change(changed, self._visible_at())

    def serving(self, order: Order) -> Served | None:
        """Who really serves the order's address."""
        history = self.served[_address(order)]
        return history[-1] if history and history[-1].deployment_id is not None else None

    @asynccontextmanager
    async def _call(self, verb: str, order: Order) -> AsyncIterator[None]:
        """What every call about a deployment meets, before its effect and after."""
        behaviour = self.behaviour[order.deployment_id]
        try:
            async with self._stormy(refused=verb if behaviour.refused == verb else ""):
                yield
        except ProviderRefused as refused:
            refused.message, refused.remedy = refused.message + behaviour.says, refused.remedy + behaviour.says
            raise
        except ProviderBusy as busy:
            busy.message += behaviour.says
            raise

    @asynccontextmanager
    async def _stormy(self, *, refused: str = "") -> AsyncIterator[None]:
        await self._pass_time()
        if refused:
            raise ProviderRefused("permission_denied", f"{refused} is not allowed.", f"Grant the right to {refused}.")
        if self._happens(self.weather.throttled):
            raise ProviderBusy("Too many requests.", retry_in_seconds=self._random.uniform(0.1, 2.0))
        if self._happens(self.weather.unreachable):
            raise ProviderUnreachable("No route to the cloud.")
        yield
        await self._pass_time()
        if self._happens(self.weather.answer_lost):
            raise ProviderUnreachable("The connection was reset.")

    async def _pass_time(self) -> None:
        await asyncio.sleep(self._random.uniform(0.0, self.weather.latency_seconds_max))

    def _happens(self, chance: float) -> bool:
        return self._random.random() < chance

    def _visible_at(self) -> float:
        return self._clock() + self._random.uniform(0.0, self.weather.visible_seconds_max)

    def _start_build(self, order: Order, made: Made) -> None:
        made.builds_started += 1
        if made.builds_started > 1:
            self.violations.append(f"deployment {order.deployment_id} was built {made.builds_started} times")
        behaviour, now = self.behaviour[order.deployment_id], self._clock()
        build = MadeBuild(
            id=f"build-{order.deployment_id.hex[-8:]}-{made.builds_started}",
            started_at=now,
            ends_at=now + behaviour.build_seconds,
            complaint=behaviour.complaint if behaviour.build_fails else "",
        )
        made.build.change(build, self._visible_at())

    def _stop_build(self, order: Order) -> None:
        made = self.made[order.deployment_id]
        build = made.build
        if build.actual and not build.actual.stopped and build.actual.ends_at > self._clock():
            made.builds_stopped += 1
            build.change(msgspec.structs.replace(build.actual, stopped=True), self._visible_at())

    def _start_service(self, order: Order, made: Made, secrets: Secrets) -> None:
        made.services_started += 1
        if made.services_started > 1:
            self.violations.append(f"deployment {order.deployment_id} was started {made.services_started} times")
        behaviour, image = self.behaviour[order.deployment_id], made.image.actual
        assert image is not None
        values = {name: value.reveal() for name, value in secrets.items()}
        service = MadeService(
            url="https://simulated.invalid/" + "/".join(order.release.address),
            revision=image.digest,
            healthy_at=self._clock() + behaviour.healthy_after_seconds,
            last_words=behaviour.last_words.format_map(values) if behaviour.comes_up_unhealthy else "",
        )
        made.service.change(service, self._visible_at())

    def _serve(self, order: Order, before: Served | None) -> None:
        service = self.made[order.deployment_id].service
        assert service.actual is not None
        service.change(msgspec.structs.replace(service.actual, serving=True), self._visible_at())
        if before is None or before.deployment_id != order.deployment_id:
            self.served[_address(order)].append(Served(self._clock(), order.deployment_id, order.number))
        if before is not None and before.deployment_id not in (None, order.deployment_id):
            former = self.made[before.deployment_id].service
            if former.actual is not None:
                stopped = msgspec.structs.replace(former.actual, serving=False, stopped=True)
                former.change(stopped, self._visible_at())

    def _has_image(self, order: Order) -> bool:
        return self.made[order.deployment_id].image.actual is not None or self._pinned(order) is not None

    def _pinned(self, order: Order) -> MadeImage | None:
        """The image that the release pins, as long as any deployment keeps it."""
        pinned = order.release.image
        kept = (made.image.actual for made in list(self.made.values()))
        return next((image for image in kept if pinned and image and image.digest == pinned.digest), None)

    def _remove_service(self, order: Order, made: Made) -> None:
        serving = self.serving(order)
        if serving is not None and serving.deployment_id == order.deployment_id:
            self.served[_address(order)].append(Served(self._clock(), None, order.number))
        made.service.change(None, self._visible_at())


def _address(order: Order) -> Address:
    return (*order.release.address, target_key(order.release.target))


def _saying(thing: T, says: str) -> T:
    return msgspec.structs.replace(thing, message=thing.message + says, remedy=thing.remedy + says) if says else thing


def _build(build: MadeBuild, now: float) -> Build:
    if build.stopped:
        return Build(id=build.id, status="stopped")
    if now < build.ends_at:
        return Build(id=build.id, status="running")
    if build.complaint:
        return Build(id=build.id, status="failed", message=build.complaint, remedy="Mend main.dart, and deploy again.")
    return Build(id=build.id, status="succeeded", toolchain=Toolchain(engine="simulated", version="3.11.0"))


def _service(service: MadeService, now: float) -> Service:
    if service.stopped:
        return Service(status="stopped", url=service.url, revision=service.revision)
    if now < service.healthy_at:
        return Service(status="starting", url=service.url, revision=service.revision)
    if service.last_words:
        return Service(status="unhealthy", url=service.url, revision=service.revision, message=service.last_words)
    return Service(status="healthy", url=service.url, revision=service.revision, serving=service.serving)
