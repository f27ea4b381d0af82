"""Looking whether a project's AWS account is set up, one thing after another, each with the command that mends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from io import BytesIO
from uuid import uuid4

from domain.clouds import AwsNamed, AwsStorage
from providers.aws import naming, policies
from providers.aws.account import Account
from providers.aws.errors import Answered, command, role_name, told
from providers.aws.named import NamedChecks
from providers.aws.policies import Places
from providers.aws.storage import Bucket
from providers.provider import ProviderRefused
from providers.walk import MaySpread, Walk

# A role or a policy that was made a moment ago is refused meanwhile, for seconds, as Amazon says.
SPREADS_SECONDS = 60.0
_SPREADS = frozenset(
    {
        "AWS_TRUST_POLICY_REFUSED",
        "AWS_OIDC_PROVIDER_NOT_FOUND",
        "AWS_PERMISSION_DENIED",
        "AWS_PASS_ROLE_DENIED",
        "AWS_BUILD_ROLE_DENIED",
        "AWS_FUNCTION_DENIED",
        "AWS_BUCKET_PERMISSION_DENIED",
    }
)


class Checks:
    """The checks of one project's integration."""

    def __init__(self, account: Account, named: AwsNamed | None = None) -> None:
        self._account, self._identity = account, account.identity
        self._named = NamedChecks(account, named or AwsNamed())
        self._own = ""

    async def identity(self, walk: Walk) -> None:
        """Our token, the role, and what is named for deployments; nothing cached is believed."""
        self._account.roles.forget(*self._account.whose)
        await walk.step("own_token", self._look_at_own_token)
        await walk.step("assume_role", self._told(self._look_at_role))
        await walk.step("region", self._told(self._look_at_region))
        await walk.step(
            "secrets", self._told(lambda: self._named.look_at_secrets(self._identity.role_arn, *policies.KEEPING))
        )
        for name, look in self._named.steps:
            await walk.step(name, self._told(look))

    async def bucket(self, walk: Walk, storage: AwsStorage) -> None:
        """That the bucket is there, and that files can be put, listed and removed."""
        bucket = Bucket(self._account, storage)
        await walk.step("bucket", self._told(lambda: self._look_at_bucket(bucket, storage)))
        await walk.step("bucket_permissions", self._told(lambda: self._look_at_staging(bucket, storage)))

    def _told(self, look: Callable[[], Awaitable[str]]) -> Callable[[], Awaitable[str]]:
        async def looked() -> str:
            try:
                try:
                    return await look()
                except Answered as error:
                    raise told(error, self._identity) from error
            except ProviderRefused as refused:
                if refused.code in _SPREADS:
                    raise MaySpread(refused) from refused
                raise

        return looked

    async def _look_at_own_token(self) -> str:
        self._own = self._account.roles.own(*self._account.whose)
        return "This service signed a token that names the tenant and the project."

    async def _look_at_role(self) -> str:
        await self._account.roles.assume(self._own, *self._account.whose)
        return f"The project may act as {self._identity.role_arn}."

    async def _look_at_region(self) -> str:
        found = await self._account.call("sts", "get_caller_identity")
        return f"AWS answers in {self._identity.region} for the account {found['Account']}."

    async def _look_at_bucket(self, bucket: Bucket, storage: AwsStorage) -> str:
        try:
            region = await bucket.location()
        except Answered as error:
            if error.is_missing:
                place = (
                    ()
                    if storage.region == "us-east-1"
                    else ("--create-bucket-configuration", f"LocationConstraint={storage.region}")
                )
                raise ProviderRefused(
                    "AWS_BUCKET_NOT_FOUND",
                    f"There is no bucket {storage.bucket}.",
                    command(
                        "aws",
                        "s3api",
                        "create-bucket",
                        "--bucket",
                        storage.bucket,
                        *place,
                        "--region",
                        storage.region,
                    ),
                ) from error
            raise self._bucket_denied(
                error, storage, "There is no such bucket, or the role may not see it. "
            ) from error
        if region != storage.region:
            raise ProviderRefused(
                "AWS_BUCKET_REGION_DIFFERS",
                f"The bucket {storage.bucket} is in {region}, not in {storage.region}.",
                f"Name {region} as its region, or another bucket; CodeBuild reads only from its own region.",
            )
        return f"The bucket {storage.bucket} is in {region}."

    async def _look_at_staging(self, bucket: Bucket, storage: AwsStorage) -> str:
        """S3 tells what one may do only by letting it be done."""
        name = f"{naming.ROOT}check/{uuid4()}"
        try:
            await bucket.stage(name, BytesIO(b"Written and removed while the bucket was checked."))
            await bucket.staged(name)
            await bucket.names(name)
            await bucket.remove(name)
        except Answered as error:
            raise self._bucket_denied(error, storage) from error
        return "Files can be put, read, listed and removed."

    def _bucket_denied(self, error: Answered, storage: AwsStorage, seen: str = "") -> Exception:
        if not error.is_denied:
            return error
        places = Places(
            account=naming.account_id(self._identity.role_arn),
            region=storage.region,
            bucket=storage.bucket,
            code_build_project="",
            ecr_repository="",
            execution_role_arn="",
            role_arn=self._identity.role_arn,
        )
        return ProviderRefused(
            "AWS_BUCKET_PERMISSION_DENIED",
            f"{seen}{error.call} on {storage.bucket}: {error.message}",
            command(
                "aws",
                "iam",
                "put-role-policy",
                "--role-name",
                role_name(self._identity.role_arn),
                "--policy-name",
                "dcf-bucket",
                "--policy-document",
                policies.encoded(policies.policy(policies.of_staging(places))),
            ),
        )
