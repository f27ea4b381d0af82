"""Values of a function's secrets in Secrets Manager: there before the release that opens them, gone with the last that does."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

from domain.placement import LAMBDA_SECRETS
from process.secret import Secret
from providers.aws import naming
from providers.aws.account import Account, target_of
from providers.aws.errors import Answered, denied, grant_to
from providers.aws.policies import KEEPING
from providers.provider import Order, ProviderBusy, ProviderRefused, Secrets
from providers.together import together

# What `open.dart` reads before it starts the program: where the secrets are, and `NAME=id` for each.
VARIABLE = LAMBDA_SECRETS


class KeptSecrets:
    """The secrets of one order's target, as one account sees them. Each value has a secret of its own, which never gets
    another one."""

    def __init__(self, account: Account, order: Order) -> None:
        self._account, self._order = account, order
        self._root = naming.secrets_root(order)

    @property
    def own(self) -> set[str]:
        """The names of the secrets that the release opens."""
        return {self._name(value_id) for value_id in self._order.release.secret_values.values()}

    def variables(self, without: Collection[str]) -> dict[str, str]:
        """What a version is given so that its program has all of them but these. No value is in it."""
        values = sorted(self._order.release.secret_values.items())
        pairs = [f"{name}={value_id.hex}" for name, value_id in values if name not in without]
        return {VARIABLE: " ".join([self._root, *pairs])} if pairs else {}

    async def keep(self, secrets: Secrets) -> None:
        """Write the values that are not there yet."""
        values = self._order.release.secret_values
        await together(*(self._keep(values[name], value) for name, value in secrets.items()))

    async def remove(self, names: Iterable[str]) -> None:
        """Take them away for good; they may be gone already."""
        await together(
            *(self._found("delete_secret", SecretId=name, ForceDeleteWithoutRecovery=True) for name in sorted(names))
        )

    async def _keep(self, value_id: UUID, value: Secret) -> None:
        tags = naming.tags(self._order)
        try:
            await self._account.call(
                "secretsmanager",
                "create_secret",
                region=target_of(self._order).region,
                Name=self._name(value_id),
                SecretString=value.reveal(),
                # The same request again makes no other version.
                ClientRequestToken=str(value_id),
                Tags=[{"Key": key, "Value": tags[key]} for key in sorted(tags)],
            )
        except Answered as error:
            if error.code == "InvalidRequestException" and "scheduled for deletion" in error.message:
                raise ProviderBusy(error.message, retry_in_seconds=2.0) from error
            if error.is_denied:
                raise self._may_not_keep(error) from error
            if error.code != "ResourceExistsException":
                raise

    def _may_not_keep(self, error: Answered) -> ProviderRefused:
        """What Amazon names is this one secret; the next value has another."""
        target = target_of(self._order)
        arn = naming.secrets_arn(target.role_arn, target.region, self._order.project_id)
        return denied(error, self._account.identity, remedy=grant_to(target.role_arn, list(KEEPING), arn))

    def _name(self, value_id: UUID) -> str:
        return f"{self._root}{value_id.hex}"

    async def _found(self, call: str, **parameters: Any) -> Any:
        return await self._account.found("secretsmanager", call, region=target_of(self._order).region, **parameters)


def opened_by(environment: dict[str, str]) -> set[str]:
    """The names of the secrets that a version with these variables opens."""
    root, *pairs = environment.get(VARIABLE, "").split(" ")
    return {f"{root}{pair.partition('=')[2]}" for pair in pairs}
