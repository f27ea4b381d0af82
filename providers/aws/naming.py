"""What a deployment's things are called at Amazon: from our ids alone, so that they are found again."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit
from uuid import UUID

from domain.clouds import AwsTarget
from providers.provider import Order

MANAGED_BY = "dart-cloud-functions"
# On what the setup makes, as options of Amazon's command line.
TAGS = ("--tags", f"Key=managed-by,Value={MANAGED_BY}")
# The alias that the Function URL leads to: whichever version it names serves.
LIVE = "live"
ROOT = "dcf/"


def session_name(tenant_id: UUID, project_id: UUID) -> str:
    """How CloudTrail names us: the tenant's id and the project's, 64 characters, the most there may be."""
    return f"{tenant_id.hex}{project_id.hex}"


def account_id(role_arn: str) -> str:
    """The account in `arn:aws:iam::123456789012:role/name`."""
    return role_arn.split(":")[4]


def partition(role_arn: str) -> str:
    """`aws`, `aws-cn` or `aws-us-gov`."""
    return role_arn.split(":")[1]


def partition_of(region: str) -> str:
    """The part of Amazon's world that a region lies in."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def domain(partition: str) -> str:
    """What the addresses of a partition end with."""
    return "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"


def issuer_host(issuer: str) -> str:
    """An issuer as IAM names it in conditions and ARNs: without its scheme."""
    parts = urlsplit(issuer)
    return f"{parts.netloc}{parts.path}".rstrip("/")


def oidc_provider_arn(partition: str, account: str, issuer: str) -> str:
    return f"arn:{partition}:iam::{account}:oidc-provider/{issuer_host(issuer)}"


def folder(order: Order) -> str:
    """Whatever is staged for the deployment lies below this."""
    return f"{ROOT}{order.deployment_id}/"


def bundle_name(order: Order) -> str:
    return f"{folder(order)}source.zip"


def build_note(order: Order) -> str:
    """Where the id of the deployment's build is kept."""
    return f"{folder(order)}build"


def former_schedule(order: Order) -> str:
    """Where the schedule that the deployment's release takes the place of is kept."""
    return f"{folder(order)}schedule-before"


def tag(order: Order) -> str:
    """Each deployment's image has a tag of its own."""
    return str(order.deployment_id)


def registry(target: AwsTarget) -> str:
    part = partition(target.role_arn)
    return f"{account_id(target.role_arn)}.dkr.ecr.{target.region}.{domain(part)}"


def image_path(target: AwsTarget) -> str:
    return f"{registry(target)}/{target.ecr_repository}"


def function_arn(target: AwsTarget) -> str:
    part, account = partition(target.role_arn), account_id(target.role_arn)
    return f"arn:{part}:lambda:{target.region}:{account}:function:{target.function_name}"


def release_alias(order: Order) -> str:
    """The alias that stands for this deployment's release, whatever its version's number."""
    return alias_of(str(order.deployment_id))


def alias_of(deployment_id: str) -> str:
    return f"d-{deployment_id.replace('-', '')}"


def place(order: Order) -> str:
    """A function can be deployed under several names in one region."""
    name = hashlib.sha256(target_name(order).encode()).hexdigest()[:16]
    return f"{order.release.function_id.hex}-{name}"


def schedule_name(order: Order) -> str:
    return f"dcf-{place(order)}"


def secrets_of(project_id: UUID) -> str:
    """What the names of a project's secrets begin with: its roles may open no others."""
    return f"{ROOT}{project_id.hex}/"


def secrets_arn(role_arn: str, region: str, project_id: UUID) -> str:
    """All of a project's secrets, as policies name them."""
    return f"arn:{partition(role_arn)}:secretsmanager:{region}:{account_id(role_arn)}:secret:{secrets_of(project_id)}*"


def secrets_root(order: Order) -> str:
    """What those of a function at one target begin with; the id of a value follows."""
    return f"{secrets_of(order.project_id)}{place(order)}/"


def target_name(order: Order) -> str:
    target = order.release.target
    return target.function_name if isinstance(target, AwsTarget) else ""


def mark(order: Order) -> str:
    """What a version's description says, to be found by."""
    return f"dcf deployment={order.deployment_id} number={order.number}"


def tags(order: Order) -> dict[str, str]:
    """What says that a function is ours, and whose."""
    return {
        "managed-by": MANAGED_BY,
        "dcf-tenant": str(order.tenant_id),
        "dcf-project": str(order.project_id),
        "dcf-function": str(order.release.function_id),
    }
