"""How the loopback Azure behaves: jobs, endpoints, faults, prices, the proxy."""

from __future__ import annotations

import json
import socket
import time
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from tests.azure_emulator import prices, state
from tests.azure_emulator.conftest import BASE_MODEL, Client, endpoint_body, job_body
from tests.azure_emulator.emulator import Emulator
from tests.azure_emulator.inference import FILTER_ANSWER, FILTER_PROMPT


def status(client: Client, job: str = "j") -> str:
    found: str = client.workspace("GET", f"/jobs/{job}").json()["properties"]["status"]
    return found


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def inner_codes(answer: httpx.Response) -> str:
    return json.dumps(answer.json()["error"]["additionalInfo"])


def test_a_job_waits_where_it_is_held(client: Client) -> None:
    settings = client.azure.settings
    seen = []
    settings.hold_jobs_at = "NotStarted"
    client.workspace("PUT", "/jobs/j", job_body())
    for at in ("NotStarted", "Queued", "Preparing", "Running", "Finalizing", None):
        settings.hold_jobs_at = at
        seen.append(status(client))
    assert seen == ["NotStarted", "Queued", "Preparing", "Running", "Finalizing", "Completed"]
    assert list(client.azure.project.models) == ["tuned"]


def test_a_failing_job_stops_half_way(client: Client) -> None:
    settings = client.azure.settings
    settings.job_ending, settings.training_steps = "Failed", 8
    client.workspace("PUT", "/jobs/j", job_body())
    assert status(client) == "Failed"
    job = client.azure.state.jobs["j"]
    assert [metric.step for metric in job.metrics if metric.key == "train_loss"] == [1, 2, 3, 4]
    assert client.azure.project.models == {}
    details = client.ask("GET", f"/history/v1.0{client.azure.project.arm_id}/runs/j/details").json()
    assert details["error"]["error"]["message"] == settings.job_error["message"]
    log = client._http.get(details["logFiles"]["user_logs/std_log.txt"]).text
    assert "step 4/8" in log
    assert "step 5/8" not in log


def test_the_same_job_twice_is_one_job(client: Client) -> None:
    client.azure.settings.hold_jobs_at = "Queued"
    answers = [client.workspace("PUT", "/jobs/j", job_body()).status_code for _ in range(2)]
    other = client.workspace("PUT", "/jobs/j", job_body(hyperParameters={"num_train_epochs": "2"}))
    assert answers == [201, 200]
    assert code(other) == (400, "UserError")
    assert len(client.workspace("GET", "/jobs").json()["value"]) == 1


def test_a_running_job_is_cancelled_then_deleted(client: Client) -> None:
    client.azure.settings.hold_jobs_at = "Running"
    client.workspace("PUT", "/jobs/j", job_body())
    assert status(client) == "Running"
    assert code(client.workspace("DELETE", "/jobs/j")) == (400, "UserError")
    assert client.workspace("POST", "/jobs/j/cancel").status_code == 200
    assert status(client) == "Canceled"
    assert client.workspace("DELETE", "/jobs/j").status_code == 200
    assert client.workspace("GET", "/jobs/j").status_code == 404


def test_models_that_can_not_be_tuned(client: Client) -> None:
    retired = "azureml://registries/azureml/models/Phi-3-mini-128k-instruct/versions/13"
    assert "ModelRetired" in inner_codes(client.workspace("PUT", "/jobs/a", job_body(retired)))
    reasoning = "azureml://registries/azureml/models/Phi-4-mini-reasoning/versions/1"
    answer = client.workspace("PUT", "/jobs/b", job_body(reasoning))
    assert "ServerlessModelNotAvailableInRegion" in inner_codes(answer)
    unknown = f"{BASE_MODEL}/versions/99"
    assert code(client.workspace("PUT", "/jobs/c", job_body(unknown))) == (400, "UserError")
    lost = {"uri": f"{client.azure.project.arm_id}/data/rows/versions/1", "jobInputType": "uri_file"}
    assert code(client.workspace("PUT", "/jobs/d", job_body(trainingData=lost))) == (400, "UserError")
    assert client.azure.state.jobs == {}


def tuned_model(client: Client) -> str:
    client.workspace("PUT", "/jobs/j", job_body())
    assert status(client) == "Completed"
    return f"azureml://locations/{state.REGION}/workspaces/{client.azure.project.id}/models/tuned/versions/1"


