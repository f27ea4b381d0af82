"""Beyond this machine the service listens only once the keys of its first start are of no use, or when told to."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.api_keys import parse_key
from api.exposure import FirstKeysExposed, is_loopback, require_guarded
from api.first_start import TENANT_ID, make_first_start
from commands.api_key import RevokeApiKey
from commands.execute import Context, execute
from commands.ids import new_id
from domain.event import SYSTEM_TENANT
from eventstore.log import Log
from eventstore.memory import MemoryLog
from eventstore.meta import Actor
from eventstore.sealing import MemoryPersonKeys, Sealing
from process.settings import Settings

AT = datetime(2026, 6, 1, tzinfo=UTC)
ISSUERS = "https://login.example.com=app"


def settings(host: str, **variables: str) -> Settings:
    return Settings.from_environment({"DCF_HOST": host, **variables})


async def begun(data_dir: Path, *, with_tenant: bool = True) -> MemoryLog:
    log = MemoryLog(lambda: AT)
    await make_first_start(log, Sealing(MemoryPersonKeys()), data_dir, AT, with_tenant=with_tenant)
    return log


async def revoke(log: Log, data_dir: Path, name: str) -> None:
    key = parse_key((data_dir / f"{name}.key").read_text().strip())
    assert key is not None
    tenant_id = TENANT_ID if name == "owner" else SYSTEM_TENANT
    context = Context(actor=Actor("system", "test"), command_id=new_id(), correlation_id=new_id())
    await execute(log, RevokeApiKey(tenant_id=tenant_id, at=AT, key_id=key.key_id), context)


class TestRequireGuarded:
    async def test_lets_the_machine_itself_use_the_first_keys(self, tmp_path: Path) -> None:
        await require_guarded(settings("127.0.0.1"), await begun(tmp_path))

    async def test_refuses_others_while_a_first_key_is_good(self, tmp_path: Path) -> None:
        log = await begun(tmp_path)
        with pytest.raises(FirstKeysExposed, match=r"owner.key and operator.key.*DCF_FIRST_KEYS_EXPOSED"):
            await require_guarded(settings("0.0.0.0"), log)

        await revoke(log, tmp_path, "owner")
        with pytest.raises(FirstKeysExposed, match=r"start's operator.key would"):
            await require_guarded(settings("0.0.0.0"), log)

        await revoke(log, tmp_path, "operator")
        await require_guarded(settings("0.0.0.0"), log)

    async def test_refuses_to_make_the_first_keys_where_others_listen(self) -> None:
        with pytest.raises(FirstKeysExposed, match=r"owner.key and operator.key"):
            await require_guarded(settings("::"), MemoryLog(lambda: AT))
        with pytest.raises(FirstKeysExposed, match=r"start's operator.key"):
            await require_guarded(settings("::", DCF_SIGN_IN_ISSUERS=ISSUERS), MemoryLog(lambda: AT))

    async def test_does_as_it_is_told(self, tmp_path: Path) -> None:
        told = settings("0.0.0.0", DCF_FIRST_KEYS_EXPOSED="true")

        await require_guarded(told, await begun(tmp_path))


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("192.168.1.4", False),
        ("203.0.113.1", False),
        ("functions.example.com", False),
    ],
)
def test_only_loopback_is_this_machine_alone(host: str, own: bool) -> None:
    assert is_loopback(host) is own
