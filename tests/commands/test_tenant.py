"""Tenants: their names, plans and members."""

from __future__ import annotations

from commands.claimed import TenantNameTaken, taken
from domain.api_key import ExpiryPassed
from domain.event import SYSTEM_TENANT, Counter
from domain.naming import NameNotAllowed
from domain.person import PersonUnknown
from domain.plan import PlanUnknown
from domain.tenant import (
    INVITATIONS_MAX,
    AlreadyMember,
    InvitationExpired,
    InvitationUnknown,
    LastOwner,
    MemberUnknown,
    RoleAboveOwn,
    TenantExists,
    TenantIsClosed,
    TenantUnknown,
    TooManyInvitations,
)
from tests.support import a
from tests.support.scenario import given


class TestCreateTenant:
    def test_creates_it_and_claims_the_first_segment_of_its_addresses_among_all_tenants(self) -> None:
        given(a.plan_defined()).when(a.create_tenant(name="Acme Corp.X")).then(
            a.tenant_created(name="Acme Corp.X", slug="acme-corp-x"),
            claims=(a.claim("tenant", "acme-corp-x", a.TENANT_ID, tenant_id=SYSTEM_TENANT),),
            counters=(),
        )

    def test_refuses_an_id_that_is_a_tenant_already(self) -> None:
        given(*a.tenant_with_plan()).when(a.create_tenant()).then_refused(TenantExists)

    def test_refuses_a_plan_that_is_not_defined(self) -> None:
        given().when(a.create_tenant()).then_refused(PlanUnknown)

    def test_refuses_a_name_that_could_not_stand_in_an_address(self) -> None:
        given(a.plan_defined()).when(a.create_tenant(name="a/b")).then_refused(NameNotAllowed, fields=("name",))

    def test_is_told_when_the_name_is_another_tenants(self) -> None:
        claim = a.claim("tenant", "acme", a.TENANT_ID, tenant_id=SYSTEM_TENANT)

        assert type(taken(claim, a.OTHER_TENANT_ID)) is TenantNameTaken


class TestAddMember:
    def test_adds_and_counts_the_person(self) -> None:
        given(*a.tenant_with_plan(), a.person_registered()).when(a.add_member()).then(
            a.member_added(),
            claims=(),
            counters=(Counter(tenant_id=a.TENANT_ID, scope="members", name="tenant", delta=1, limit=2),),
        )

    def test_refuses_a_person_who_is_a_member(self) -> None:
        given(*a.tenant_with_plan(), a.person_registered(), a.member_added()).when(a.add_member()).then_refused(
            AlreadyMember
        )

    def test_refuses_a_person_who_never_registered(self) -> None:
        given(*a.tenant_with_plan()).when(a.add_member()).then_refused(PersonUnknown)

    def test_refuses_a_person_who_was_erased(self) -> None:
        given(*a.tenant_with_plan(), a.person_registered(), a.person_erased()).when(a.add_member()).then_refused(
            PersonUnknown
        )

    def test_refuses_a_tenant_that_never_was(self) -> None:
        given(a.person_registered()).when(a.add_member()).then_refused(TenantUnknown)

    def test_refuses_a_role_above_that_of_who_asks(self) -> None:
        given(*a.tenant_with_plan(), a.person_registered()).when(
            a.add_member(role="owner", asked_by="admin")
        ).then_refused(RoleAboveOwn)


class TestChangeRole:
    def test_changes_it(self) -> None:
        given(a.tenant_created(), a.member_added()).when(a.change_role(role="admin", asked_by="admin")).then(
            a.member_role_changed("admin"), claims=(), counters=()
        )

    def test_changes_nothing_when_it_is_the_role_already(self) -> None:
        given(a.tenant_created(), a.member_added(role="admin")).when(a.change_role(role="admin")).then_nothing()

    def test_lets_an_owner_go_when_there_is_another(self) -> None:
        other = a.member_added(a.id_of(70), role="owner")

        given(a.tenant_created(), a.member_added(role="owner"), other).when(a.change_role(role="viewer")).then(
            a.member_role_changed("viewer")
        )

    def test_refuses_to_leave_a_tenant_without_an_owner(self) -> None:
        given(a.tenant_created(), a.member_added(role="owner")).when(a.change_role(role="admin")).then_refused(
            LastOwner
        )

    def test_refuses_a_role_above_that_of_who_asks(self) -> None:
        given(a.tenant_created(), a.member_added()).when(a.change_role(role="owner", asked_by="admin")).then_refused(
            RoleAboveOwn
        )

    def test_refuses_to_touch_who_stands_above_who_asks(self) -> None:
        given(a.tenant_created(), a.member_added(role="owner")).when(
            a.change_role(role="viewer", asked_by="admin")
        ).then_refused(RoleAboveOwn)

    def test_refuses_a_person_who_is_no_member(self) -> None:
        given(a.tenant_created()).when(a.change_role()).then_refused(MemberUnknown)


