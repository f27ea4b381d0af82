"""People: registered with sealed names, erased for ever."""

from __future__ import annotations

from domain.person import PersonExists, PersonUnknown
from tests.support import a
from tests.support.scenario import given


class TestRegisterPerson:
    def test_records_the_sealed_name_as_it_came(self) -> None:
        given().when(a.register_person()).then(a.person_registered())

    def test_refuses_a_person_who_is_registered(self) -> None:
        given(a.person_registered()).when(a.register_person()).then_refused(PersonExists)

    def test_never_registers_an_erased_person_again(self) -> None:
        given(a.person_registered(), a.person_erased()).when(a.register_person()).then_refused(PersonExists)


class TestErasePerson:
    def test_records_that_the_person_is_erased(self) -> None:
        given(a.person_registered()).when(a.erase_person()).then(a.person_erased())

    def test_asking_twice_changes_nothing(self) -> None:
        given(a.person_registered(), a.person_erased()).when(a.erase_person()).then_nothing()

    def test_refuses_a_person_who_never_registered(self) -> None:
        given().when(a.erase_person()).then_refused(PersonUnknown)
