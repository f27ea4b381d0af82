"""What a role may do, as IAM's simulation tells it: only that can tell without making anything."""

from __future__ import annotations

from typing import Any

import msgspec

from providers.aws import policies
from providers.aws.account import Account
from providers.aws.errors import DENIED_OUTRIGHT, Answered, grant_statements
from providers.aws.policies import Needed
from providers.walk import NotSeen

LOOKING = ("iam:GetRole", "iam:SimulatePrincipalPolicy")
_ORGANIZATION = (
    "A service control policy of the organization leaves it out; whoever keeps the organization's policies mends it."
)
_BOUNDARY = "The permissions boundary of {role} leaves it out; whoever keeps that policy mends it."


class Lack(msgspec.Struct, frozen=True, kw_only=True):
    """What a role may not do, and what mends it: a command where the role was only never given it."""

    missing: tuple[Needed, ...]
    remedy: str

    def __str__(self) -> str:
        return "; ".join(f"{', '.join(one.actions)} on {one.resource}" for one in self.missing)


class Rights:
    """Asked of IAM as one account's project."""

    def __init__(self, account: Account) -> None:
        self._account = account

    async def lacking(self, role_arn: str, *needed: Needed, **context: str) -> Lack | None:
        """What the role lacks of all that; None: nothing. Raises NotSeen with the command that lets it be looked at."""
        missing, reasons = [], set()
        for one in needed:
            refused = await self._refused(role_arn, one, context)
            if refused:
                missing.append(msgspec.structs.replace(one, actions=tuple(str(r["EvalActionName"]) for r in refused)))
                reasons |= {_reason(result, role_arn) for result in refused} - {""}
        if not missing:
            return None
        # What forbids it outright is not mended by what allows it.
        statements = [policies.allow(one) for one in missing]
        remedy = " ".join(sorted(reasons)) or grant_statements(role_arn, statements)
        return Lack(missing=tuple(missing), remedy=remedy)

    async def _refused(self, role_arn: str, needed: Needed, context: dict[str, str]) -> list[dict[str, Any]]:
        try:
            found = await self._account.call(
                "iam",
                "simulate_principal_policy",
                PolicySourceArn=role_arn,
                ActionNames=list(needed.actions),
                ResourceArns=[needed.resource],
                ContextEntries=[
                    {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
                    for key, value in context.items()
                ],
            )
        except Answered as error:
            if error.is_denied:
                raise self.unseen(role_arn, "iam:SimulatePrincipalPolicy") from error
            raise
        return [one for one in found["EvaluationResults"] if one["EvalDecision"] != "allowed"]

    def unseen(self, role_arn: str, action: str) -> NotSeen:
        """That it could not be looked at, which is no fault, and the command that lets it be."""
        own = self._account.identity.role_arn
        actions = LOOKING if role_arn != own else ("iam:SimulatePrincipalPolicy",)
        statement = policies.allow(Needed(resource=role_arn, actions=actions))
        return NotSeen(
            f"Not looked at: {own} may not look at {role_arn} ({action}).", grant_statements(own, [statement])
        )


def _reason(result: dict[str, Any], role_arn: str) -> str:
    """Why no grant mends it; empty where one does."""
    if result.get("OrganizationsDecisionDetail", {}).get("AllowedByOrganizations") is False:
        return _ORGANIZATION
    if result.get("PermissionsBoundaryDecisionDetail", {}).get("AllowedByPermissionsBoundary") is False:
        return _BOUNDARY.format(role=role_arn)
    return DENIED_OUTRIGHT if result["EvalDecision"] == "explicitDeny" else ""
