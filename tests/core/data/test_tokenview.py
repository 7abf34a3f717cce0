"""Rows as a task trains on them: what the view marks is what training takes, whatever the task."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.data.conversation import Conversation
from core.data.index import open_index
from core.data.rendering import Renderer
from core.data.rows import read_rows
from core.data.sandbox import RenderingError
from core.data.tasks import reads_conversations
from core.data.tokenview import TokenView
from core.training.rows import Example, Labelled, Pair, Row, make_rows
from core.training.tasks import render

TEXT = "Hello, how are you? "
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "messages": (
        "chat",
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": TEXT}]},
    ),
    "prompt and completion": ("chat", {"prompt": "Say hello. ", "completion": TEXT}),
    "prompt and completion as texts": ("completion", {"prompt": "Say hello. ", "completion": TEXT}),
    "text": ("completion", {"text": TEXT}),
    "tokens": ("completion", {"input_ids": [65, 66, 67, 68], "labels": [-100, -100, 67, 68]}),
    "label": ("classification", {"text": TEXT, "label": "polite"}),
    "pair": ("dpo", {"prompt": "Say hello.", "chosen": TEXT, "rejected": "No."}),
    "pair, orpo": ("orpo", {"prompt": "Say hello.", "chosen": TEXT, "rejected": "No."}),
}
DEFAULT = {"messages", "prompt and completion", "text", "tokens", "label", "pair"}
"""Those whose task is the one that the shape is for."""


def shown(path: Path, folder: Path, task: str, length: int | None = None) -> dict[str, Any]:
    index = open_index(path)
    index.scan()
    view = TokenView(
        lambda conversations: Renderer.from_folder(folder, conversations=conversations), task, length, True
    )
    (answer,) = view.rows(path, None, [(0, 1, *index.span(0))], None)
    return answer


def marked(side: dict[str, Any]) -> tuple[list[int], list[bool]]:
    """Ids and mask of what is shown up to the cut; each run is one token."""
    runs = [run for run in side["tokens"][: side["cut_at"]] if run[2]]
    return [number for _, _, ids, _ in runs for number in ids], [trained for _, trained, _, _ in runs]


@pytest.mark.parametrize("length", [6, 1000])
@pytest.mark.parametrize("name", list(ROWS))
def test_what_is_marked_is_what_is_trained(
    name: str, length: int, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    task, value = ROWS[name]
    path, folder = tmp_path / "rows.jsonl", make_model("smollm2")
    path.write_text(json.dumps(value) + "\n")
    renderer = Renderer.from_folder(folder, conversations=reads_conversations(task))
    rows = [row for row in read_rows(path) if isinstance(row, Conversation)]
    (example,) = render(task, rows, renderer)
    assert isinstance(example, Example)
    answers = [shown(path, folder, task, length)]
    if name in DEFAULT:
        answers.append(shown(path, folder, "", length))
    for answer in answers:
        assert answer["task"] in (task, "dpo")
        sides = [answer, *([answer["rejected"]] if "rejected" in answer else [])]
        assert ("label" in answer) == (task == "classification")
        for side, rendered in zip(sides, example.rendered, strict=True):
            ids, trained = marked(side)
            assert ids == rendered.ids[:length]
            assert side["trained_count"] == sum(rendered.trained) - rendered.trained[0]
            if any(trained):
                (row,) = make_rows([Example((rendered,))], length).rows
                assert isinstance(row, Row) and trained == row.trained.tolist()
    if length == 1000:
        (row,) = make_rows([example], length, {"polite": 0}).rows
        assert isinstance(row, Pair) == (task in ("dpo", "orpo"))
        assert isinstance(row, Labelled) == (task == "classification")
        text = "".join(run[0] for run in answers[0]["tokens"])
        assert name == "tokens" or TEXT.strip() in text


def test_the_end_of_a_text_ends_it_and_nothing_predicts_its_first_token(
    tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": TEXT}) + "\n")
    answer = shown(path, make_model("smollm2"), "")
    assert [run[1] for run in answer["tokens"]] == [False, *[True] * (answer["token_count"] - 1)]
    assert answer["tokens"][-1][3] == "end"


@pytest.mark.parametrize(
    ("task", "name", "said"),
    [
        ("chat", "text", "this is plain text; the task `chat` trains on conversations."),
        ("dpo", "messages", "this is a conversation; the task `dpo` trains on pairs"),
        ("classification", "text", "trains on texts with a label"),
    ],
)
def test_a_row_of_another_task_says_so(
    task: str, name: str, said: str, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS[name][1]) + "\n")
    answer = shown(path, make_model("smollm2"), task)
    assert said in answer["error"]["what"]
    assert answer["error"]["next_step"].startswith("Choose another task: `--task ")


def test_texts_need_no_template_and_conversations_do(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    path, folder = tmp_path / "rows.jsonl", make_model("smollm2")
    (folder / "chat_template.jinja").unlink()
    path.write_text(json.dumps(ROWS["prompt and completion"][1]) + "\n")
    assert shown(path, folder, "completion")["trained_count"] > 1
    with pytest.raises(RenderingError, match="no chat template"):
        shown(path, folder, "chat")
