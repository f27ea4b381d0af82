"""Integrations: identity and storage of one provider, checked apart, before anything is deployed there."""

from __future__ import annotations

from typing import Any

import pytest

from commands.command import Command
from domain.clouds import AzureIdentity, GcpIdentity, GcpStorage, ProviderMismatch
from domain.integration import (
    FORMER_STORAGES_MAX,
    CheckStep,
    FormerStorage,
    IdentityChanged,
    IntegrationUnknown,
    StorageNotChecked,
)
from domain.project import ProjectIsArchived, ProjectUnknown
from tests.support import a
from tests.support.scenario import fold, given

PROJECT = (a.project_created(),)
CONNECTED = (a.project_created(), a.integration_connected())


def folded_status(*facts: Any) -> str:
    """The integration's status after these facts."""
    state = fold(facts)[a.integration_connected().stream]
    return str(state.status)


class TestConnectProvider:
    def test_connects_it(self) -> None:
        given(*PROJECT).when(a.connect_provider()).then(a.integration_connected())

    def test_changes_nothing_when_it_is_connected_with_that_identity(self) -> None:
        given(*CONNECTED).when(a.connect_provider()).then_nothing()

    def test_connects_a_disconnected_one_again(self) -> None:
        given(*CONNECTED, a.integration_disconnected()).when(a.connect_provider()).then(a.integration_connected())

    def test_refuses_the_identity_of_another_provider(self) -> None:
        given(*PROJECT).when(a.connect_provider(provider="aws")).then_refused(ProviderMismatch)


class TestRecordIdentityChecked:
    def test_records_what_each_step_saw(self) -> None:
        step = CheckStep(name="agent", status="failed", code="agent_unreachable", message="No answer.")

        given(*CONNECTED).when(a.record_identity_checked(status="failed", steps=(step,))).then(
            a.identity_checked("failed", steps=(step,))
        )

    def test_changes_nothing_when_it_saw_the_same_before(self) -> None:
        given(*CONNECTED, a.identity_checked()).when(a.record_identity_checked()).then_nothing()

    def test_records_a_verified_identity_that_fails_later(self) -> None:
        given(*CONNECTED, a.identity_checked()).when(a.record_identity_checked(status="failed")).then(
            a.identity_checked("failed")
        )

    def test_connects_it_first_when_it_is_told_to(self) -> None:
        given(*PROJECT).when(a.record_identity_checked(status="failed", connects=True)).then(
            a.integration_connected(), a.identity_checked("failed")
        )

    def test_connects_nothing_twice(self) -> None:
        given(*CONNECTED, a.identity_checked()).when(a.record_identity_checked(connects=True)).then_nothing()

    def test_refuses_to_connect_the_identity_of_another_provider(self) -> None:
        given(*PROJECT).when(a.record_identity_checked(provider="aws", connects=True)).then_refused(ProviderMismatch)


class TestRecordStorageChecked:
    def test_records_which_storage_was_checked(self) -> None:
        given(*CONNECTED).when(a.record_storage_checked()).then(a.storage_checked())

    def test_changes_nothing_when_it_saw_the_same_before(self) -> None:
        given(*CONNECTED, a.storage_checked()).when(a.record_storage_checked()).then_nothing()

    def test_refuses_the_storage_of_another_provider(self) -> None:
        given(*PROJECT, a.integration_connected("gcp")).when(a.record_storage_checked(provider="gcp")).then_refused(
            ProviderMismatch
        )


class TestRecordResourcesChecked:
    CONNECTED = (*PROJECT, a.integration_connected("azure"))

    def test_records_which_resources_were_looked_at(self) -> None:
        step = CheckStep(name="registry", status="failed", code="AZURE_REGISTRY_NOT_FOUND")

        given(*self.CONNECTED).when(a.record_resources_checked(status="failed", steps=(step,))).then(
            a.resources_checked("failed", steps=(step,))
        )

    def test_changes_nothing_when_it_saw_the_same_before(self) -> None:
        given(*self.CONNECTED, a.resources_checked()).when(a.record_resources_checked()).then_nothing()

    def test_is_forgotten_with_the_identity_it_was_seen_with(self) -> None:
        reconnected = (*self.CONNECTED, a.resources_checked(), a.integration_connected("azure"))

        given(*reconnected).when(a.record_resources_checked()).then(a.resources_checked())

    def test_refuses_the_resources_of_another_provider(self) -> None:
        given(*CONNECTED).when(a.record_resources_checked(provider="local")).then_refused(ProviderMismatch)

    def test_refuses_what_was_seen_with_another_identity(self) -> None:
        command = a.record_resources_checked(
            identity=AzureIdentity(azure_tenant_id="d", client_id="c", subscription_id="s")
        )

        given(*self.CONNECTED).when(command).then_refused(IdentityChanged)


class TestConfigureStorage:
    def test_saves_what_passed_its_check(self) -> None:
        given(*CONNECTED, a.storage_checked()).when(a.configure_storage()).then(a.storage_configured())

    def test_changes_nothing_when_it_is_saved(self) -> None:
        given(*CONNECTED, a.storage_checked(), a.storage_configured()).when(a.configure_storage()).then_nothing()

    @pytest.mark.parametrize("status", ["pending", "failed"])
    def test_refuses_what_has_not_passed_its_check(self, status: str) -> None:
        given(*CONNECTED, a.storage_checked(status)).when(a.configure_storage()).then_refused(StorageNotChecked)

    def test_refuses_what_was_never_checked(self) -> None:
        given(*CONNECTED).when(a.configure_storage()).then_refused(StorageNotChecked)


