"""People: registered with sealed names, erased for ever."""

from __future__ import annotations

from commands.claimed import holder_of, taken
from domain.event import SYSTEM_TENANT, Counter
from domain.person import IdentityTaken, PersonExists, PersonUnknown
from domain.plan import PlanUnknown
from domain.tenant import LastOwner
from tests.support import a
from tests.support.scenario import given


class TestRegisterPerson:
    def test_records_the_sealed_name_as_it_came(self) -> None:
        given().when(a.register_person()).then(a.person_registered())

    def test_refuses_a_person_who_is_registered(self) -> None:
        given(a.person_registered()).when(a.register_person()).then_refused(PersonExists)

    def test_never_registers_an_erased_person_again(self) -> None:
        given(a.person_registered(), a.person_erased()).when(a.register_person()).then_refused(PersonExists)


class TestSignUp:
    def test_registers_who_came_and_claims_their_identity(self) -> None:
        given().when(a.sign_up(signs_in_as="ada")).then(
            a.person_registered(identity="ada"),
            claims=(a.claim("identity", "ada", a.PERSON_ID, tenant_id=SYSTEM_TENANT),),
            counters=(),
        )

    def test_makes_the_workspace_and_its_owner_in_the_same_breath(self) -> None:
        given(a.plan_defined()).when(
            a.sign_up(signs_in_as="ada", workspace_id=a.TENANT_ID, workspace="mine", plan="sandbox")
        ).then(
            a.person_registered(identity="ada"),
            a.tenant_created(name="mine", slug="mine"),
            a.member_added(role="owner"),
            claims=(
                a.claim("identity", "ada", a.PERSON_ID, tenant_id=SYSTEM_TENANT),
                a.claim("tenant", "mine", a.TENANT_ID, tenant_id=SYSTEM_TENANT),
            ),
            counters=(Counter(tenant_id=a.TENANT_ID, scope="members", name="tenant", delta=1),),
        )

    def test_refuses_a_person_who_is_registered(self) -> None:
        given(a.person_registered()).when(a.sign_up()).then_refused(PersonExists)

    def test_refuses_a_plan_that_is_not_defined(self) -> None:
        given().when(a.sign_up(workspace_id=a.TENANT_ID, workspace="mine", plan="gold")).then_refused(PlanUnknown)

    def test_is_told_when_the_identity_is_registered(self) -> None:
        refusal = taken(a.claim("identity", "ada", a.PERSON_ID, tenant_id=SYSTEM_TENANT), a.TENANT_ID)

        assert type(refusal) is IdentityTaken
        assert holder_of(refusal) == a.TENANT_ID


class TestErasePerson:
    def test_frees_the_identity_so_that_whoever_comes_again_is_somebody_new(self) -> None:
        given(a.person_registered(identity="ada")).when(a.erase_person()).then(
            a.person_erased(),
            claims=(a.claim("identity", "ada", a.PERSON_ID, tenant_id=SYSTEM_TENANT, release=True),),
            counters=(),
        )

    def test_records_that_the_person_is_erased(self) -> None:
        given(a.person_registered()).when(a.erase_person()).then(a.person_erased())

    def test_asking_twice_changes_nothing(self) -> None:
        given(a.person_registered(), a.person_erased()).when(a.erase_person()).then_nothing()

    def test_ends_every_membership_that_is_named_and_still_one(self) -> None:
        given(a.person_registered(), a.tenant_created(), a.member_added(), a.member_added(a.OTHER_TENANT_ID)).when(
            a.erase_person(tenant_ids=(a.TENANT_ID, a.OTHER_TENANT_ID))
        ).then(
            a.person_erased(),
            a.member_removed(),
            claims=(),
            counters=(Counter(tenant_id=a.TENANT_ID, scope="members", name="tenant", delta=-1),),
        )

    def test_refuses_the_last_owner_unless_told_to_leave_the_tenant_without(self) -> None:
        owned = given(a.person_registered(), a.tenant_created(), a.member_added(role="owner"))

        owned.when(a.erase_person(tenant_ids=(a.TENANT_ID,))).then_refused(LastOwner)
        owned.when(a.erase_person(tenant_ids=(a.TENANT_ID,), leaving_owners=True)).then(
            a.person_erased(),
            a.member_removed(),
            claims=(),
            counters=(Counter(tenant_id=a.TENANT_ID, scope="members", name="tenant", delta=-1),),
        )

    def test_asked_again_ends_what_began_meanwhile(self) -> None:
        given(a.person_registered(), a.tenant_created(), a.member_added(), a.person_erased()).when(
            a.erase_person(tenant_ids=(a.TENANT_ID,))
        ).then(
            a.member_removed(),
            claims=(),
            counters=(Counter(tenant_id=a.TENANT_ID, scope="members", name="tenant", delta=-1),),
        )

    def test_refuses_a_person_who_never_registered(self) -> None:
        given().when(a.erase_person()).then_refused(PersonUnknown)