class TestRemoveMember:
    def test_removes_and_counts_the_person(self) -> None:
        given(a.tenant_created(), a.member_added()).when(a.remove_member(asked_by="developer")).then(
            a.member_removed(),
            claims=(),
            counters=(Counter(tenant_id=a.TENANT_ID, scope="members", name="tenant", delta=-1),),
        )

    def test_refuses_the_last_owner(self) -> None:
        given(a.tenant_created(), a.member_added(role="owner")).when(a.remove_member()).then_refused(LastOwner)

    def test_refuses_who_stands_above_who_asks(self) -> None:
        given(a.tenant_created(), a.member_added(role="admin")).when(
            a.remove_member(asked_by="developer")
        ).then_refused(RoleAboveOwn)

    def test_refuses_a_person_who_went_before(self) -> None:
        given(a.tenant_created(), a.member_added(), a.member_removed()).when(a.remove_member()).then_refused(
            MemberUnknown
        )


class TestChoosePlan:
    def test_changes_the_plan(self) -> None:
        given(*a.tenant_with_plan(), a.plan_defined("standard")).when(a.choose_plan()).then(a.plan_chosen())

    def test_changes_nothing_when_it_is_the_plan_already(self) -> None:
        given(*a.tenant_with_plan()).when(a.choose_plan(plan="sandbox")).then_nothing()

    def test_refuses_a_plan_that_is_not_defined(self) -> None:
        given(*a.tenant_with_plan()).when(a.choose_plan(plan="gold")).then_refused(PlanUnknown)

    def test_refuses_a_tenant_that_never_was(self) -> None:
        given(a.plan_defined("standard")).when(a.choose_plan()).then_refused(TenantUnknown)


class TestInviteMember:
    def test_records_the_invitation_and_counts_nobody_yet(self) -> None:
        given(*a.tenant_with_plan()).when(a.invite_member()).then(a.member_invited(), claims=(), counters=())

    def test_refuses_a_role_above_that_of_who_asks(self) -> None:
        given(*a.tenant_with_plan()).when(a.invite_member(role="owner", asked_by="admin")).then_refused(RoleAboveOwn)

    def test_refuses_one_that_has_ended_before_it_began(self) -> None:
        given(*a.tenant_with_plan()).when(a.invite_member(expires_at=a.AT)).then_refused(
            ExpiryPassed, fields=("expiresAt",)
        )

    def test_refuses_more_than_may_be_open(self) -> None:
        open_ones = [a.member_invited(invitation_id=a.id_of(1000 + n)) for n in range(INVITATIONS_MAX)]

        given(*a.tenant_with_plan(), *open_ones).when(a.invite_member()).then_refused(TooManyInvitations)

    def test_counts_none_that_have_expired(self) -> None:
        old = [a.member_invited(invitation_id=a.id_of(1000 + n), expires_at=a.AT) for n in range(INVITATIONS_MAX)]

        given(*a.tenant_with_plan(), *old).when(a.invite_member()).then(a.member_invited())


