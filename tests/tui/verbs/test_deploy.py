"""`finetui deploy|deployments|undeploy|logs` as a person types them; gateways are real processes."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from core.events import Failed
from core.runs.directory import RunDirectory
from core.serving import deployments, profile, sockets
from core.serving.request_log import NAME, Entry, LogWriter
from core.serving.settings import Settings, digest, directory_of, read_settings
from tests.core.serving.gateways import make_settings
from tests.core.training.exported import make_run, save_adapter
from tests.tui.made_runs import T0, write
from tests.tui.made_runs import make_run as empty_run
from tests.tui.verbs.conftest import COMMAND, Finetui
from tests.tui.verbs.test_mistakes import told


@pytest.fixture(scope="session")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(tiny_model, tmp_path_factory.mktemp("adapter") / "model")


@pytest.fixture
def run(tiny_model: Path, adapter: Path) -> RunDirectory:
    return make_run(tiny_model, adapter, checkpoint=adapter)


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """Whatever a test deploys ends with it."""
    yield
    for item in deployments.all_deployments():
        deployments.remove(item.name)


@pytest.fixture
def made() -> Settings:
    """A deployment `lamp` that is not started."""
    with sockets.bind_tcp("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    settings, _, _ = make_settings(port=port, warm=False)
    return settings


@pytest.mark.slow
def test_a_run_is_deployed_and_its_key_is_shown_once(
    finetui: Finetui, run: RunDirectory, tiny_model: Path, tmp_path: Path
) -> None:
    block = tmp_path / "block.txt"
    block.write_text("forbidden\n")
    done = finetui(
        "deploy", "lamp", "lamp@5", "--with-base", "--name", "shop", "--port", 0, "--safety", block, "--no-warm",
        "--skip-check", "--keep-texts", "--retention", 7, "--rate", 120, "--price-in", 0.5, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    answer = json.loads(done.stdout)
    assert [model["name"] for model in answer["models"]] == ["lamp", "lamp@5", "phi3"]
    assert (answer["state"], answer["settings"]["keep_texts"]) == ("starting", True) or answer[
        "state"
    ] == "healthy"
    assert "merging ..." in done.stderr and "shop is healthy" in done.stderr
    assert "Refusals were not compared with the base: asked for." in done.stderr
    assert "not shown again" in done.stderr
    assert answer["host"] == "127.0.0.1"  # another address only where it is asked for
    headers = {"authorization": f"Bearer {answer['key']}"}
    assert httpx.get(f"{answer['url']}/models", headers=headers, trust_env=False).status_code == 200

    settings = read_settings(directory_of("shop"))
    assert settings.key_sha256 == digest(answer["key"])
    assert settings.safety == {"kind": "patterns"}
    assert (settings.limits.per_minute, settings.retention_days, settings.price_in_usd) == (120, 7, 0.5)
    assert settings.limits.burst == 120  # a minute's requests may come all at once
    assert settings.models[2].folder == str(tiny_model)
    assert set(profile.read(directory_of("shop"))) == {"lamp", "lamp@5"}
    folder = directory_of("shop") / "models" / "lamp"
    assert {"config.json", "model.safetensors", "chat_template.jinja"} <= {
        path.name for path in folder.iterdir()
    }

    shown = finetui("deployments", "show", "shop").stdout + finetui("deployments", "--json").stdout
    assert answer["key"] not in shown and settings.key_sha256 not in shown
    assert deployments.using_run(run.id) == ["shop"]

    removed = finetui("undeploy", "shop", "--json")
    gone = json.loads(removed.stdout)
    assert gone["bytes"] > 100_000 and gone["dependents"] == {"guarded": [], "chats": []}
    assert "30 days" in removed.stderr and f"finetui clean deployment:{gone['id']}" in removed.stderr
    assert not directory_of("shop").exists()
    assert run.model_dir.exists() and (tiny_model / "model.safetensors").exists()


@pytest.mark.slow
def test_refusals_are_compared_before_the_first_deployment_and_not_again(
    finetui: Finetui, run: RunDirectory
) -> None:
    first = finetui("deploy", "lamp", "--port", 0, "--no-warm", "--json")
    assert first.exit_code == 0, first.stderr
    found = json.loads(first.stdout)["settings"]["regression"]["lamp"]
    assert found["prompts"] == 12 and found["weakened"] in (True, False)
    assert "asking phi3 24 prompts" in first.stderr and "asking lamp 24 prompts" in first.stderr
    assert f"lamp: Refuses {found['tuned_refused']} of 12 harmful prompts" in first.stderr
    again = finetui("deploy", "lamp", "--name", "again", "--port", 0, "--no-warm", "--json")
    assert json.loads(again.stdout)["settings"]["regression"]["lamp"] == found
    assert "asking" not in again.stderr
    assert read_settings(directory_of("again")).regression == {"lamp": found}


def test_a_removed_deployment_is_listed_brought_back_and_cleaned(finetui: Finetui, made: Settings) -> None:
    make_settings("shop", safety={"kind": "guard", "deployment": "lamp", "model": "other"})
    assert "No removed deployments" in finetui("deployments", "list", "--trash").stderr
    assert "shop asks it about each text" in finetui("undeploy", "lamp").stderr
    listed = json.loads(finetui("deployments", "list", "--trash", "--json").stdout)
    assert [(item["name"], item["models"]) for item in listed] == [("lamp", ["lamp", "other"])]
    assert "30 more days" in finetui("deployments", "--trash").stdout
    told(finetui("undeploy", "lamp"), "lamp is in the trash", "finetui deployments restore lamp")
    told(finetui("deployments", "restore", "nothing"), "no removed deployment 'nothing'", "There are: lamp")
    done = finetui("deployments", "restore", "lamp")
    assert "lamp is back" in done.stderr and read_settings(directory_of("lamp")).key_sha256 == made.key_sha256
    finetui("undeploy", "lamp")
    (item,) = json.loads(finetui("deployments", "list", "--trash", "--json").stdout)
    cleaned = json.loads(finetui("clean", f"deployment:{item['id']}", "--yes", "--json").stdout)
    assert cleaned["freed_bytes"] == item["bytes"]
    assert "No removed deployments" in finetui("deployments", "list", "--trash").stderr


def test_mistakes_are_told_before_anything_is_done(
    finetui: Finetui, run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AZURE_CONTENT_SAFETY_ENDPOINT", "AZURE_CONTENT_SAFETY_KEY"):
        monkeypatch.delenv(name, raising=False)
    bad = tmp_path / "bad.txt"
    bad.write_text("fine\n.*\n")
    with sockets.bind_tcp("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        for words, said in (
            (("nonesuch",), "no run 'nonesuch'"),
            (("lamp@7",), "Kept are: 5"),
            (("lamp", "--checkpoint", 7), "Kept are: 5"),
            (("lamp", "lamp", "--checkpoint", 5), "RUN@STEP"),
            (("lamp", "lamp"), "named twice"),
            (("lamp", "--name", "../x"), "can't be a deployment's name"),
            (("lamp", "--port", port), f"port {port}"),
            (("lamp", "--listen", "203.0.113.7"), "203.0.113.7"),
            (("lamp", "--safety", tmp_path / "none.txt"), "none.txt"),
            (("lamp", "--safety", bad), "line 2"),
            (("lamp", "--safety", "azure"), "AZURE_CONTENT_SAFETY_KEY"),
            (("lamp", "--safety", "azure", "--threshold", "hate=9"), "CATEGORY=SEVERITY"),
            (("lamp", "--threshold", "hate=low"), "--safety azure"),
            (("lamp", "--safety", "guard:x"), "guard:DEPLOYMENT/MODEL"),
            (("lamp", "--safety", "guard:x/y"), "no deployment 'x'"),
        ):
            told(finetui("deploy", *words), said)
            assert (
                not directory_of("lamp").parent.exists() or list(directory_of("lamp").parent.iterdir()) == []
            )


def test_a_model_that_was_changed_is_not_served(finetui: Finetui, run: RunDirectory) -> None:
    path = run.model_dir / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    told(finetui("deploy", "lamp"), "damaged", "adapter_model.safetensors")


def test_a_run_that_failed_says_what_helps(finetui: Finetui) -> None:
    failed = empty_run("broken")
    write(failed, [Failed(time=T0, what="Row 3 is broken.", next_step="Mend row 3, then train anew.")])
    for words in (
        ("deploy",),
        ("evaluate",),
        ("export", "--to", "adapter", "--out", "x"),
        ("chat", "-p", "x"),
    ):
        told(finetui(words[0], "broken", *words[1:]), "no model yet", "Row 3 is broken.", "Next:  Mend row 3")


def test_a_name_is_given_once(finetui: Finetui, run: RunDirectory, made: Settings) -> None:
    told(finetui("deploy", "lamp"), "a deployment 'lamp' already", "finetui undeploy lamp")


def test_a_deployment_is_stopped_started_and_restarted(finetui: Finetui, made: Settings) -> None:
    assert "stopped" in finetui("deployments").stdout
    done = finetui("deployments", "start", "lamp")
    assert done.exit_code == 0 and "lamp is healthy" in done.stderr
    told(finetui("deployments", "start", "lamp"), "already")
    listed = json.loads(finetui("deployments", "list", "--json").stdout)
    assert [(item["name"], item["state"]) for item in listed] == [("lamp", "healthy")]
    again = json.loads(finetui("deployments", "restart", "lamp", "--json").stdout)
    assert again["pid"] != listed[0]["pid"] and again["state"] == "healthy"
    assert "lamp is stopped" in finetui("deployments", "stop", "lamp").stderr


def test_another_key_is_made_and_the_present_one_can_t_be_shown(finetui: Finetui, made: Settings) -> None:
    told(finetui("deployments", "key", "lamp"), "can't be shown", "--rotate")
    fresh = finetui("deployments", "key", "lamp", "--rotate").stdout.strip()
    assert read_settings(directory_of("lamp")).key_sha256 == digest(fresh) != made.key_sha256


@pytest.mark.parametrize(
    "words",
    [
        ("undeploy", "no"),
        ("logs", "no"),
        *(("deployments", verb, "no") for verb in ("show", "start", "stop", "restart")),
    ],
)
def test_an_unknown_deployment(finetui: Finetui, words: tuple[str, ...]) -> None:
    told(finetui(*words), "no deployment 'no'", "finetui deployments")


def test_without_deployments_the_list_says_how_to_make_one(finetui: Finetui) -> None:
    done = finetui("deployments")
    assert (done.exit_code, done.stdout) == (0, "") and "finetui deploy RUN" in done.stderr
    assert json.loads(finetui("deployments", "--json").stdout) == []


ENTRY = Entry(
    at=0.0, model="lamp", kind="chat", status=200, prompt_tokens=11, completion_tokens=5, first_token_ms=20.0,
    per_token_ms=2.0, duration_ms=28.0,
)  # fmt: skip


def write_log(*found: Entry) -> None:
    with LogWriter(directory_of("lamp") / NAME, 30) as log:
        for entry in found:
            log.add(replace(entry, at=time.time()))


def test_requests_are_listed_with_what_became_of_them(finetui: Finetui, made: Settings) -> None:
    write_log(
        ENTRY,
        replace(ENTRY, status=400, error="content_filter", blocked="prompt", category="block list, line 2"),
        replace(ENTRY, flags="long,script", prompt="say \x1b[2J hi", completion="[b]hi[/b]"),
    )
    done = finetui("logs", "lamp")
    assert "\x1b" not in done.stdout and "[b]hi[/b]" in done.stdout
    first, second, third = [line for line in done.stdout.splitlines() if line.lstrip()[:1] in "123"]
    assert "11+5 tokens" in first and "first 20 ms" in first
    assert "400" in second and "prompt: block list, line 2" in second
    assert "unlike the training data: long,script" in third
    assert len(finetui("logs", "lamp", "-n", 1).stdout.splitlines()) == 3
    rows = [json.loads(line) for line in finetui("logs", "lamp", "--json").stdout.splitlines()]
    assert [row["status"] for row in rows] == [200, 400, 200]

    shown = finetui("deployments", "show", "lamp").stdout
    for words in ("3 in 24 h, 0 errors, 1 blocked", "p50 20.0 ms", "33 read, 15 written", "long 1, script 1"):
        assert words in shown
    summary = json.loads(finetui("deployments", "show", "lamp", "--json").stdout)["summary"]
    assert (summary["requests"], summary["flagged"]) == (3, 1)


def test_kept_chats_become_training_rows(finetui: Finetui, made: Settings, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    told(finetui("logs", "lamp", "--rows", path), "no kept chats", "keeps no texts", "--keep-texts")
    said = [{"role": "user", "content": "how heavy?"}]
    kept = replace(ENTRY, prompt="how heavy?", completion="310 grams", messages=json.dumps(said))
    write_log(kept, ENTRY, replace(kept, completion="a pound"), replace(kept, status=499))
    told(finetui("logs", "lamp", "--rows", path, "--request", 2), "no kept chat of request 2")
    assert not path.exists()
    done = finetui("logs", "lamp", "--rows", path, "--request", 3, "--json")
    assert json.loads(done.stdout) == {"path": str(path), "appended": [3], "rows": 1}
    assert "2 rows appended" in finetui("logs", "lamp", "--rows", path).stderr
    rows = [json.loads(line)["messages"] for line in path.read_text().splitlines()]
    assert [row[-1]["content"] for row in rows] == ["a pound", "310 grams", "a pound"]
    assert rows[0][:-1] == said


@pytest.mark.usefixtures("interruptible")
def test_new_requests_are_followed(made: Settings) -> None:
    write_log(ENTRY)
    with subprocess.Popen(
        [*COMMAND, "logs", "lamp", "--follow", "--json"], stdout=subprocess.PIPE, text=True
    ) as following:
        try:
            assert following.stdout is not None
            assert json.loads(following.stdout.readline())["status"] == 200
            write_log(replace(ENTRY, status=429))
            assert json.loads(following.stdout.readline())["status"] == 429
            following.send_signal(signal.SIGINT)
            assert following.wait(20) == 0
        finally:
            following.kill()
