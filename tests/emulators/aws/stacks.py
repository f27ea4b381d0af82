"""A template of CloudFormation, made by Amazon's own calls: the properties of a resource are the fields of its call.

For the kinds that our template has, and no others: moto makes roles and buckets of a template, and leaves the rest out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

Given = dict[str, Any]


class Stack:
    """`client` gives the customer's client of a service. Made in the order of the template, after what it refers to."""

    def __init__(self, client: Callable[[str], Any], account_id: str, region: str) -> None:
        self._client, self._region = client, region
        self._pseudo = {"AWS::AccountId": account_id, "AWS::Region": region}
        self._made: dict[str, dict[str, str]] = {}

    def make(self, template: Given) -> None:
        """Everything in it; a parameter has its default, and a condition that compares one is kept."""
        parameters = {name: one["Default"] for name, one in template.get("Parameters", {}).items()}
        holds = {
            name: self._is_same(one["Fn::Equals"], parameters) for name, one in template.get("Conditions", {}).items()
        }
        for name, resource in template["Resources"].items():
            if holds.get(resource.get("Condition", ""), True):
                self._made[name] = self._make(resource["Type"], self._resolved(resource["Properties"]))

    def _is_same(self, pair: list[Any], parameters: dict[str, str]) -> bool:
        first, second = (parameters[one["Ref"]] if isinstance(one, dict) else one for one in pair)
        return bool(first == second)

    def _resolved(self, value: Any) -> Any:
        match value:
            case {"Fn::Sub": str(text)}:
                return re.sub(r"\$\{([\w:]+)\}", lambda found: self._pseudo[found[1]], text)
            case {"Fn::GetAtt": [name, attribute]}:
                return self._made[name][attribute]
            case {"Ref": name}:
                return self._made[name]["Ref"]
            case dict():
                return {key: self._resolved(inner) for key, inner in value.items()}
            case list():
                return [self._resolved(inner) for inner in value]
            case _:
                return value

    def _make(self, kind: str, given: Given) -> dict[str, str]:
        match kind:
            case "AWS::IAM::OIDCProvider":
                self._client("iam").create_open_id_connect_provider(
                    Url=given["Url"], ClientIDList=given["ClientIdList"], Tags=given.get("Tags", [])
                )
                return {}
            case "AWS::IAM::Role":
                return self._role(given)
            case "AWS::S3::Bucket":
                return self._bucket(given)
            case "AWS::ECR::Repository":
                return self._repository(given)
            case "AWS::CodeBuild::Project":
                self._client("codebuild").create_project(**_lowered(given))
                return {"Ref": given["Name"]}
            case _:
                raise AssertionError(f"{kind} is not emulated")

    def _role(self, given: Given) -> dict[str, str]:
        iam, name = self._client("iam"), given["RoleName"]
        made = iam.create_role(
            RoleName=name,
            AssumeRolePolicyDocument=json.dumps(given["AssumeRolePolicyDocument"]),
            Tags=given.get("Tags", []),
        )
        for policy in given["Policies"]:
            document = json.dumps(policy["PolicyDocument"])
            iam.put_role_policy(RoleName=name, PolicyName=policy["PolicyName"], PolicyDocument=document)
        return {"Ref": name, "Arn": made["Role"]["Arn"]}

    def _bucket(self, given: Given) -> dict[str, str]:
        s3, named = self._client("s3"), {"Bucket": given["BucketName"]}
        s3.create_bucket(**named, CreateBucketConfiguration={"LocationConstraint": self._region})
        s3.put_public_access_block(**named, PublicAccessBlockConfiguration=given["PublicAccessBlockConfiguration"])
        rules = [
            {
                **{key: one[key] for key in one if key not in ("Id", "Prefix")},
                "ID": one["Id"],
                "Filter": {"Prefix": one["Prefix"]},
            }
            for one in given["LifecycleConfiguration"]["Rules"]
        ]
        s3.put_bucket_lifecycle_configuration(**named, LifecycleConfiguration={"Rules": rules})
        return {"Ref": given["BucketName"]}

    def _repository(self, given: Given) -> dict[str, str]:
        ecr, named = self._client("ecr"), {"repositoryName": given["RepositoryName"]}
        ecr.create_repository(**named, imageTagMutability=given["ImageTagMutability"], tags=given.get("Tags", []))
        ecr.set_repository_policy(**named, policyText=json.dumps(given["RepositoryPolicyText"]))
        return {"Ref": given["RepositoryName"]}


def _lowered(value: Any) -> Any:
    """As the call names what a template begins with a capital."""
    if isinstance(value, dict):
        return {f"{key[0].lower()}{key[1:]}": _lowered(inner) for key, inner in value.items()}
    return [_lowered(inner) for inner in value] if isinstance(value, list) else value