class TestAcceptInvitation:
    def test_makes_and_counts_the_member(self) -> None:
        given(*a.tenant_with_plan(), a.person_registered(), a.member_invited()).when(a.accept_invitation()).then(
            a.invitation_accepted(),
            a.member_added(),
            claims=(),
            counters=(Counter(tenant_id=a.TENANT_ID, scope="members", name="tenant", delta=1, limit=2),),
        )

    def test_refuses_one_that_was_accepted_or_withdrawn(self) -> None:
        for ending in (a.invitation_accepted(), a.invitation_withdrawn()):
            given(*a.tenant_with_plan(), a.person_registered(), a.member_invited(), ending).when(
                a.accept_invitation()
            ).then_refused(InvitationUnknown)

    def test_refuses_a_secret_that_is_not_its_own(self) -> None:
        given(*a.tenant_with_plan(), a.person_registered(), a.member_invited()).when(
            a.accept_invitation(secret_hash="cd" * 32)
        ).then_refused(InvitationUnknown)

    def test_refuses_from_the_very_instant_it_ends(self) -> None:
        given(*a.tenant_with_plan(), a.person_registered(), a.member_invited(expires_at=a.AT)).when(
            a.accept_invitation()
        ).then_refused(InvitationExpired)

    def test_refuses_who_is_a_member_already(self) -> None:
        given(*a.tenant_with_plan(), a.person_registered(), a.member_added(), a.member_invited()).when(
            a.accept_invitation()
        ).then_refused(AlreadyMember)

    def test_refuses_a_person_who_was_erased(self) -> None:
        given(*a.tenant_with_plan(), a.person_registered(), a.person_erased(), a.member_invited()).when(
            a.accept_invitation()
        ).then_refused(PersonUnknown)


class TestWithdrawInvitation:
    def test_records_that_nobody_can_accept_it(self) -> None:
        given(*a.tenant_with_plan(), a.member_invited()).when(a.withdraw_invitation()).then(a.invitation_withdrawn())

    def test_refuses_one_that_is_over(self) -> None:
        given(*a.tenant_with_plan(), a.member_invited(), a.invitation_withdrawn()).when(
            a.withdraw_invitation()
        ).then_refused(InvitationUnknown)

    def test_refuses_to_take_back_what_somebody_above_gave(self) -> None:
        given(*a.tenant_with_plan(), a.member_invited(role="owner")).when(
            a.withdraw_invitation(asked_by="admin")
        ).then_refused(RoleAboveOwn)


class TestSuspendTenant:
    def test_records_why(self) -> None:
        given(*a.tenant_with_plan()).when(a.suspend_tenant()).then(a.tenant_suspended())

    def test_asking_twice_changes_nothing_and_another_reason_does(self) -> None:
        given(*a.tenant_with_plan(), a.tenant_suspended()).when(a.suspend_tenant()).then_nothing()
        given(*a.tenant_with_plan(), a.tenant_suspended()).when(a.suspend_tenant(reason="abuse")).then(
            a.tenant_suspended("abuse")
        )

    def test_refuses_a_tenant_that_never_was(self) -> None:
        given().when(a.suspend_tenant()).then_refused(TenantUnknown)


class TestResumeTenant:
    def test_records_that_it_may_go_on(self) -> None:
        given(*a.tenant_with_plan(), a.tenant_suspended()).when(a.resume_tenant()).then(a.tenant_resumed())

    def test_asking_it_of_one_that_is_not_suspended_changes_nothing(self) -> None:
        given(*a.tenant_with_plan()).when(a.resume_tenant()).then_nothing()


class TestCloseTenant:
    def test_records_why(self) -> None:
        given(*a.tenant_with_plan()).when(a.close_tenant()).then(a.tenant_closed())

    def test_asking_twice_changes_nothing(self) -> None:
        given(*a.tenant_with_plan(), a.tenant_closed()).when(a.close_tenant()).then_nothing()

    def test_lets_nobody_in_and_nothing_be_resumed(self) -> None:
        closed = given(*a.tenant_with_plan(), a.person_registered(), a.member_invited(), a.tenant_closed())

        for command in (
            a.add_member(),
            a.invite_member(),
            a.accept_invitation(),
            a.suspend_tenant(),
            a.resume_tenant(),
        ):
            closed.when(command).then_refused(TenantIsClosed)

    def test_lets_its_last_owner_go(self) -> None:
        given(a.tenant_created(), a.member_added(role="owner"), a.tenant_closed()).when(a.remove_member()).then(
            a.member_removed(),
            counters=(Counter(tenant_id=a.TENANT_ID, scope="members", name="tenant", delta=-1),),
        )
