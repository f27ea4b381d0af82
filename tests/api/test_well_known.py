"""What clouds read of us."""

from __future__ import annotations

from uuid import uuid4

import jwt

from tests.api.world import World

AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q"


class TestTheIssuer:
    async def test_publishes_what_proves_its_tokens_to_anybody(self, world: World) -> None:
        async with world.client("") as anybody:
            described = (await anybody.get("/.well-known/openid-configuration")).json()
            published = await anybody.get("/.well-known/jwks.json")

        token = world.services.token_source.token(uuid4(), uuid4(), AUDIENCE)
        key = jwt.PyJWKSet.from_dict(published.json())[jwt.get_unverified_header(token)["kid"]]
        claims = jwt.decode(token, key.key, algorithms=["RS256"], audience=AUDIENCE, issuer=described["issuer"])
        assert described["jwks_uri"] == f"{described['issuer']}/.well-known/jwks.json"
        assert claims["sub"].startswith("tenant:")
        assert published.headers["cache-control"] == "public, max-age=300"
