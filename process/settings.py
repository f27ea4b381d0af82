"""What the operator may choose, read once from the environment into one frozen record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import msgspec

from process.secret import Secret

PREFIX = "DCF_"

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Size = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]

_EXPECTED: dict[Any, str] = {
    Port: "a port number from 0 (any free one) to 65535",
    Count: "a whole number from 1 up",
    Size: "a whole number from 0 up",
    Seconds: "a number of seconds above 0",
    bool: "true or false",
}


class SettingInvalid(Exception):
    """An environment variable has a value that cannot be used. The message names the variable and the remedy."""

    def __init__(self, variable: str, message: str) -> None:
        super().__init__(f"{variable}: {message}")
        self.variable = variable


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting and its default. A field `port` is the variable `DCF_PORT`; an empty variable counts as unset."""

    # Unset: PostgreSQL is started from the wheel, with its data in data_dir/postgres.
    database_url: Secret | None = None
    # Behind a pooler LISTEN needs a connection of its own to the server; unset, database_url is used.
    database_direct_url: Secret | None = None
    # False makes the embedded PostgreSQL forget what a crash of the machine interrupts: for tests only.
    database_durable: bool = True
    # Connections a process keeps at most.
    pool_size_max: Count = 10
    # 0 behind a pooler that pools transactions.
    statement_cache_size: Size = 100

    data_dir: Path = Path(".dcf")
    # Unset: data_dir/toolchain.
    toolchain_dir: Path | None = None

    host: str = "127.0.0.1"
    port: Port = 8000
    functions_port: Port = 8001
    projections_port: Port = 8002
    runner_port: Port = 8003
    agent_port: Port = 8004
    # How clients reach the API and the functions when that is not this machine's address (a proxy, a domain).
    public_url: str | None = None
    functions_url: str | None = None

    # Our signing keys as an OIDC issuer. Unset: made in data_dir and renewed; set: read only, for the operator to renew.
    issuer_keys_file: Path | None = None
    # The keys that sign checkpoints of the log. Unset: one is made in data_dir; set: read only, for the operator to make.
    log_keys_file: Path | None = None
    # How long after a checkpoint the next one is signed at the earliest, while the log grows.
    checkpoint_seconds: Seconds = 10.0
    # A token that Kubernetes projects and renews, used instead of tokens of our own.
    identity_token_file: Path | None = None

    # Where each cloud answers, for all tenants alike; `{service}` becomes the service's name as its cloud calls it:
    # run, storage, … of Google; sts, s3, lambda, … of Amazon; login, management, blob, … of Azure. Unset: where they do.
    gcp_endpoints: str = "https://{service}.googleapis.com"
    aws_endpoints: str | None = None
    azure_endpoints: str | None = None

    # Whose ID tokens people may sign in with: [trusts-email:]ISSUER_URL=AUDIENCE or firebase:PROJECT_ID, with spaces between.
    sign_in_issuers: str = ""
    # From which origins pages in a browser may use the API, with spaces between; * is every page, unset none.
    cors_origins: str = ""
    # True lets the service listen beyond this machine while the keys of its first start are good.
    first_keys_exposed: bool = False
    # Whether who signs in for the first time waits for an invitation, or gets a workspace (a tenant) on this plan.
    first_sign_in: Literal["invitation", "workspace"] = "invitation"
    sign_up_plan: str = "sandbox"

    # Networks besides the public one that webhooks may be sent to, such as 10.0.0.0/8, with spaces between.
    webhook_networks: str = ""

    local_engine: str | None = None
    # Where functions that run as processes get to: the web through a proxy of the agent, nowhere, or all this machine does.
    functions_outbound: Literal["web", "none", "all"] = "web"
    # The network that podman or docker give to builds and functions, as their --network takes it. Unset: the engine's own.
    container_network: str = ""
    # The key that closes stored secrets and personal fields. Unset: one is made in data_dir at first start.
    master_key: Secret | None = None
    # Those it had before, with spaces between, until what they closed is wrapped anew.
    former_master_keys: Secret | None = None

    # A key in a cloud's KMS that closes them instead, such as aws-kms:arn:aws:kms:…; what the keys above closed still opens.
    master_key_service: str | None = None
    # Those it had before, or will have, with spaces between, until what they wrapped is wrapped anew.
    former_master_key_services: str = ""
    # How long a key that such a service unwrapped is used while the service is away.
    master_key_kept_seconds: Seconds = 3600.0

    # Where `dcf log archive` puts old parts of the log, and where replays read on in them.
    archive_dir: Path | None = None
    # How many days a repeated request, by its Idempotency-Key, is answered what the first one was.
    idempotency_days: Count = 30
    request_bytes_max: Count = 1_000_000
    upload_bytes_max: Count = 5_000_000
    # How long a write waits for the read models before it answers anyway.
    wait_seconds_max: Seconds = 5.0
    stop_seconds_max: Seconds = 8.0
    # Deployments one runner drives at a time.
    runner_deployments_max: Count = 100
    # How long clouds are left alone between two looks at what serves.
    drift_seconds: Seconds = 300.0
    # Between two rounds of taking away what plans keep no longer.
    retention_seconds: Seconds = 3600.0

    log_format: Literal["auto", "text", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the DCF_* variables. Raises SettingInvalid for the first one that cannot be used."""
        given = {}
        for field in msgspec.structs.fields(cls):
            variable = PREFIX + field.encode_name.upper()
            if text := environment.get(variable, "").strip():
                given[field.name] = _converted(variable, text, field.type)
        settings = cls(**given)
        return msgspec.structs.replace(settings, data_dir=settings.data_dir.expanduser().absolute())

    @property
    def toolchains(self) -> Path:
        """Where toolchains are kept."""
        return self.toolchain_dir or self.data_dir / "toolchain"

    def to_environment(self) -> dict[str, str]:
        """The variables that give these settings to another process, the secrets in the clear."""
        chosen = {}
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                chosen[PREFIX + field.name.upper()] = _text(value)
        return chosen


def _converted(variable: str, text: str, type: Any) -> Any:
    try:
        return msgspec.convert(text, type, strict=False, dec_hook=_made)
    except msgspec.ValidationError:
        expected = _EXPECTED.get(type) or "one of " + ", ".join(get_args(type))
        # What was given is not repeated: it may be a secret in the wrong place.
        raise SettingInvalid(variable, f"cannot be used; set it to {expected}, or unset it for the default") from None


def _made(type: Any, value: Any) -> Any:
    return type(value)


def _text(value: object) -> str:
    match value:
        case Secret():
            return value.reveal()
        case bool():
            return str(value).lower()
        case _:
            return str(value)
