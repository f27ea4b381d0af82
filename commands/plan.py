"""Operators' commands about plans."""

from __future__ import annotations

from typing import assert_never

from commands.command import Command, Decider, Reads, States, facts
from domain.event import Decision
from domain.naming import check_name
from domain.plan import PLAN, Limits, PlanDefined, plan_stream


class DefinePlan(Command, frozen=True, kw_only=True, tag="DefinePlan"):
    name: str
    limits: Limits
    entitlements: tuple[str, ...] = ()


PlanCommand = DefinePlan


def reads(command: PlanCommand) -> Reads:
    yield PLAN, plan_stream(command.name)


def decide(command: PlanCommand, states: States) -> Decision:
    match command:
        case DefinePlan():
            check_name(command.name)
            plan = states.at(PLAN, plan_stream(command.name))
            if (plan.limits, plan.entitlements) == (command.limits, command.entitlements):
                return Decision()
            defined = PlanDefined(name=command.name, limits=command.limits, entitlements=command.entitlements)
            return Decision(facts=facts(plan_stream(command.name), defined))
        case _:
            assert_never(command)


PLANS = Decider(commands=(DefinePlan,), reads=reads, decide=decide)