def test_endpoint_rules(client: Client) -> None:
    model, settings = tuned_model(client), client.azure.settings
    settings.endpoint_names_taken = {"theirs"}
    assert client.workspace("PUT", "/serverlessEndpoints/first", endpoint_body(model)).status_code == 201
    second = client.workspace("PUT", "/serverlessEndpoints/second", endpoint_body(model))
    assert "already has the deployment 'first'" in second.json()["error"]["message"]
    taken = client.workspace("PUT", "/serverlessEndpoints/theirs", endpoint_body())
    assert "Serverless endpoint name 'theirs' is not available." in taken.json()["error"]["message"]
    dotted = client.workspace("PUT", "/serverlessEndpoints/phi-3.5", endpoint_body())
    assert code(dotted) == (400, "UserError")
    settings.endpoint_quota = 1
    assert "QuotaExceeded" in inner_codes(
        client.workspace("PUT", "/serverlessEndpoints/more", endpoint_body())
    )
    assert code(client.workspace("DELETE", "/models/tuned")) == (409, "Conflict")
    assert client.workspace("DELETE", "/serverlessEndpoints/first").status_code == 202
    assert client.workspace("DELETE", "/models/tuned").status_code == 200
    assert client.azure.state.endpoints == {}


def test_an_endpoint_that_can_not_be_made(client: Client) -> None:
    client.azure.settings.endpoint_ending = "Failed"
    made = client.workspace("PUT", "/serverlessEndpoints/ep", endpoint_body())
    followed = client.ask("GET", made.headers["Azure-AsyncOperation"].removeprefix(client.azure.url)).json()
    assert followed["status"] == "Failed"
    assert followed["error"]["code"] == "InternalServerError"
    assert client.azure.state.endpoints["ep"].provisioning == "Failed"


@pytest.mark.parametrize("ending", ["Succeeded", "Failed"])
def test_a_hub_that_is_made_or_not(client: Client, ending: str) -> None:
    client.azure.settings.workspace_ending = ending
    path = client.azure.project.arm_id.rsplit("/", 1)[0] + "/hub-2"
    made = client.ask("PUT", path, {"location": state.REGION, "kind": "Hub", "properties": {}})
    followed = client.ask("GET", made.headers["Azure-AsyncOperation"].removeprefix(client.azure.url)).json()
    assert followed["status"] == ending
    assert client.ask("GET", path).status_code == (200 if ending == "Succeeded" else 404)


def test_a_hub_with_projects_stays(client: Client) -> None:
    held = client.azure.state
    hub = client.azure.project.hub
    assert hub is not None
    assert code(client.ask("DELETE", hub)) == (409, "Conflict")
    assert client.workspace("DELETE").status_code == 202
    assert client.workspace("GET").status_code == 404
    assert client.ask("DELETE", hub).status_code == 202
    held.settle()
    assert held.workspaces == {}


def chat(client: Client, key: str, text: str, **more: Any) -> httpx.Response:
    return client._http.post(
        "/serve/ep/v1/chat/completions",
        json={"messages": [{"role": "user", "content": text}], **more},
        headers={"Authorization": f"Bearer {key}"} if key else {},
    )


def test_chat_needs_a_key_that_is_not_rotated(client: Client) -> None:
    client.workspace("PUT", "/serverlessEndpoints/ep", endpoint_body())
    key = client.workspace("POST", "/serverlessEndpoints/ep/listKeys").json()["primaryKey"]
    assert [chat(client, one, "hi").status_code for one in (key, "wrong", "")] == [200, 401, 400]
    client.workspace("POST", "/serverlessEndpoints/ep/regenerateKeys", {"keyType": "Primary"})
    assert chat(client, key, "hi").status_code == 401


def test_content_filter_on_and_off(client: Client) -> None:
    off: dict[str, Any] = {"contentSafety": {"contentSafetyStatus": "Disabled"}}
    found = []
    for properties in ({}, off):
        client.workspace("PUT", "/serverlessEndpoints/ep", endpoint_body(**properties))
        key = client.workspace("POST", "/serverlessEndpoints/ep/listKeys").json()["primaryKey"]
        prompt, answer = (chat(client, key, text) for text in (FILTER_PROMPT, FILTER_ANSWER))
        found.append((prompt.status_code, answer.json()["choices"][0]["finish_reason"]))
    assert found == [(400, "content_filter"), (200, "stop")]