class TestRecordFormerStorageSwept:
    FIRST, SECOND = GcpStorage(bucket="first"), GcpStorage(bucket="second")
    # Kept in the first, then in the second.
    MOVED = (*PROJECT, a.integration_connected("gcp"), a.gcp_storage("first"), a.gcp_storage("second"))

    def _former(self, *facts: Any) -> tuple[FormerStorage, ...]:
        former: tuple[FormerStorage, ...] = fold(facts)[a.integration_connected("gcp").stream].former_storages
        return former

    def test_records_how_many_files_are_left(self) -> None:
        swept = a.former_storage_swept(storage=self.FIRST, files=2)

        given(*self.MOVED).when(a.record_former_storage_swept(storage=self.FIRST, files=2)).then(swept)
        assert self._former(*self.MOVED, swept) == (FormerStorage(storage=self.FIRST, files=2),)

    def test_gives_up_one_that_is_empty(self) -> None:
        assert self._former(*self.MOVED, a.former_storage_swept(storage=self.FIRST, files=0)) == ()

    @pytest.mark.parametrize("found", [{"files": 2}, {"code": "DENIED", "message": "in other words"}])
    def test_changes_nothing_when_it_found_the_same_before(self, found: Any) -> None:
        seen = a.former_storage_swept(
            storage=self.FIRST, **{**found, **({"message": "No."} if "code" in found else {})}
        )

        given(*self.MOVED, seen).when(a.record_former_storage_swept(storage=self.FIRST, **found)).then_nothing()

    def test_changes_nothing_for_one_that_is_in_use_again(self) -> None:
        back = (*self.MOVED, a.gcp_storage("first"))

        given(*back).when(a.record_former_storage_swept(storage=self.FIRST, files=2)).then_nothing()
        assert [one.storage for one in self._former(*back)] == [self.SECOND]

    def test_is_about_those_of_a_connection_of_before_too(self) -> None:
        again = (*self.MOVED, a.integration_disconnected(provider="gcp"), a.integration_connected("gcp"))

        assert [one.storage for one in self._former(*again)] == [self.FIRST, self.SECOND]

    def test_is_about_the_newest_ones_alone(self) -> None:
        many = [a.gcp_storage(f"bucket-{number}") for number in range(FORMER_STORAGES_MAX + 3)]

        former = self._former(*PROJECT, a.integration_connected("gcp"), *many)

        assert len(former) == FORMER_STORAGES_MAX
        assert former[-1].storage == GcpStorage(bucket=f"bucket-{FORMER_STORAGES_MAX + 1}")


class TestDisconnectProvider:
    def test_says_why(self) -> None:
        given(*CONNECTED).when(a.disconnect_provider(reason="moving")).then(a.integration_disconnected("moving"))

    def test_forgets_what_was_verified_and_configured(self) -> None:
        reconnected = (*PROJECT, *a.integration_ready(), a.integration_disconnected(), a.integration_connected())

        given(*reconnected).when(a.configure_storage()).then_refused(StorageNotChecked)
        assert folded_status(*reconnected) == "pending"

    def test_asking_twice_changes_nothing(self) -> None:
        given(*CONNECTED, a.integration_disconnected()).when(a.disconnect_provider()).then_nothing()


class TestChecksOfAnIdentity:
    @pytest.mark.parametrize("record", [a.record_identity_checked, a.record_storage_checked])
    def test_say_nothing_of_another_that_was_connected_meanwhile(self, record: Any) -> None:
        """*Goal:* a check that takes its time never verifies an identity it did not look at."""
        checked = GcpIdentity(
            gcp_project_id="shop-1",
            service_account_email="dcf@shop-1.iam.gserviceaccount.com",
            workload_identity_project_number="123456789012",
            workload_identity_pool="dcf-pool",
            workload_identity_provider="dcf-provider",
        )

        given(*CONNECTED).when(record(identity=checked)).then_refused(IdentityChanged)


class TestEveryCommand:
    COMMANDS: tuple[Command, ...] = (
        a.connect_provider(),
        a.record_identity_checked(),
        a.record_storage_checked(),
        a.configure_storage(),
        a.disconnect_provider(),
    )

    @pytest.mark.parametrize("command", COMMANDS)
    def test_refuses_a_project_that_never_was(self, command: Command) -> None:
        given().when(command).then_refused(ProjectUnknown)

    @pytest.mark.parametrize("command", COMMANDS)
    def test_refuses_an_archived_project(self, command: Command) -> None:
        given(*CONNECTED, a.project_archived()).when(command).then_refused(ProjectIsArchived)

    @pytest.mark.parametrize("command", COMMANDS[1:])
    def test_but_connecting_refuses_a_provider_that_is_not_connected(self, command: Command) -> None:
        given(*PROJECT).when(command).then_refused(IntegrationUnknown)


class TestStatus:
    def test_follows_the_identity_until_it_is_disconnected(self) -> None:
        connected = a.integration_connected()

        assert folded_status(connected) == "pending"
        assert folded_status(connected, a.identity_checked()) == "verified"
        assert folded_status(connected, a.identity_checked("failed")) == "failed"
        assert folded_status(connected, a.identity_checked(), a.integration_disconnected()) == "disconnected"
