"""Webhooks of an export, in the installation it is put into: told nothing again, and silent where they cannot sign.

How far each was told is not in the log, and its address may have heard all of it from the exporting installation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid4

from commands.basis import CODEC
from commands.webhook import SwitchWebhookOff
from domain.event import StreamRef
from domain.webhook import WEBHOOK, Webhook, WebhookSwitchedOff
from eventstore.batch import send
from eventstore.codec import tag_of
from eventstore.log import Append, Appended, StoredEvent
from eventstore.meta import Actor, Meta

REASON = "Its secret did not come with the import. Set a new one (rotate-secret), then switch it on."

_ACTOR = Actor("system", "import")
_TYPES = frozenset(map(tag_of, WEBHOOK.events))

_MISSING = """
    SELECT w.n
      FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY w (tenant_id, secret_id, n)
     WHERE NOT EXISTS (SELECT FROM vault.secret_values v WHERE v.tenant_id = w.tenant_id AND v.value_id = w.secret_id)
     ORDER BY w.n
"""
_BEGIN = "SELECT FROM work.begin_webhooks($1, $2, array_fill($3::bigint, ARRAY[cardinality($2::uuid[])]))"


class ImportedWebhooks:
    """Takes the events in order, and sees to the webhooks once all else is there, in the import's transaction."""

    def __init__(self) -> None:
        self._webhooks: dict[StreamRef, tuple[int, Webhook]] = {}

    def take(self, events: Iterable[StoredEvent]) -> None:
        for event in events:
            if event.type in _TYPES:
                stream = WEBHOOK.stream(event.tenant_id, event.stream_id)
                _, webhook = self._webhooks.get(stream, (0, WEBHOOK.initial))
                self._webhooks[stream] = event.version, WEBHOOK.evolve(webhook, CODEC.decode(event))

    async def settle(self, connection: Any, last: int) -> tuple[int, int]:
        """How many had to be switched off, and where the log, which went up to `last`, ends now."""
        off = 0
        for stream in await self._without_secret(connection):
            last = await self._switch_off(connection, stream, last)
            off += 1
        kept = [stream for stream, (_, webhook) in self._webhooks.items() if webhook.status != "removed"]
        await connection.execute(_BEGIN, [one.tenant_id for one in kept], [one.id for one in kept], last)
        return off, last

    async def _without_secret(self, connection: Any) -> list[StreamRef]:
        active = [(stream, one.secret_id) for stream, (_, one) in self._webhooks.items() if one.status == "active"]
        tenants, secrets = [stream.tenant_id for stream, _ in active], [secret for _, secret in active]
        return [active[row["n"] - 1][0] for row in await connection.fetch(_MISSING, tenants, secrets)]

    async def _switch_off(self, connection: Any, stream: StreamRef, last: int) -> int:
        version, webhook = self._webhooks[stream]
        command_id: UUID = uuid4()
        meta = Meta(
            actor=_ACTOR,
            command=str(SwitchWebhookOff.__struct_config__.tag),
            command_id=command_id,
            correlation_id=command_id,
            causation_id=f"command/{command_id}",
            reason=REASON,
            project_id=webhook.project_id,
        )
        event = CODEC.new_event(stream, version + 1, WebhookSwitchedOff(reason=REASON), meta)
        append = Append(tenant_id=stream.tenant_id, command_id=command_id, events=(event,))
        (outcome,) = await send(connection, [append], last)
        assert isinstance(outcome, Appended), "nobody else writes meanwhile"
        return outcome.last_position
