"""What is AWS KMS's own: who this process is there, aliases, and what its policies do not allow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from cli.doctor_key_service import key_service_findings
from process.key_service import KeyContext, KeyServiceAway, KeyServiceRefused, WrappedKey, WrappingForged
from process.settings import SettingInvalid, Settings
from providers.key_services.aws import PREFIX, AwsKeyService
from providers.key_services.catalogue import key_services
from tests.emulators.aws.server import Amazon
from tests.providers.key_services.grounds import amazon_credentials, made_key

KEY = bytes(range(32))
CONTEXT = KeyContext(UUID(int=1), "function-secrets", UUID(int=2))


class TestAnAlias:
    async def test_may_lead_to_another_key_later_and_what_the_first_wrapped_still_opens(
        self, cloud: Amazon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        amazon_credentials(monkeypatch)
        kms: Any = cloud.client("kms")
        first, second = made_key(cloud), made_key(cloud)
        alias = first.rpartition(":")[0] + ":alias/dcf"
        kms.create_alias(AliasName="alias/dcf", TargetKeyId=first)
        service = AwsKeyService(alias, cloud.endpoints)
        before = await service.wrap(KEY, CONTEXT)
        kms.update_alias(AliasName="alias/dcf", TargetKeyId=second)
        after = await service.wrap(KEY, CONTEXT)

        assert [one.version for one in (before, after)] == [first, second]
        assert [await service.unwrap(one, CONTEXT) for one in (before, after)] == [KEY, KEY]
        await service.close()

    async def test_never_leads_to_a_key_of_another_account_or_region(self, cloud: Amazon) -> None:
        """Whoever can write to the database must not choose a key of their own that they let us use."""
        arn = made_key(cloud)
        service = AwsKeyService(arn.rpartition(":")[0] + ":alias/other", cloud.endpoints)
        asked = len(cloud.calls)
        theirs = "arn:aws:kms:eu-west-1:999999999999:key/1234abcd-12ab-34cd-56ef-1234567890ab"

        for version in (theirs, arn.replace("eu-west-1", "us-east-1"), "", arn + "\n"):
            with pytest.raises(WrappingForged):
                await service.unwrap(WrappedKey(service.name, version, b"x"), CONTEXT)
        assert len(cloud.calls) == asked


class TestWhoWeAre:
    async def test_a_role_that_may_not_is_refused_with_the_right_it_lacks(
        self, cloud: Amazon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = _role(cloud, {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"})
        amazon_credentials(
            monkeypatch,
            AWS_ACCESS_KEY_ID=session.access_key,
            AWS_SECRET_ACCESS_KEY=session.secret,
            AWS_SESSION_TOKEN=session.token,
        )
        service = AwsKeyService(made_key(cloud), cloud.endpoints)

        with pytest.raises(KeyServiceRefused, match="AccessDeniedException") as told:
            await service.wrap(KEY, CONTEXT)

        assert "kms:Encrypt" in told.value.remedy
        await service.close()

    async def test_nobody_is_told_where_credentials_come_from(
        self, cloud: Amazon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        amazon_credentials(monkeypatch)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        service = AwsKeyService(made_key(cloud), cloud.endpoints)

        with pytest.raises(KeyServiceAway) as told:
            await service.wrap(KEY, CONTEXT)

        assert "credentials" in told.value.remedy

        amazon_credentials(monkeypatch)  # They come later, as those of a machine may.
        assert await service.unwrap(await service.wrap(KEY, CONTEXT), CONTEXT) == KEY
        await service.close()

    async def test_what_amazon_does_not_know_any_more_is_looked_for_again(
        self, cloud: Amazon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        amazon_credentials(monkeypatch)
        service = AwsKeyService(made_key(cloud), cloud.endpoints)
        wrapped = await service.wrap(KEY, CONTEXT)
        amazon_credentials(monkeypatch, AWS_ACCESS_KEY_ID="AKIAGONE000000000000")
        gone = AwsKeyService(service.name.removeprefix(PREFIX), cloud.endpoints)
        with pytest.raises(KeyServiceAway):
            await gone.unwrap(wrapped, CONTEXT)

        amazon_credentials(monkeypatch)
        assert await gone.unwrap(wrapped, CONTEXT) == KEY
        for one in (service, gone):
            await one.close()

    async def test_an_answer_that_is_lost_is_asked_for_again(
        self, cloud: Amazon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        amazon_credentials(monkeypatch)
        [service] = [one for one in (key_services(_settings(cloud, PREFIX + made_key(cloud)))[0],) if one is not None]
        cloud.faults.add("lose", "kms.Encrypt")

        wrapped = await service.wrap(KEY, CONTEXT)

        assert await service.unwrap(wrapped, CONTEXT) == KEY
        await service.close()


class TestTheDoctor:
    def test_says_whether_the_key_can_be_used_and_what_to_do(
        self, cloud: Amazon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        amazon_credentials(monkeypatch)
        arn = made_key(cloud)
        settings = _settings(cloud, PREFIX + arn)

        [good] = key_service_findings(settings)
        cloud.client("kms").disable_key(KeyId=arn)
        [bad] = key_service_findings(settings)

        assert (good.status, good.message) == ("ok", f"{PREFIX}{arn} wraps and unwraps for this process")
        assert (bad.status, "DisabledException" in bad.message) == ("fail", True)
        assert "enabled" in bad.remedy


class TestSettings:
    @pytest.mark.parametrize(
        "name", ["aws-kms:", "aws-kms:key/1", "aws-kms:arn:aws:s3:::bucket", "kms", "aws-kms:alias/dcf"]
    )
    def test_that_name_no_key_are_refused_by_name(self, name: str) -> None:
        with pytest.raises(SettingInvalid, match="DCF_MASTER_KEY_SERVICE"):
            key_services(Settings(master_key_service=name))
        with pytest.raises(SettingInvalid, match="DCF_FORMER_MASTER_KEY_SERVICES"):
            key_services(Settings(former_master_key_services=name))


def _settings(cloud: Amazon, service: str) -> Settings:
    return Settings(master_key_service=service, aws_endpoints=cloud.endpoints)


def _role(cloud: Amazon, statement: dict[str, str]) -> Any:
    iam = cloud.client("iam")
    trust = {"Version": "2012-10-17", "Statement": []}
    arn = iam.create_role(RoleName="dcf-keys", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    iam.put_role_policy(RoleName="dcf-keys", PolicyName="keys", PolicyDocument=json.dumps(policy))
    return cloud.account.become(arn, "dcf", 900)
