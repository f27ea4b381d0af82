"""Connecting to Azure over HTTP, as far as it goes without a cloud that answers."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import httpx

from tests.api.steps import a_project, ask, is_problem

DIRECTORY = {
    "azureTenantId": "0192d3a4-5b6c-7d8e-9f00-000000000012",
    "subscriptionId": "0192d3a4-5b6c-7d8e-9f00-000000000013",
}


class TestRegisterAzure:
    async def test_leads_to_a_template_that_trusts_this_project_alone(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        path = f"/projects/{project_id}/integrations/azure/wif/register"

        body = await ask(client, "POST", path, DIRECTORY)
        again = await ask(client, "POST", path, DIRECTORY)

        place, _, template_url = body["portalUrl"].partition("/uri/")
        served = await client.get(urlsplit(unquote(template_url)).path, headers={"Authorization": ""})
        template = served.json()
        [trust] = [one for one in template["resources"] if one["type"].endswith("/federatedIdentityCredentials")]
        assert body == again
        assert place == "https://portal.azure.com/#create/Microsoft.Template"
        assert served.headers["access-control-allow-origin"] == "*"
        assert unquote(template_url).startswith("https://api.dcf.example/"), "the portal fetches it from us"
        assert trust["properties"]["issuer"] == "https://dcf.example", "which need not be who signs the tokens"
        assert trust["properties"]["subject"].endswith(f":project:{project_id}")
        assert trust["properties"]["audiences"] == ["api://AzureADTokenExchange"]
        assert {"azureTenantId", "clientId", "subscriptionId"} == set(template["outputs"])

    async def test_refuses_what_is_no_directory(self, client: httpx.AsyncClient) -> None:
        path = f"/api/v1/projects/{await a_project(client)}/integrations/azure/wif/register"

        answer = await client.post(path, json={**DIRECTORY, "azureTenantId": "login.example.com/x"})

        assert is_problem(answer, 422, "body_invalid")


class TestConnectAzure:
    async def test_is_shown_as_it_was_given(self, client: httpx.AsyncClient) -> None:
        path = f"/projects/{await a_project(client)}/integrations/azure"

        made = await ask(
            client, "POST", f"{path}/connect", {**DIRECTORY, "clientId": DIRECTORY["azureTenantId"]}, status=201
        )

        assert made == await ask(client, "GET", path)
        assert made["status"] == "pending"
