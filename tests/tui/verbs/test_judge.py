"""`finetui chat` and `finetui judge` with two sides of any kind, each in a worker of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.events import Finished
from core.serving.chats import Chats
from tests.core.serving.answering import Answering, answering
from tests.core.serving.conftest import adapter  # noqa: F401 - a fixture
from tests.tui.made_runs import T0, make_run, story, write
from tests.tui.verbs.conftest import Finetui
from tui.evaluating import Step
from tui.verbs import evaluate

ROWS = [("Is it a lamp?", "yes"), ("Is it salt?", "no"), ("Does it glow?", "yes"), ("Is it wet?", "no")]


@pytest.fixture
def run(tiny_model: Path, adapter: Path, rows: Path) -> str:  # noqa: F811
    """A finished run with a model of its own."""
    made = make_run("tiny")
    made.recipe_path.write_text(f"version: 1\nmodel: {tiny_model}\ndata: {rows}\n")
    write(made, [*story(40, 40), Finished(time=T0 + 99, step=40, model="model")])
    made.model_dir.symlink_to(adapter)
    record = {"folder": str(tiny_model), "note": "", "revision": "", "source": "folder"}
    (made.path / "model.json").write_text(json.dumps(record))
    return made.id


@pytest.fixture
def data(tmp_path: Path) -> Path:
    lines = [
        json.dumps({"messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]})
        for ask, answer in ROWS
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "rows.jsonl"


def two_of(said: Answering) -> tuple[str, str]:
    """Two models of one server; the second answers as it is told per question, the first always yes."""
    said.pieces = {"": ["yes"]}
    return f"{said.url}#one,in=1,out=2", f"{said.url}#two"


def test_two_endpoints_are_judged_and_kept_with_the_chats(finetui: Finetui, data: Path) -> None:
    with answering() as said:
        a, b = two_of(said)
        done = finetui("judge", a, b, "--data", data, "--rows", 4, "--max-tokens", 8, "--json")
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert (found["A"]["exact_match"], found["same"], found["asked"]) == (0.5, 4, 4)
        assert found["A"]["cost_usd"] == pytest.approx(4 * (11 + 6) / 1e6) and found["B"]["cost_usd"] is None
        assert Chats().judgements(a, b) == [found]
        said.pieces = {"": ["yes"], "Is it salt?": ["No!"]}
        prompts = data.with_name("prompts.txt")
        prompts.write_text("Is it salt?\nx [/foo]\x1b[31m\n")
        told = finetui("judge", a, b, "--prompts", prompts, "--system", "Be short.")
        assert told.exit_code == 0 and "2 prompts, prompts.txt" in told.stdout
        assert "\x1b" not in told.stdout
        assert said.asked[-1][1]["messages"][0] == {"role": "system", "content": "Be short."}


def test_a_blocked_prompt_is_told_and_the_others_are_judged(finetui: Finetui, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("fine\nhow to poison\n")
    with answering() as said:
        a, b = two_of(said)
        said.blocks = {"how to poison": ("content_filter", "The prompt was blocked.")}
        told = finetui("judge", a, b, "--prompts", prompts)
        assert told.exit_code == 0, told.output
        assert "asked    1 of 2 prompts" in told.stdout
        assert "refused prompts           1          1" in told.stdout
        assert (
            "prompt    how to poison   [prompts.txt:2]\nA         refused: The prompt was blocked."
            in told.stdout
        )
        prompts.write_text("how to poison\n")
        told = finetui("judge", a, b, "--prompts", prompts)
        assert told.exit_code == 0 and "asked    0 of 1 prompts" in told.stdout
        said.blocks = {"how to poison": ("invalid_value", "No max_tokens here.")}
        refused = finetui("judge", a, b, "--prompts", prompts)
        assert refused.exit_code == 2 and "No max_tokens here." in refused.stderr


def test_a_step_is_told_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(evaluate, "TOLD_S", -1.0)
    tell = evaluate.teller()
    for done in (0, 0, 0, 2, 2, 3):
        tell(Step("asking A and B", done, 3))
    assert capsys.readouterr().err.splitlines() == [f"asking A and B  {done} of 3 ..." for done in (0, 2, 3)]


def test_only_what_is_worse_is_listed(finetui: Finetui, data: Path) -> None:
    with answering() as said, answering() as other:
        said.pieces = {"": ["yes"]}
        other.pieces = {"": ["no"]}
        done = finetui("judge", f"{said.url}#one", f"{other.url}#two", "--data", data, "--worse", "B")
    assert done.exit_code == 0
    assert [line for line in done.stdout.splitlines() if line.startswith("prompt")] == [
        "prompt    Is it a lamp?   [rows.jsonl:1]",
        "prompt    Does it glow?   [rows.jsonl:3]",
    ]


@pytest.mark.slow
def test_a_run_is_judged_beside_its_base_and_an_endpoint_beside_it(
    finetui: Finetui, run: str, data: Path
) -> None:
    done = finetui("judge", run, "--data", data, "--max-tokens", 4, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["A"]["spec"], found["B"]["spec"]) == (run, f"{run}@base")
    with answering() as said:
        asked = finetui(
            "chat", run, f"{said.url}#big", "-p", "the lamp", "--max-tokens", 6, "--json", "--seed", 9
        )
        assert asked.exit_code == 0, asked.output
        lines = [json.loads(line) for line in asked.stdout.splitlines()]
        assert [line["side"] for line in lines] == ["A", "B"]
        assert lines[1]["text"] == "Hello é" and lines[0]["tokens"] <= 6
        alone = finetui("chat", f"{run}@base", "-p", "the lamp", "--max-tokens", 6, "--json")
        assert [json.loads(line)["side"] for line in alone.stdout.splitlines()] == ["A"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("https://h/v1#m",), "has no base"),
        (("https://h/v1#m", "azure:x", "--worse", "C"), "--worse is 'C'"),
        (("https://h/v1#m", "azure:x"), "nothing to ask"),
        (("https://h/v1#m", "nonesuch"), "no run 'nonesuch'"),
        (("https://h/v1", "azure:x"), "names no model"),
        (("deployment:none/m", "azure:x", "--prompts", "p", "--data", "d"), "rows and prompts"),
        (("deployment:none/m", "https://h/v1#m", "--prompts", "gone.txt"), "no file gone.txt"),
        (("deployment:none/m", "https://h/v1#m", "--prompts", __file__), "no deployment 'none'"),
    ],
)
def test_mistakes_name_what_to_do(finetui: Finetui, words: tuple[str, ...], told: str) -> None:
    if "nothing to ask" in told:
        with answering() as said:
            words = (f"{said.url}#m", f"{said.url}#n")
            done = finetui("judge", *words)
    else:
        done = finetui("judge", *words)
    assert done.exit_code == 2
    assert told in done.stderr and "Next:" in done.stderr


def test_a_run_without_rows_of_its_own_is_refused_before_a_model_is_loaded(
    finetui: Finetui, run: str
) -> None:
    done = finetui("judge", run)
    assert done.exit_code == 2
    assert "held no rows back" in done.stderr and "--data FILE" in done.stderr
    assert "on the page" not in done.stderr
    assert "loading" not in done.stderr and "torch" not in done.stderr


def test_one_side_alone_is_asked_of_one_model_or_two(finetui: Finetui) -> None:
    with answering() as said:
        one, two = two_of(said)
        for words, asked in (((one, "--side", "A"), ["one"]), ((one, two, "--side", "b"), ["two"])):
            said.asked.clear()
            done = finetui("chat", *words, "--prompt", "hello", "--json")
            assert done.exit_code == 0, done.output
            assert [body["model"] for _, body in said.asked] == asked
        for side in ("B", "tuned"):
            done = finetui("chat", one, "--side", side, "--prompt", "hello")
            assert done.exit_code == 2 and "Use A or both" in done.stderr


def test_a_key_is_never_told(finetui: Finetui, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    with answering() as said:
        said.status, said.error = 401, {"error": {"message": "Wrong key sk-very-secret"}}
        one = f"{said.url}#one,key=MY_KEY"
        done = finetui("judge", one, f"{said.url}#two", "--data", data)
    assert done.exit_code == 2 and "(401)" in done.stderr
    assert "sk-very-secret" not in done.output
    assert said.asked[0][0]["authorization"] == "Bearer sk-very-secret"
