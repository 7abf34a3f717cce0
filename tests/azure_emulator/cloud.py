"""The cloud's metadata, the workspace's service discovery and the registries' discovery."""

from __future__ import annotations

from tests.azure_emulator.state import REGION, REGISTRY_SUBSCRIPTION
from tests.azure_emulator.wire import Answer, Call, Refusal, Table

NAME = "LoopbackCloud"


def routes(table: Table) -> None:
    table.add("GET", "/metadata/endpoints", metadata, "open")
    table.add("GET", "/discovery", discovery, "open")
    table.add("GET", "/discovery/workspaces/{id}", discovery, "open")
    table.add("GET", "/registrymanagement/v1.0/registries/{registry}/discovery", registry, "token")


def metadata(call: Call) -> Answer:
    url = call.azure.url
    return Answer(
        body=[
            {
                "name": NAME,
                "portal": "https://portal.azure.localhost/",
                "resourceManager": f"{url}/",
                "authentication": {
                    "loginEndpoint": url,
                    "audiences": [url],
                    "tenant": "common",
                    "identityProvider": "AAD",
                },
                "suffixes": {"storage": f"core.localhost:{call.azure.blob_port}"},
            }
        ]
    )


def discovery(call: Call) -> Answer:
    url = call.azure.url
    services = ("api", "experimentation", "history", "hyperdrive", "labeling", "modelmanagement", "pipelines")
    return Answer(body={**dict.fromkeys(services, url), "studio": "https://ml.azure.localhost"})


def registry(call: Call) -> Answer:
    name = call.names["registry"]
    if name not in call.azure.registries:
        raise Refusal(404, "RegistryNotFound", f"Registry {name} was not found.")
    return Answer(
        body={
            "registryName": name,
            "primaryRegionResourceProviderUri": f"{call.azure.url}/",
            "resourceGroup": "registry-rg",
            "subscriptionId": REGISTRY_SUBSCRIPTION,
            "additionalRegions": [REGION],
        }
    )
