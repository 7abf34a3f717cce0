"""The packages' clients of one account, made in one place: timeouts, retries, polling, no telemetry."""

from __future__ import annotations

import logging
import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

from core.azure import sign_in
from core.azure.account import Account
from core.azure.faults import AzureError, asking

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential

REGISTRY = "azureml"
POLL_S = 15.0
LONGEST_S = 3600.0
POLL_VARIABLE = "FINETUI_AZURE_POLL_S"


def poll_s() -> float:
    """Seconds between two looks at something that takes its time."""
    return float(os.environ.get(POLL_VARIABLE, POLL_S))


class Azure:
    """One account as its clients see it. Each is made when it is first used; none is shared between threads.

    Args:
        account: whose.
        prompt: shows a device code; see `sign_in.credential`.
    """

    def __init__(self, account: Account, prompt: sign_in.Prompt | None = None) -> None:
        self.account = account
        self._prompt = prompt
        self._registries: dict[str, MLClient] = {}

    @cached_property
    def credential(self) -> TokenCredential:
        """Asking it for a token signs in."""
        return sign_in.credential(self.account, self._prompt)

    def sign_in(self) -> str:
        """Sign in now; a device code is shown and waited for. Returns the user's name, or empty.

        Raises:
            AzureError: it failed.
        """
        with asking(self._signing_in):
            return sign_in.authenticate(self.credential, [self.scope])

    def signed_in(self) -> None:
        """Have a token, without asking anybody.

        Raises:
            AzureError: it can't be had; with the code `sign_in_needed` where a device code must be typed first.
        """
        with asking(self._signing_in):
            self.credential.get_token(self.scope)

    @property
    def _signing_in(self) -> str:
        return f"Signing in to the tenant {self.account.tenant}" if self.account.tenant else "Signing in"

    def forget(self) -> None:
        """Drop the clients and what they hold of the cloud, but not the sign-in: after an outage they start anew."""
        self._registries.clear()
        for name in ("ml", "resources", "authorization", "rest", "cloud"):
            self.__dict__.pop(name, None)

    def renew(self) -> None:
        """Drop the sign-in too, its tokens with it: the next call asks for new ones."""
        self.forget()
        self.__dict__.pop("credential", None)

    @cached_property
    def cloud(self) -> dict[str, str]:
        """Addresses of the cloud in use (public, sovereign or one's own), as azure-ai-ml knows it.

        Raises:
            AzureError: the cloud's own description can't be had.
        """
        _quiet()  # before it is imported, which asks for an own cloud's description
        with asking("The cloud's addresses"):
            from azure.ai.ml._azure_environments import _get_cloud_details

            _quiet()
            return dict(_get_cloud_details())

    @property
    def manager(self) -> str:
        """Address of the resource manager, without a slash at its end."""
        return self.cloud["resource_manager"].rstrip("/")

    @property
    def scope(self) -> str:
        """What tokens are asked for."""
        return sign_in.scope_of(self.cloud["resource_manager"])

    @cached_property
    def ml(self) -> MLClient:
        """azure-ai-ml for the project.

        Raises:
            AzureError: no project is chosen, or the cloud can't be asked.
        """
        chosen = self.account
        if chosen.missing:
            raise AzureError(
                f"No {chosen.missing[0].replace('_', ' ')} is chosen.",
                "",
                "`finetui azure login` chooses it, `finetui azure check --fix` makes what is not there yet.",
                code="not_chosen",
            )
        with asking("The project"):
            return self._ml(chosen.subscription, chosen.resource_group, chosen.project)

    def registry(self, name: str = REGISTRY) -> MLClient:
        """azure-ai-ml for a registry of models; Azure's own when none is named."""
        if name not in self._registries:
            with asking(f"The model registry {name}"):
                self._registries[name] = self._ml(registry_name=name)
        return self._registries[name]

    def in_group(self) -> MLClient:
        """azure-ai-ml for the resource group: to make hubs and projects in."""
        with asking("The resource group"):
            return self._ml(self.account.subscription, self.account.resource_group)

    def _ml(self, *place: str, **more: Any) -> MLClient:
        from azure.ai.ml import MLClient

        _quiet()
        return MLClient(
            self.credential,
            *place,
            show_progress=False,
            enable_telemetry=False,
            polling_interval=poll_s(),
            **sign_in.TIMEOUTS,
            **more,
        )

    def workspace(self, group: str, name: str) -> MLClient:
        """azure-ai-ml for a hub."""
        with asking(f"The hub {name}"):
            return self._ml(self.account.subscription, group, name)

    @property
    def service(self) -> Any:
        """The typed client below azure-ai-ml, of the version that knows fine-tuning jobs and content safety."""
        return self.ml._service_client_10_2024_preview_tsp

    @property
    def place(self) -> tuple[str, str]:
        """(resource group, project), as the calls of `service` take them."""
        return self.account.resource_group, self.account.project

    @cached_property
    def resources(self) -> Any:
        """azure-mgmt-resource: groups and providers."""
        from azure.mgmt.resource.resources import ResourceManagementClient

        return ResourceManagementClient(
            self.credential,
            self.account.subscription,
            base_url=self.manager,
            credential_scopes=[self.scope],
            polling_interval=poll_s(),
            **sign_in.TIMEOUTS,
        )

    @cached_property
    def authorization(self) -> Any:
        """azure-mgmt-authorization: what the signed-in identity may do."""
        from azure.mgmt.authorization import AuthorizationManagementClient

        return AuthorizationManagementClient(
            self.credential,
            self.account.subscription,
            base_url=self.manager,
            credential_scopes=[self.scope],
            **sign_in.TIMEOUTS,
        )

    @cached_property
    def rest(self) -> Any:
        """A bare pipeline of azure-core (retries, token) for the few addresses no package has a call for."""
        from azure.core import PipelineClient
        from azure.core.pipeline import policies

        return PipelineClient(
            base_url=self.manager,
            policies=[
                policies.RequestIdPolicy(),
                policies.UserAgentPolicy("finetui"),
                policies.RetryPolicy(**sign_in.TIMEOUTS),
                policies.BearerTokenCredentialPolicy(self.credential, self.scope),
            ],
            **sign_in.TIMEOUTS,
        )

    def get(self, address: str, **params: str) -> dict[str, Any]:
        """The JSON object at an address of Azure's: absolute, or a path of the resource manager.

        Raises:
            HttpResponseError: azure-core's; wrap it in `faults.asking`.
        """
        from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
        from azure.core.rest import HttpRequest

        url = address if "://" in address else self.manager + address
        response = self.rest.send_request(HttpRequest("GET", url, params=params))
        response.read()
        if response.status_code >= 400:
            kinds = {401: ClientAuthenticationError, 404: ResourceNotFoundError}
            raise kinds.get(response.status_code, HttpResponseError)(response=response)
        content: dict[str, Any] = response.json()
        return content

    def fetch(self, address: str) -> bytes:
        """The bytes at an address that carries its own permission, e.g. a log's: no token is sent there.

        Raises:
            HttpResponseError: azure-core's; wrap it in `faults.asking`.
        """
        from azure.core import PipelineClient
        from azure.core.exceptions import HttpResponseError
        from azure.core.pipeline import policies
        from azure.core.rest import HttpRequest

        retries = policies.RetryPolicy(**sign_in.TIMEOUTS)
        client = PipelineClient(base_url=address, policies=[retries], **sign_in.TIMEOUTS)
        with client, client.send_request(HttpRequest("GET", address)) as response:
            if response.status_code >= 400:
                raise HttpResponseError(response=response)
            return bytes(response.read())

    def pages(self, path: str, **params: str) -> list[dict[str, Any]]:
        """Every item of a list of the resource manager's, page by page."""
        answer = self.get(path, **params)
        items = list(answer.get("value", []))
        while link := answer.get("nextLink"):
            answer = self.get(str(link))
            items += answer.get("value", [])
        return items


def finished(poller: Any, seconds: float = LONGEST_S) -> Any:
    """The result of an operation that takes its time, waited for no longer than an hour.

    Args:
        poller: of the operation.
        seconds: to wait at most.

    Raises:
        AzureError: it is still going on.
        HttpResponseError: it has failed; wrap it in `faults.asking`.
    """
    poller.wait(seconds)
    if not poller.done():
        raise AzureError(
            f"Azure has not ended it within {LONGEST_S / 60:.0f} minutes.",
            "It goes on there.",
            "Look again later.",
        )
    return poller.result()


def text(value: Any) -> str:
    """A value of the wire as text: the packages make some words into enums, and leave out what is empty."""
    return str(getattr(value, "value", value) or "")


def _quiet() -> None:
    """azure-ai-ml tells of every experimental class and of each step of a deployment, by loggers with a level and a
    stream of their own; what matters comes as an exception."""
    logging.getLogger("azure").setLevel(logging.ERROR)
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if name.startswith("azure.ai.ml") and isinstance(logger, logging.Logger) and logger.level:
            logger.setLevel(logging.ERROR)  # only where it has one of its own: each call costs