def test_a_model_of_a_partner_needs_a_subscription(client: Client) -> None:
    llama = "azureml://registries/azureml-meta/models/Llama"
    client.azure.registries["azureml-meta"] = {"Llama": client.azure.registries["azureml"]["Phi-4"]}
    refused = client.workspace("PUT", "/serverlessEndpoints/ep", endpoint_body(llama))
    assert "ServerlessOfferNotFound" in inner_codes(refused)
    client.workspace("PUT", "/marketplaceSubscriptions/llama", {"properties": {"modelId": llama}})
    assert client.workspace("PUT", "/serverlessEndpoints/ep", endpoint_body(llama)).status_code == 201


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("throttled", (429, "TooManyRequests")),
        ("server_error", (500, "InternalServerError")),
        ("expired_token", (401, "ExpiredAuthenticationToken")),
        ("forbidden", (403, "AuthorizationFailed")),
        ("unregistered", (409, "MissingSubscriptionRegistration")),
        ("wrong_region", (400, "UserError")),
        ("quota", (400, "UserError")),
        ("name_taken", (400, "UserError")),
    ],
)
def test_faults_that_answer(client: Client, kind: Any, expected: tuple[int, str]) -> None:
    fault = client.azure.faults.add("PUT jobs", kind=kind, times=2, retry_after=3)
    answers = [client.workspace("PUT", "/jobs/j", job_body()) for _ in range(3)]
    assert [code(answer) for answer in answers[:2]] == [expected] * 2
    assert answers[2].status_code == 201
    assert fault.met == 2
    assert answers[0].headers.get("Retry-After") == ("3" if kind == "throttled" else None)


def test_a_fault_meets_only_its_target(client: Client) -> None:
    client.azure.faults.add("PUT jobs", kind="server_error")
    assert client.workspace("GET", "/jobs").status_code == 200
    assert (
        client.workspace(
            "PUT", "/data/jobs-data/versions/1", {"properties": {"dataUri": "a", "dataType": "uri_file"}}
        ).status_code
        == 201
    )
    with pytest.raises(ValueError, match="throttled"):
        client.azure.faults.add("PUT jobs", kind="nonsense")  # type: ignore[arg-type]


def test_a_cut_connection_before_and_after_the_work(client: Client) -> None:
    client.azure.settings.hold_jobs_at = "Queued"
    found = []
    for kind in ("reset", "lost_answer"):
        client.azure.faults.add("PUT jobs", kind=kind)
        with pytest.raises(httpx.TransportError):
            client.workspace("PUT", f"/jobs/{kind}", job_body())
        found.append(list(client.azure.state.jobs))
    assert found == [[], ["lost_answer"]]
    assert [one[2] for one in client.azure.requests if one[0] == "PUT"] == [0, 201]


def test_the_network_goes_and_comes_back(client: Client) -> None:
    assert client.workspace("GET").status_code == 200
    client.azure.faults.add("*", kind="network_gone", seconds=3600)
    for _ in range(2):
        with pytest.raises(httpx.TransportError):
            client.workspace("GET")
    client.azure.faults.restore_network()
    assert client.workspace("GET").status_code == 200


def test_a_slow_answer_comes_late(client: Client) -> None:
    client.azure.faults.add("GET jobs", kind="slow", seconds=60)
    with pytest.raises(httpx.ReadTimeout):
        client._http.get(client.azure.project.arm_id + "/jobs", timeout=0.2)


