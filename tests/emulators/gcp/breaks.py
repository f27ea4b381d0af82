"""What a customer of Google Cloud gets wrong, one thing after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.emulators.cloud import Break
from tests.emulators.gcp.account import Account, Policy, Pool, PoolProvider
from tests.emulators.gcp.names import BUCKET, EMAIL, POOL, PROVIDER
from tests.emulators.late import LateShell

_MEMBER = f"serviceAccount:{EMAIL}"
_GONE, _REFUSED = "WORKLOAD_IDENTITY_PROVIDER_NOT_FOUND", "WORKLOAD_IDENTITY_TOKEN_REFUSED"
_UNREACHABLE, _DISABLED = "WORKLOAD_IDENTITY_ISSUER_UNREACHABLE", "GCP_SERVICE_DISABLED"


class Breaks:
    """Of an account that was whole."""

    def __init__(self, account: Account, shell: LateShell) -> None:
        self._account, self._shell = account, shell
        self._bindings = dict(account.service_accounts[EMAIL].bindings)

    def all(self) -> tuple[Break, ...]:
        return (
            *self._of_the_exchange(),
            *self._of_the_service_account(),
            *self._of_the_bucket(),
            *self._of_the_project(),
        )

    def _of_the_exchange(self) -> Iterator[Break]:
        def broken(what: str, code: str, act: Callable[[], object]) -> Break:
            return self._broken(what, act, "identity", "token_exchange", code)

        yield broken("no pool", _GONE, self._account.pools.clear)
        yield broken("no provider", _GONE, lambda: _set(self._pool, providers={}))
        yield broken("a pool disabled", _GONE, lambda: _set(self._pool, disabled=True))
        yield broken("a pool disabled and deleted", _GONE, lambda: _set(self._pool, disabled=True, deleted=True))
        yield broken("a provider disabled", _GONE, lambda: _set(self._provider, disabled=True))
        yield broken(
            "a provider disabled and deleted", _GONE, lambda: _set(self._provider, disabled=True, deleted=True)
        )
        condition = "assertion.sub == 'somebody'"
        refused = "WORKLOAD_IDENTITY_CONDITION_REFUSED"
        yield broken("a condition", refused, lambda: _set(self._provider, condition=condition))
        yield broken("another audience", _REFUSED, lambda: _set(self._provider, audiences=["api://other"]))
        mapping = {"google.subject": "assertion.email"}
        yield broken("another mapping", _REFUSED, lambda: _set(self._provider, mapping=mapping))
        nobody = "http://127.0.0.1:9"
        yield broken("an issuer that does not answer", _UNREACHABLE, lambda: _set(self._provider, issuer=nobody))
        yield broken("no way to the issuer", _UNREACHABLE, self._without_way)
        yield broken("another issuer", _REFUSED, lambda: _set(self._provider, issuer="https://other.example"))

    def _of_the_service_account(self) -> Iterator[Break]:
        accounts = self._account.service_accounts
        step, missing = "service_account", "WORKLOAD_IDENTITY_BINDING_MISSING"

        def again(remedy: str) -> None:
            self._shell.obey(remedy)
            accounts[EMAIL].bindings.update(self._bindings)

        yield self._broken("no binding", self._without_binding, "identity", step, missing)
        yield self._broken("no API", self._without_api("iamcredentials"), "identity", step, _DISABLED)
        yield Break(
            what="no service account",
            act=lambda: accounts.pop(EMAIL),
            asked="identity",
            step=step,
            code="SERVICE_ACCOUNT_NOT_FOUND",
            mend=again,
        )

    def _of_the_bucket(self) -> Iterator[Break]:
        def broken(what: str, code: str, act: Callable[[], object]) -> Break:
            return self._broken(what, act, "bucket", "bucket", code)

        buckets = self._account.buckets
        yield broken("no bucket", "GCP_BUCKET_NOT_FOUND", buckets.clear)
        right = "GCP_BUCKET_PERMISSION_DENIED"
        yield broken("no right to the bucket", right, lambda: buckets.update({BUCKET: Policy()}))
        yield broken("no billing", "GCP_BILLING_DISABLED", lambda: self._account.unbilled.add("storage"))

    def _of_the_project(self) -> Iterator[Break]:
        def broken(what: str, step: str, code: str, act: Callable[[], object]) -> Break:
            return self._broken(what, act, "diagnosis", step, code)

        policy, own = self._account.policy, self._account.service_accounts
        run, user = "roles/run.admin", "roles/iam.serviceAccountUser"
        lacking = "GCP_PERMISSION_DENIED"
        yield broken("no right to run", "project_permissions", lacking, lambda: policy.remove(run, _MEMBER))
        yield broken(
            "no right to act as itself", "act_as", "GCP_ACT_AS_DENIED", lambda: own[EMAIL].remove(user, _MEMBER)
        )
        yield broken("Cloud Run not enabled", "cloud_run", _DISABLED, self._without_api("run"))
        yield broken("Cloud Build not enabled", "cloud_build", _DISABLED, self._without_api("cloudbuild"))
        unbilled = "GCP_BILLING_DISABLED"
        yield broken("no billing", "cloud_build", unbilled, lambda: self._account.unbilled.add("cloudbuild"))

    def _broken(self, what: str, act: Callable[[], object], asked: Any, step: str, code: str) -> Break:
        return Break(what=what, act=act, asked=asked, step=step, code=code, mend=self._shell.obey)

    def _without_way(self) -> None:
        self._provider.keys, self._account.reaches_issuers = None, False

    def _without_binding(self) -> None:
        self._account.service_accounts[EMAIL].bindings["roles/iam.workloadIdentityUser"].clear()

    def _without_api(self, service: str) -> Callable[[], None]:
        return lambda: self._account.apis.discard(service)

    @property
    def _pool(self) -> Pool:
        return self._account.pools[POOL]

    @property
    def _provider(self) -> PoolProvider:
        return self._pool.providers[PROVIDER]


def _set(thing: Pool | PoolProvider, **fields: Any) -> None:
    for name, value in fields.items():
        setattr(thing, name, value)
