"""Whom a role trusts: which of Amazon's own services may become it."""

from __future__ import annotations

import fnmatch
from typing import Any, Literal

from providers.aws import naming, policies
from providers.aws.account import Account
from providers.aws.errors import Answered, command, role_name
from providers.provider import ProviderRefused

Policy = dict[str, Any]
# What the setup calls each role's step, and what works as it.
_STEPS = {"EXECUTION": ("execution_role", "Functions"), "BUILD": ("code_build_role", "Builds")}
_NAMES = {policies.LAMBDA: "Lambda", policies.SCHEDULER: "EventBridge Scheduler", policies.CODE_BUILD: "CodeBuild"}


class Trust:
    """One role of the account. `kind` is what it is for."""

    def __init__(self, account: Account, arn: str, kind: Literal["EXECUTION", "BUILD"]) -> None:
        self._account, self._arn, self._kind = account, arn, kind

    async def require(self, *services: str) -> None:
        """Raises ProviderRefused unless each of the services may become the role, and Answered where it may not be
        looked at."""
        step, works = _STEPS[self._kind]
        policy = await self._policy(step)
        account = naming.account_id(self._arn)
        if untrusted := [name for name in services if not trusts(policy, name, account)]:
            names = " and ".join(_NAMES[name] for name in untrusted)
            raise ProviderRefused(
                f"AWS_{self._kind}_ROLE_UNTRUSTING",
                f"{works} cannot work as {self._arn}: its trust policy does not let {names} become it.",
                _entrusting(self._arn, policy, untrusted),
            )

    async def _policy(self, step: str) -> Policy:
        try:
            found = await self._account.call("iam", "get_role", RoleName=role_name(self._arn))
        except Answered as error:
            if error.code != "NoSuchEntity":
                raise
            raise ProviderRefused(
                f"AWS_{self._kind}_ROLE_NOT_FOUND",
                f"There is no role {self._arn}.",
                f"Run the {step} commands that POST …/aws/oidc/setup-commands shows for this name.",
            ) from error
        if (known := str(found["Role"]["Arn"])) != self._arn:
            raise ProviderRefused(
                f"AWS_{self._kind}_ROLE_NOT_FOUND",
                f"There is no role {self._arn} in the account that the project acts in.",
                f"The role of this name there is {known}: name that one, or make another.",
            )
        policy: Policy = found["Role"]["AssumeRolePolicyDocument"]
        return policy


def trusts(policy: Policy, service: str, account: str) -> bool:
    """Whether a trust policy lets one of Amazon's services become the role, as far as its conditions can be told."""
    fitting = [one for one in _statements(policy) if _is_about(one, service)]
    refused = any(one.get("Effect") == "Deny" and not one.get("Condition") for one in fitting)
    return not refused and any(one.get("Effect") == "Allow" and _admits(one, service, account) for one in fitting)


def _is_about(statement: Policy, service: str) -> bool:
    principal = statement.get("Principal", {})
    named = _listed(principal.get("Service", [])) if isinstance(principal, dict) else []
    actions = _listed(statement.get("Action", []))
    return service in named and any(fnmatch.fnmatchcase("sts:assumerole", one.lower()) for one in actions)


def _admits(statement: Policy, service: str, account: str) -> bool:
    """Whether its conditions are not about another account; Lambda does not say for which it acts."""
    if service == policies.LAMBDA:
        return True
    wanted = [
        _listed(values)
        for operator, keys in statement.get("Condition", {}).items()
        if operator.partition("IfExists")[0] in ("StringEquals", "StringLike")
        for key, values in keys.items()
        if key.lower() == "aws:sourceaccount"
    ]
    return all(any(fnmatch.fnmatchcase(account, one) for one in values) for values in wanted)


def _entrusting(arn: str, policy: Policy, services: list[str]) -> str:
    """The command that adds the services to those that may; whoever may already still may."""
    added = policies.trusting(naming.account_id(arn), *services)["Statement"]
    whole = {**policy, "Statement": [*_statements(policy), *added]}
    return command(
        "aws",
        "iam",
        "update-assume-role-policy",
        "--role-name",
        role_name(arn),
        "--policy-document",
        policies.encoded(whole),
    )


def _statements(policy: Policy) -> list[Policy]:
    found = policy.get("Statement", [])
    return found if isinstance(found, list) else [found]


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
