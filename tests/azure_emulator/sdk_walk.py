"""The whole life of a tuned model, by the unpatched SDKs, in a process of its own.

`azure.ai.ml` settles on a cloud while it is imported, so the environment must be right before. Prints one JSON object
with what was seen; an exception is a failure.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from azure.ai.ml import Input, MLClient, Output
from azure.ai.ml._restclient.arm_ml_service import models as wire
from azure.ai.ml.entities import Data, Hub, MarketplaceSubscription, Project, ServerlessEndpoint
from azure.ai.ml.entities._job.finetuning.custom_model_finetuning_job import CustomModelFineTuningJob
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient
from openai import BadRequestError, OpenAI

ENDED = ("Completed", "Failed", "Canceled")


class Walk:
    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        self.url = given["url"]
        self.credential = ClientSecretCredential(
            given["AZURE_TENANT_ID"],
            given["AZURE_CLIENT_ID"],
            given["AZURE_CLIENT_SECRET"],
            authority=self.url,
            disable_instance_discovery=True,
        )
        self.ml = self.client(given["workspace"])
        self.seen: dict[str, Any] = {}

    def client(self, workspace: str) -> MLClient:
        return MLClient(
            self.credential,
            self.given["subscription"],
            self.given["resource_group"],
            workspace,
            enable_telemetry=False,
            polling_interval=1,
        )

    def ready(self) -> None:
        resources = ResourceManagementClient(
            self.credential,
            self.given["subscription"],
            base_url=self.url,
            credential_scopes=[f"{self.url}/.default"],
        )
        self.seen["network before"] = resources.providers.get("Microsoft.Network").registration_state
        resources.providers.register("Microsoft.Network")
        while resources.providers.get("Microsoft.Network").registration_state != "Registered":
            time.sleep(0.1)
        self.seen["group exists"] = resources.resource_groups.check_existence(self.given["resource_group"])
        resources.resource_groups.create_or_update("another-rg", {"location": "eastus2"})
        self.seen["groups"] = sorted(group.name for group in resources.resource_groups.list())
        roles = AuthorizationManagementClient(
            self.credential,
            self.given["subscription"],
            base_url=self.url,
            credential_scopes=[f"{self.url}/.default"],
        )
        scope = f"/subscriptions/{self.given['subscription']}/resourceGroups/{self.given['resource_group']}"
        assigned = next(
            iter(roles.role_assignments.list_for_scope(scope, filter=f"assignedTo('{self.given['oid']}')"))
        )
        definition = roles.role_definitions.get(scope, assigned.role_definition_id.rsplit("/", 1)[-1])
        self.seen["role"] = definition.role_name
        self.seen["actions"] = [
            action
            for one in roles.permissions.list_for_resource_group(self.given["resource_group"])
            for action in one.actions
        ]

    def hub_and_project(self) -> None:
        ml = self.client(self.given["workspace"])
        hub = ml.workspaces.begin_create(Hub(name="new-hub", location="eastus2")).result()
        project = ml.workspaces.begin_create(
            Project(name="new-project", hub_id=hub.id, location="eastus2")
        ).result()
        self.seen["new project"] = [project.name, project.location, project.hub_id.rsplit("/", 1)[-1]]
        self.seen["workspaces"] = sorted(one.name for one in ml.workspaces.list())

    def registry(self) -> str:
        registry = MLClient(self.credential, registry_name="azureml", enable_telemetry=False)
        model = registry.models.get("Phi-4-mini-instruct", label="latest")
        self.seen["base model"] = model.id
        self.seen["regions"] = json.loads(model.tags["maas-finetuning-deploy-regions"])
        self.seen["registry models"] = sorted(one.name for one in registry.models.list())
        return str(model.id)

    def data(self, folder: Path) -> str:
        """The same content twice: the second is not sent again."""
        file = folder / "train.jsonl"
        row = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
        file.write_text("".join(json.dumps(row) + "\n" for _ in range(20)), encoding="utf-8")
        first = self.ml.data.create_or_update(Data(name="rows", version="1", type="uri_file", path=str(file)))
        second = self.ml.data.create_or_update(
            Data(name="rows", version="2", type="uri_file", path=str(file))
        )
        self.seen["data paths"] = [first.path, second.path]
        self.seen["data versions"] = sorted(one.version for one in self.ml.data.list(name="rows"))
        return str(first.id)

    def job(self, base: str, data: str, name: str) -> CustomModelFineTuningJob:
        return CustomModelFineTuningJob(
            task="ChatCompletion",
            model=Input(type="mlflow_model", path=base),
            training_data=Input(type="uri_file", path=data),
            hyperparameters={
                "per_device_train_batch_size": "1",
                "learning_rate": "0.00002",
                "num_train_epochs": "1",
            },
            outputs={"registered_model": Output(type="mlflow_model", name="tuned-rows")},
            name=name,
            display_name=name,
            experiment_name="walk",
            tags={"finetui": "1"},
        )

    def tune(self, base: str, data: str) -> None:
        asked = self.job(base, data, "ft-1")
        made = self.ml.jobs.create_or_update(asked)
        again = self.ml.jobs.create_or_update(asked)
        self.seen["job names"] = [made.name, again.name]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            self.ml.jobs.stream("ft-1")
        self.seen["streamed"] = "Execution Summary" in printed.getvalue()  # its logs only while it goes on
        done = self.ml.jobs.get("ft-1")
        self.seen["job"] = done.status
        self.ml.jobs.create_or_update(self.job(base, data, "ft-2"))
        self.ml.jobs.begin_cancel("ft-2").result()
        while self.ml.jobs.get("ft-2").status not in ENDED:
            time.sleep(0.1)
        self.seen["cancelled"] = self.ml.jobs.get("ft-2").status
        self.seen["jobs"] = sorted(job.name for job in self.ml.jobs.list())
        self.ml.jobs.begin_delete("ft-2").result()
        self.seen["jobs after deletion"] = sorted(job.name for job in self.ml.jobs.list())
        with contextlib.suppress(ResourceNotFoundError):
            self.ml.jobs.get("nope")
            raise AssertionError("a job that is not there was found")

    def metrics(self) -> None:
        token = self.credential.get_token(f"{self.url}/.default").token
        workspace = self.ml.workspaces.get(self.given["workspace"])
        address = workspace.mlflow_tracking_uri.replace("azureml://", "https://").replace("v1.0", "v2.0")
        found = httpx.get(
            f"{address}/api/2.0/mlflow/metrics/get-history",
            params={"run_id": "ft-1", "metric_key": "train_loss"},
            headers={"Authorization": f"Bearer {token}"},
        ).json()["metrics"]
        self.seen["losses"] = [point["value"] for point in found]

    def endpoint(self) -> None:
        model = self.ml.models.get("tuned-rows", version="1")
        self.seen["model properties"] = dict(model.properties)
        workspace = self.ml.workspaces.get(self.given["workspace"])
        model_id = f"azureml://locations/{workspace.location}/workspaces/{workspace._workspace_id}/models/tuned-rows/versions/1"
        made = self.ml.serverless_endpoints.begin_create_or_update(
            ServerlessEndpoint(name="walk-ep", model_id=model_id)
        ).result()
        self.seen["endpoint"] = made.provisioning_state
        keys = self.ml.serverless_endpoints.get_keys("walk-ep")
        self.chat(made.scoring_uri, keys.primary_key)
        fresh = self.ml._service_client_01_2024_preview_arm.serverless_endpoints.begin_regenerate_keys(
            self.given["resource_group"],
            self.given["workspace"],
            "walk-ep",
            wire.RegenerateEndpointKeysRequest(key_type="Primary"),
        ).result()
        self.seen["key changed"] = [
            fresh.primary_key != keys.primary_key,
            fresh.secondary_key == keys.secondary_key,
        ]
        self.unfiltered()
        versions = self.ml._service_client_08_2023_preview.model_versions
        where = (self.given["resource_group"], self.given["workspace"], "tuned-rows", "1")
        try:
            versions.delete(*where)
        except ResourceExistsError as error:
            self.seen["model in use"] = error.error.code
        self.ml.serverless_endpoints.begin_delete("walk-ep").result()
        self.seen["endpoints left"] = [one.name for one in self.ml.serverless_endpoints.list()]
        versions.delete(*where)
        with contextlib.suppress(ResourceNotFoundError):
            self.ml.models.get("tuned-rows", version="1")
            raise AssertionError("a deleted model was found")

    def unfiltered(self) -> None:
        """An endpoint without the content filter, by the newer version of the API."""
        body = wire.ServerlessEndpoint(
            location=self.given["region"],
            sku=wire.Sku(name="Consumption"),
            properties=wire.ServerlessEndpointProperties(
                auth_mode="Key",
                content_safety=wire.ContentSafety(content_safety_status="Disabled"),
                model_settings=wire.ModelSettings(
                    model_id="azureml://registries/azureml/models/Phi-4-mini-instruct"
                ),
            ),
        )
        operations = self.ml._service_client_10_2024_preview_tsp.serverless_endpoints
        where = (self.given["resource_group"], self.given["workspace"], "open-ep")
        made = operations.begin_create_or_update(*where, body).result()
        self.seen["content safety"] = made.properties.content_safety.content_safety_status
        operations.begin_delete(*where).result()

    def chat(self, address: str, key: str) -> None:
        client = OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0)
        parts = client.chat.completions.create(
            model="tuned",
            messages=[{"role": "user", "content": "one two"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        text, usage = "", None
        for part in parts:
            text += "".join(choice.delta.content or "" for choice in part.choices)
            usage = part.usage or usage
        assert usage is not None
        self.seen["chat"] = [text, usage.completion_tokens]
        try:
            client.chat.completions.create(
                model="tuned", messages=[{"role": "user", "content": "filter-this-prompt"}]
            )
        except BadRequestError as error:
            self.seen["filtered"] = error.code

    def market(self) -> None:
        bought = self.ml.marketplace_subscriptions.begin_create_or_update(
            MarketplaceSubscription(name="llama", model_id="azureml://registries/azureml-meta/models/Llama")
        ).result()
        self.seen["marketplace"] = bought.status
        self.ml.marketplace_subscriptions.begin_delete("llama").result()

    def refused(self, data: str) -> None:
        retired = "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/15"
        try:
            self.ml.jobs.create_or_update(self.job(retired, data, "ft-3"))
        except HttpResponseError as error:
            self.seen["retired"] = [error.status_code, error.error.code]

    def all(self) -> dict[str, Any]:
        self.ready()
        base = self.registry()
        # The SDK sleeps for five seconds between looks at a deployment; meanwhile a job can run.
        with ThreadPoolExecutor(1) as beside:
            made = beside.submit(self.hub_and_project)
            with tempfile.TemporaryDirectory() as folder:
                data = self.data(Path(folder))
            self.tune(base, data)
            made.result()
        self.metrics()
        self.endpoint()
        self.market()
        self.refused(data)
        return self.seen


if __name__ == "__main__":
    sys.stdout.write(json.dumps(Walk(json.load(sys.stdin)).all()) + "\n")
