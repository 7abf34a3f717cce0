"""Two sides held against each other: the figures are the engine's, and what differs is there to read."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from core.pipes import PipeClient, PipeError, Request
from core.serving import judge as judging
from core.serving import judgements
from core.serving.chat_worker import Chat
from core.serving.chats import Chats
from core.serving.endpoint import parse
from core.serving.judge import Progress, Wanted, judge
from core.serving.judge_rows import JudgeError, Question, from_prompts, from_rows
from core.serving.judgements import judged, keep, latest
from core.serving.local_models import LocalSide
from core.serving.reply import Made, Refusal
from core.training.held_out import HeldOutError
from core.training.report_file import ReportError
from core.training.scoring import exact_match, token_f1
from tests.core.serving.answering import answering
from tests.core.training.test_report import closed_run, evaluated, in_its_home  # noqa: F401 - fixtures
from tests.core.training.tiny import make_rows

ROWS = [
    ("Is it a lamp?", "yes"), ("Is it salt?", "no"), ("Does it glow?", "yes"), ("Is it wet?", "no"),
    ("Forty hours?", "yes"), ("One fill?", "no"),
]  # fmt: skip
SAID = {
    "A": ["Yes.", "no", "yes", "perhaps", "yes", "no idea"],
    "B": ["yes", "yes", "a yes", "no", "yes", "no"],
}


def wanted(**changes: Any) -> Wanted:
    specs = {"A": "run-1", "B": "run-1@base"}
    given = {
        "run": None,
        "data": None,
        "prompts": None,
        "rows": 100,
        "max_tokens": 8,
        "seed": 5,
        "system": "",
    }
    return Wanted(**{"specs": specs, "titles": {"A": "tuned", "B": "base"}, **given, **changes})


def saying(texts: Sequence[str | None], cost: float | None = None) -> judging.Answers:
    """Answers in the order of all questions; None where there is no room."""
    waiting = iter(texts)

    def answer(questions: Sequence[Question]) -> Generator[None, None, list[judging.Answer]]:
        yield
        said = [next(waiting) for _ in questions]
        return [text if text is None else Made(text, 2, 5, 0.1, 9.0, "turn end", cost) for text in said]

    return answer


def judge_now(asked: Wanted, a: judging.Answers, b: judging.Answers) -> tuple[dict[str, Any], list[Progress]]:
    work, told = judge(asked, judging.questions(asked), {"A": a, "B": b}), []
    while True:
        try:
            told.append(next(work))
        except StopIteration as end:
            return end.value, told


@pytest.fixture
def data(tmp_path: Path) -> Path:
    lines = [
        json.dumps({"messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]})
        for ask, answer in ROWS
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "rows.jsonl"


# figures


def test_figures_are_those_of_scikit_learn_and_of_counting(data: Path) -> None:
    from sklearn.metrics import accuracy_score, f1_score

    found, told = judge_now(wanted(data=data), saying(SAID["A"], 0.5), saying(SAID["B"]))
    expected = [answer for _, answer in ROWS]
    read = {"A": ["yes", "no", "yes", "other", "yes", "other"], "B": ["yes", "yes", "yes", "no", "yes", "no"]}
    for side in ("A", "B"):
        here = found[side]
        assert here["accuracy"] == accuracy_score(expected, read[side])
        assert here["macro_f1"] == pytest.approx(
            f1_score(expected, read[side], labels=["no", "yes"], average="macro")
        )
        pairs = list(zip(SAID[side], expected, strict=True))
        assert here["exact_match"] == sum(exact_match(*pair) for pair in pairs) / 6
        assert here["token_f1"] == pytest.approx(sum(token_f1(*pair) for pair in pairs) / 6)
    assert found["better"] == {"A": 1, "B": 2, "equal": 3}
    assert (found["asked"], found["scored"], found["same"]) == (6, 6, 1)
    assert found["A"]["cost_usd"] == pytest.approx(3.0) and found["B"]["cost_usd"] is None
    assert found["A"]["tokens"] == 12
    assert found["confusion"]["A"] == [[0, 0, 1], [0, 2, 2], [1, 1, 3]]
    assert [item["where"] for item in found["replies"]] == [f"{data}:{line}" for line in (1, 2, 3, 4, 6)]
    assert found["replies"][1]["f1"] == {"A": 1.0, "B": 0.0}
    assert {item.phase for item in told} == {"asking A and B"} and (told[-1].done, told[-1].total) == (6, 6)


def test_questions_without_room_are_left_out_on_both_sides(data: Path) -> None:
    a = [None, *SAID["A"][1:]]
    b = [*SAID["B"][:5], None]
    found, _ = judge_now(wanted(data=data), saying(a), saying(b))
    assert found["asked"] == found["scored"] == 4
    assert any("2 prompts leave a model no room" in note for note in found["notes"])


def test_plain_texts_in_place_of_rows_point_to_prompts(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("Is it a lamp?\nIs it salt?\n")
    with pytest.raises(JudgeError, match="plain texts") as refused:
        from_rows(None, tmp_path / "prompts.txt", 10, 1)
    assert f"--prompts {tmp_path / 'prompts.txt'}" in refused.value.next_step


def test_a_refused_prompt_is_left_out_on_both_sides_and_told(data: Path) -> None:
    def with_refusals(texts: list[str], refusals: dict[int, Refusal]) -> judging.Answers:
        said = saying(texts)

        def answer(questions: Sequence[Question]) -> Generator[None, None, list[judging.Answer]]:
            made = yield from said(questions)
            return [refusals.get(number, item) for number, item in enumerate(made)]

        return answer

    blocked, long = Refusal("Blocked.", True), Refusal("Too long.", False)
    found, _ = judge_now(
        wanted(data=data),
        with_refusals(SAID["A"], {1: blocked}),
        with_refusals(SAID["B"], {1: blocked, 5: long}),
    )
    assert (found["asked"], found["scored"], found["A"]["refused"], found["B"]["refused"]) == (4, 4, 1, 2)
    assert [(item["prompt"], item["A"], item["B"]) for item in found["refused"]] == [
        ("Is it salt?", "Blocked.", "Blocked."),
        ("One fill?", "", "Too long."),
    ]
    assert found["refused"][0]["where"] == f"{data}:2"
    assert "2 prompts were refused" in found["notes"][0]
    everything = dict.fromkeys(range(6), long)
    with pytest.raises(JudgeError, match="tuned refuses whatever"):
        judge_now(wanted(data=data), with_refusals(SAID["A"], everything), saying(SAID["B"]))
    none, _ = judge_now(
        wanted(data=data), with_refusals(SAID["A"], dict.fromkeys(range(6), blocked)), saying(SAID["B"])
    )
    assert (none["asked"], none["A"]["refused"], len(none["refused"])) == (0, 6, 6)


def test_two_endpoints_are_kept_with_the_chats_and_a_run_s_with_the_run(data: Path, tmp_path: Path) -> None:
    first, _ = judge_now(wanted(data=data), saying(SAID["A"]), saying(SAID["B"]))
    assert latest(("run-1", "run-1@base"), None) == first == Chats().judgements("run-1", "run-1@base")[0]
    run = tmp_path / "run"
    run.mkdir()
    (run / "report.json").write_text(json.dumps({"step": 40, "evaluation": {"x": 1}}))
    made = []
    for number in range(judgements.MOST_JUDGEMENTS + 2):
        asked = wanted(data=data, run=None, specs={"A": "run-1", "B": f"https://h/v1#{number % 2}"})
        found, _ = judge_now(asked, saying(SAID["A"]), saying(SAID["B"]))
        keep(found, run)
        made.insert(0, found)
    assert judged(run) == made[: judgements.MOST_JUDGEMENTS]
    assert latest(("run-1", "https://h/v1#1"), run) == made[1]
    assert latest(("run-1", "nobody"), run) is None
    report = json.loads((run / "report.json").read_text())
    assert (report["step"], report["evaluation"]) == (40, {"x": 1})
    assert (run / "report.json").stat().st_mode & 0o777 == 0o600


def test_a_damaged_report_is_told_before_anything_is_asked(data: Path, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("[1")
    with pytest.raises(ReportError):
        judge_now(wanted(data=data, run=tmp_path), saying([]), saying([]))
    assert (tmp_path / "report.json").read_text() == "[1"


# what is asked


def test_prompts_are_lines_or_objects(tmp_path: Path) -> None:
    plain, objects = tmp_path / "a.txt", tmp_path / "b.jsonl"
    plain.write_text("one\n\n  two [/x]\x1b \nthree\n")
    asked = from_prompts(plain, 2, "Be short.")
    assert [(item.where, item.text, item.scored) for item in asked.questions] == [
        (f"{plain}:1", "one", False),
        (f"{plain}:3", "two [/x]\x1b", False),
    ]
    assert (asked.available, asked.kind) == (3, "prompts")
    assert [message.role for message in asked.questions[0].messages] == ["system", "user"]
    objects.write_text('{"prompt": "q", "expected": "a"}\n{"prompt": "r"}\n')
    assert [(item.expected, item.scored) for item in from_prompts(objects, 9, "").questions] == [
        ("a", True),
        ("", False),
    ]


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"\xff", b'{"prompt": ', b'{"prompt": 3}', b'{"text": "x"}']
)
def test_a_file_of_something_else_is_refused_with_its_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(JudgeError) as refused:
        from_prompts(tmp_path / "p", 9, "")
    assert refused.value.next_step
    with pytest.raises(JudgeError):
        from_prompts(tmp_path / "none", 9, "")


def test_the_seed_chooses_the_rows_and_fewer_are_among_more(data: Path) -> None:
    few, more = (
        {item.where for item in from_rows(None, data, rows, 3).questions} for rows in (2, 4)
    )  # fmt: skip
    assert len(few) == 2 and few < more
    with pytest.raises(JudgeError, match="nothing to ask"):
        from_rows(None, None, 5, 3)


def test_broken_rows_and_plain_texts_are_told(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"messages": [')
    with pytest.raises(HeldOutError, match="bad.jsonl:1"):
        from_rows(None, tmp_path / "bad.jsonl", 5, 3)


def test_prompts_alone_are_only_compared(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("one\ntwo\n")
    found, _ = judge_now(wanted(prompts=tmp_path / "p"), saying(["x", "y"]), saying(["x", "z"]))
    assert (found["asked"], found["same"], found["scored"], found["confusion"]) == (2, 1, 0, None)
    assert "exact_match" not in found["A"]
    assert found["replies"][0]["f1"] == {"A": None, "B": None}


def test_what_can_t_be_asked_is_told_before_a_model_is_loaded(tmp_path: Path) -> None:
    make_rows(tmp_path / "rows.jsonl", 4)
    (tmp_path / "recipe.yaml").write_text(f"version: 1\nmodel: tiny\ndata: {tmp_path / 'rows.jsonl'}\n")
    (tmp_path / "data").mkdir()
    nowhere = LocalSide(tmp_path / "no-model", None, tmp_path / "no-model").request()
    request = cast(Request, None)  # nothing is loaded, so nobody looks whether anybody still waits
    work = Chat().judge(request, {"A": nowhere, "B": nowhere}, asked_of_worker(tmp_path))
    assert next(work) == {"phase": "reading the rows", "done": 0, "total": 0}
    with pytest.raises(HeldOutError, match="held no rows back"):
        next(work)


# with models


def asked_of_worker(run: Path | None, **changes: Any) -> dict[str, Any]:
    asked = wanted(run=run, **changes)
    paths = {
        name: value and str(value)
        for name, value in (("run", run), ("data", asked.data), ("prompts", asked.prompts))
    }
    return {**vars(asked), **paths}


@pytest.mark.slow
async def test_a_run_beside_its_base_scores_as_its_evaluation_says(
    in_its_home: Path,  # noqa: F811
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    expected, _ = evaluated(in_its_home)
    model = in_its_home / "model"
    sides = {
        "A": LocalSide(tiny_model, model, model).request(),
        "B": LocalSide(tiny_model, None, model).request(),
    }
    client = PipeClient("core.serving.chat_worker", tmp_path / "chat.log")
    try:
        told, found = [], {}
        async for kind, value in client.stream("judge", sides=sides, wanted=asked_of_worker(in_its_home)):
            if kind == "chunk":
                told.append(value)
            else:
                found = value
        for side, name in (("A", "tuned"), ("B", "base")):
            for figure in ("exact_match", "token_f1", "accuracy", "macro_f1"):
                assert found[side][figure] == pytest.approx(expected[name][figure], abs=1e-9)
        assert found["A"]["exact_match"] == 1.0 and found["better"]["A"] == 14
        assert found["confusion"]["A"] == expected["confusion"]["tuned"]
        assert told[0]["total"] == 0 and told[-1]["done"] == told[-1]["total"] == 14
        assert judged(in_its_home)[0] == found
        assert json.loads((in_its_home / "report.json").read_text())["evaluation"] == expected
        with pytest.raises(PipeError, match="no such file|can't be read|There is no"):
            await client.call(
                "judge", sides=sides, wanted=asked_of_worker(in_its_home, prompts=tmp_path / "none")
            )
    finally:
        await client.close()


@pytest.mark.slow
async def test_an_endpoint_is_judged_beside_a_model(
    tiny_model: Path, adapter: Path, data: Path, tmp_path: Path
) -> None:
    client = PipeClient("core.serving.chat_worker", tmp_path / "chat.log")
    with answering() as said:
        said.pieces = {ask: [answer] for ask, answer in ROWS}
        sides = {
            "A": parse(f"{said.url}#tiny,in=1,out=2").request(),
            "B": LocalSide(tiny_model, adapter, adapter).request(),
        }
        try:
            found = await client.call("judge", sides=sides, wanted=asked_of_worker(None, data=data))
        finally:
            await client.close()
    assert found["A"]["exact_match"] == 1.0 and found["better"]["A"] == 6
    assert found["A"]["cost_usd"] == pytest.approx(6 * (11 + 6) / 1e6)
    assert found["B"]["cost_usd"] is None and found["B"]["tokens"] > 0
    assert all(body["max_tokens"] == 8 and body["temperature"] == 0 for _, body in said.asked)