def connect(azure: Emulator, target: str) -> str:
    port = int(azure.environment["HTTPS_PROXY"].rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as asked:
        asked.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        try:
            return asked.recv(1000).split(b"\r\n")[0].decode()
        except ConnectionResetError:
            return ""


def test_the_proxy_leads_to_localhost_names_and_nowhere_else(azure: Emulator) -> None:
    port = azure.url.rsplit(":", 1)[1]
    assert connect(azure, f"devstoreaccount1.blob.core.localhost:{port}").split()[1] == "200"
    for target in ("management.azure.com:443", "127.0.0.1:443", f"localhost.example:{port}"):
        assert connect(azure, target).split()[1] == "403"


def test_the_way_to_the_blob_store_is_cut(azure: Emulator) -> None:
    target = "devstoreaccount1.blob.core.localhost:" + azure.url.rsplit(":", 1)[1]
    fault = azure.faults.add("CONNECT blob", kind="reset")
    assert connect(azure, target) == ""
    assert fault.met == 1
    azure.faults.add("*", kind="network_gone", seconds=3600)
    assert connect(azure, target) == ""
    azure.faults.restore_network()
    assert connect(azure, target).split()[1] == "200"


def retail(client: Client, **query: str) -> dict[str, Any]:
    found: dict[str, Any] = client._http.get("/api/retail/prices", params=query).json()
    return found


def test_prices_filter_and_page(client: Client) -> None:
    client.azure.settings.prices_page = 5
    wanted = "armRegionName eq 'eastus2' and (contains(meterName, 'Phi-4-mini') or skuName eq 'nothing')"
    rows, page = [], retail(client, **{"$filter": wanted})
    first = page
    while True:
        rows += page["Items"]
        if not page["NextPageLink"]:
            break
        page = client._http.get(page["NextPageLink"]).json()
    assert first["Count"] == len(first["Items"]) == min(5, len(rows))
    assert {row["armRegionName"] for row in rows} == {"eastus2"}
    names = {row["meterName"] for row in rows}
    assert names == {
        f"Phi-4-mini-instruct {meter}"
        for meter in ("FT Training Tokens", "FT Hosting Unit", "Input Tokens", "Output Tokens")
    }
    assert retail(client, **{"$filter": "armRegionName eq 'EastUS2'"})["Items"] == []


def test_prices_in_another_currency_and_wrong_filters(client: Client) -> None:
    dollar, euro = (retail(client, currencyCode=f"'{one}'")["Items"][0] for one in ("USD", "EUR"))
    assert euro["currencyCode"] == "EUR"
    assert euro["unitPrice"] == pytest.approx(dollar["unitPrice"] * prices.RATES["EUR"])
    for wrong in ("armRegionName like 'x'", "nothing eq 'x'", "(armRegionName eq 'x'"):
        assert client._http.get("/api/retail/prices", params={"$filter": wrong}).status_code == 400


def test_content_safety(sdk: Emulator) -> None:
    from azure.ai.contentsafety import ContentSafetyClient
    from azure.ai.contentsafety.models import AnalyzeTextOptions
    from azure.core.credentials import AzureKeyCredential

    given = sdk.content_safety
    sdk.harmful_words["poison"] = ("SelfHarm", 6)
    client = ContentSafetyClient(
        given["CONTENT_SAFETY_ENDPOINT"], AzureKeyCredential(given["CONTENT_SAFETY_KEY"])
    )
    found = client.analyze_text(AnalyzeTextOptions(text="Poison, and I kill."))
    severities = {one.category: one.severity for one in found.categories_analysis}
    assert severities == {"Hate": 0, "SelfHarm": 6, "Sexual": 0, "Violence": 4}


def test_a_body_that_does_not_fit_is_noticed(client: Client) -> None:
    if not client.azure.schemas.checking:
        pytest.skip("the ARM types are not at hand: FINETUI_ARM_TYPES names no folder with arm_schema.py")
    client.workspace("PUT", "/jobs/good", job_body())
    assert client.azure.schema_errors == []
    wrong = job_body()
    wrong["properties"]["isArchived"] = "no"
    client.workspace("PUT", "/jobs/wrong", wrong)
    assert any("isArchived" in error for error in client.azure.schema_errors)


def test_secrets_are_not_in_the_record(client: Client) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": state.CLIENT,
        "client_secret": state.SECRET,
        "scope": "x",
    }
    client._http.post(f"/{state.TENANT}/oauth2/v2.0/token", data=form)
    assert state.SECRET not in repr(client.azure.requests)


def test_lists_leave_out_what_is_archived(client: Client) -> None:
    for number in ("1", "2"):
        body = {"properties": {"dataUri": number, "dataType": "uri_file", "isArchived": number == "1"}}
        client.workspace("PUT", f"/data/rows/versions/{number}", body)
    seen = {
        view: [
            one["name"]
            for one in client.workspace("GET", "/data/rows/versions", listViewType=view).json()["value"]
        ]
        for view in ("ActiveOnly", "ArchivedOnly", "All", "ListViewType.ACTIVE_ONLY")
    }
    assert seen == {
        "ActiveOnly": ["2"],
        "ArchivedOnly": ["1"],
        "All": ["2", "1"],
        "ListViewType.ACTIVE_ONLY": ["2"],
    }
    assert client.workspace("GET", "/data/rows").json()["properties"]["nextVersion"] == "3"


def test_the_clock_is_ahead(client: Client) -> None:
    client.azure.settings.clock_skew = 1800
    ahead = httpx.Headers(client.ask("GET", "/subscriptions").headers)["Date"]
    assert parsedate_to_datetime(ahead).timestamp() - time.time() == pytest.approx(1800, abs=30)
