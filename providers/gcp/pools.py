"""The customer's workload identity pool and its provider: the commands that make, restore and correct them."""

from __future__ import annotations

from uuid import UUID

from domain.clouds import GcpIdentity
from providers.gcp.errors import command
from providers.issuer import TokenSource
from providers.provider import ProviderRefused

_KEYS_FILE = "dcf-keys.json"


class Pools:
    """Commands for the pools that trust one source of tokens."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    def restore(self, identity: GcpIdentity) -> str:
        """What makes pool and provider whatever became of them: Google does not say which of the two is missing, deleted (for
        thirty days the name stays taken) or disabled. The commands that find nothing to do fail, the last one does not."""
        return "; ".join(
            (
                f"{_pool(identity, 'create')} || {_pool(identity, 'undelete')}",
                _pool(identity, "update", "--no-disabled"),
                f"{_provider(identity, 'create-oidc', *self._trust)} || {_provider(identity, 'undelete')}",
                # Nothing else of one that is there is changed: it may be somebody's.
                _provider(identity, "update-oidc", "--no-disabled"),
            )
        )

    def correct(self, identity: GcpIdentity) -> str:
        """What makes the provider take our tokens, but for its condition."""
        return _provider(identity, "update-oidc", *self._trust, f"--allowed-audiences={identity.audience}")

    def admit(self, tenant_id: UUID, project_id: UUID, identity: GcpIdentity) -> str:
        """What gives the provider a condition that the tenant's projects meet, and no other tenant's."""
        subject, whole = self._source.subject(tenant_id, project_id), f"tenant:{tenant_id}:"
        met = f'.startsWith("{whole}")' if subject.startswith(whole) else f' == "{subject}"'
        return _provider(identity, "update-oidc", f"--attribute-condition=assertion.sub{met}")

    def unreachable(self, said: str, identity: GcpIdentity) -> ProviderRefused:
        """The refusal when Google cannot fetch our keys: handed over by the customer, they are not fetched."""
        fetched = command("curl", "--fail", "--silent", "--show-error", f"--output={_KEYS_FILE}", self._source.keys_url)
        given = _provider(identity, "update-oidc", *self._trust, f"--jwk-json-path={_KEYS_FILE}")
        return ProviderRefused(
            "WORKLOAD_IDENTITY_ISSUER_UNREACHABLE",
            f"{said} The provider names another issuer than {self._source.issuer}, or the internet does not reach "
            "/.well-known/openid-configuration there: the operator of this service opens it, and sets DCF_PUBLIC_URL. "
            "Until then the keys can be handed over, anew whenever they change (every thirty days).",
            f"{fetched} && {given}",
        )

    @property
    def _trust(self) -> tuple[str, ...]:
        return f"--issuer-uri={self._source.issuer}", "--attribute-mapping=google.subject=assertion.sub"


def _pool(identity: GcpIdentity, verb: str, *more: str) -> str:
    return _command(verb, identity.workload_identity_pool, identity, *more)


def _provider(identity: GcpIdentity, verb: str, *more: str) -> str:
    within = f"--workload-identity-pool={identity.workload_identity_pool}"
    return _command(f"providers {verb}", identity.workload_identity_provider, identity, within, *more)


def _command(verb: str, name: str, identity: GcpIdentity, *more: str) -> str:
    project = f"--project={identity.workload_identity_project_number}"
    words = ("gcloud", "iam", "workload-identity-pools", *verb.split())
    return command(*words, name, project, "--location=global", *more)
