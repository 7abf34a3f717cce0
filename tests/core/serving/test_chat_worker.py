"""The chat worker as a process: its replies are those of transformers' own generate, for either side."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from core.data.conversation import Message
from core.data.rendering import Renderer
from core.pipes import PipeClient, PipeError
from core.serving.endpoint import parse
from core.serving.local_models import LocalSide
from tests.core.serving.answering import answering

ASKED = [
    [{"role": "user", "content": "the lamp glows"}],
    [{"role": "system", "content": "salt water"}, {"role": "user", "content": "ask again"}],
    [
        {"role": "user", "content": "one fill"},
        {"role": "assistant", "content": "forty hours"},
        {"role": "user", "content": "on é"},
    ],
]
TOKENS = 24
SAMPLED = {"temperature": 0.9, "top_p": 0.95, "max_tokens": TOKENS}


def side(model: Path, trained: Path | None, renderer: Path) -> dict[str, Any]:
    return LocalSide(model, trained, renderer).request()


def sides_of(model: Path, trained: Path) -> dict[str, Any]:
    """A tuned model and its base."""
    return {"tuned": side(model, trained, trained), "base": side(model, None, trained)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(
    tiny_model: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[PipeClient]:
    client = PipeClient("core.serving.chat_worker", tmp_path_factory.mktemp("chat") / "chat.log")
    with pytest.raises(PipeError, match="No model is loaded"):
        await client.call("reply", messages=ASKED[0], side="base")
    frames = [frame async for frame in client.stream("load", sides=sides_of(tiny_model, adapter))]
    assert [kind for kind, _ in frames] == ["chunk"] * 3 + ["result"]
    assert frames[-1][1]["device"] == "cpu"
    yield client
    await client.close()


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def reply(
    client: PipeClient, messages: list[dict[str, str]], side: str, **settings: Any
) -> dict[str, Any]:
    """The result, after its chunks were seen to add up to it."""
    text = ""
    async for kind, value in client.stream("reply", messages=messages, side=side, **settings):
        if kind == "chunk":
            text += value["text"]
        else:
            assert value["text"] == text
            return dict(value)
    raise AssertionError("no result came")


@pytest.fixture(scope="module")
def expected(tiny_model: Path, adapter: Path) -> dict[str, list[tuple[str, int, str]]]:
    """(text, tokens, how it ended) by transformers' greedy generate: the base alone, and the adapter merged into it."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    renderer = Renderer.from_folder(adapter)
    base = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), str(adapter))
    found: dict[str, list[tuple[str, int, str]]] = {}
    for side, model in (("base", base), ("tuned", tuned.merge_and_unload().eval())):
        for messages in ASKED:
            _, ids = renderer.render_prompt(
                tuple(Message(item["role"], item["content"]) for item in messages)
            )
            with torch.no_grad():
                out = model.generate(
                    torch.tensor([ids]),
                    attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                    max_new_tokens=TOKENS,
                    do_sample=False,
                    eos_token_id=list(renderer.turn_end_ids),
                )
            new = out[0, len(ids) :].tolist()
            ended = "turn end" if new[-1] in renderer.turn_end_ids else "length"
            text = renderer.decode(
                [token for token in new if token not in renderer.turn_end_ids], skip_special=True
            )
            found.setdefault(side, []).append((text, len(new), ended))
    return found


async def test_greedy_replies_are_those_of_generate_on_both_sides(
    client: PipeClient, expected: dict[str, Any]
) -> None:
    assert expected["base"] != expected["tuned"]
    for _ in range(2):  # one side leaves nothing behind that the other would feel
        for number, messages in enumerate(ASKED):
            for side in ("base", "tuned"):
                got = await reply(client, messages, side, max_tokens=TOKENS)
                assert (got["text"], got["tokens"], got["ended"]) == expected[side][number]


async def test_a_seed_gives_the_same_reply_and_another_another(client: PipeClient) -> None:
    texts = [(await reply(client, ASKED[0], "tuned", seed=seed, **SAMPLED))["text"] for seed in (1, 1, 2, 3)]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1


async def test_a_top_p_of_nothing_is_greedy(client: PipeClient, expected: dict[str, Any]) -> None:
    for top_p, temperature in ((0.0, 1.0), (1.0, 1e-30)):
        got = await reply(client, ASKED[0], "base", max_tokens=TOKENS, temperature=temperature, top_p=top_p)
        assert got["text"] == expected["base"][0][0]


async def test_figures_are_of_this_reply(client: PipeClient) -> None:
    got = await reply(client, ASKED[0], "base", max_tokens=5)
    assert got["tokens"] <= 5
    assert 0 < got["first_token_ms"] <= got["seconds"] * 1000
    assert got["tokens_per_s"] == pytest.approx(got["tokens"] / got["seconds"])


async def test_a_conversation_longer_than_the_context_is_refused_and_one_that_fits_is_cut(
    client: PipeClient,
) -> None:
    with pytest.raises(PipeError) as refused:
        await reply(client, [{"role": "user", "content": "x" * 300}], "base")
    assert "256" in refused.value.what
    assert refused.value.next_step
    got = await reply(client, [{"role": "user", "content": "x" * 240}], "base", max_tokens=1000)
    assert got["tokens"] < 20


async def test_a_cancelled_reply_leaves_both_sides_as_they_were(
    client: PipeClient, expected: dict[str, Any]
) -> None:
    for side in ("base", "tuned"):
        frames = client.stream("reply", messages=ASKED[0], side=side, max_tokens=200, temperature=2.0)
        async with contextlib.aclosing(frames):
            async for _ in frames:
                break
        for other in ("base", "tuned"):
            got = await reply(client, ASKED[0], other, max_tokens=TOKENS)
            assert got["text"] == expected[other][0][0]


async def test_a_model_that_is_gone_is_an_error_and_another_can_be_loaded(
    client: PipeClient, tiny_model: Path, adapter: Path, tmp_path: Path
) -> None:
    with pytest.raises(PipeError):
        await client.call("load", sides=sides_of(tmp_path, adapter))
    with pytest.raises(PipeError, match="No model is loaded"):
        await client.call("reply", messages=ASKED[0], side="base")
    assert (await client.call("load", sides=sides_of(tiny_model, adapter)))["device"] == "cpu"


@pytest.mark.slow
async def test_whole_weights_are_a_second_model_beside_the_base(
    tiny_model: Path, adapter: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    whole = tmp_path / "whole"
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), adapter)
    tuned.merge_and_unload().save_pretrained(whole)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(tiny_model / name, whole / name)
    client = PipeClient("core.serving.chat_worker", tmp_path / "chat.log")
    try:
        async for _ in client.stream("load", sides=sides_of(tiny_model, whole)):
            pass
        for name in ("tuned", "base"):
            got = await reply(client, ASKED[0], name, max_tokens=TOKENS)
            assert (got["text"], got["tokens"], got["ended"]) == expected[name][0]
    finally:
        await client.close()


async def test_a_stop_string_ends_the_reply_before_it(client: PipeClient, expected: dict[str, Any]) -> None:
    whole = expected["base"][0][0]
    stop = whole[len(whole) // 2 :][:3]
    got = await reply(client, ASKED[0], "base", max_tokens=TOKENS, stop=[stop])
    assert got["text"] == whole[: whole.index(stop)]
    assert got["ended"] == "turn end"
    assert got["tokens"] <= TOKENS


@pytest.mark.slow
async def test_an_endpoint_answers_beside_a_model_of_this_machine(
    tiny_model: Path, adapter: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    client = PipeClient("core.serving.chat_worker", tmp_path / "chat.log")
    with answering() as said:
        far = parse(f"{said.url}#tiny,in=1,out=2").request()
        sides = {"A": side(tiny_model, adapter, adapter), "B": far}
        try:
            await client.call("load", sides=sides)
            near = await reply(client, ASKED[0], "A", max_tokens=TOKENS, seed=3)
            assert (near["text"], near["cost_usd"]) == (expected["tuned"][0][0], None)
            assert near["prompt_tokens"] > 0
            got = await reply(client, ASKED[1], "B", max_tokens=TOKENS, seed=3)
            assert (got["text"], got["tokens"], got["ended"]) == ("Hello é", 3, "turn end")
            assert got["cost_usd"] == pytest.approx((11 * 1 + 3 * 2) / 1e6)
            assert said.asked[0][1]["messages"] == ASKED[1]
            assert (await client.call("load", sides={"B": far}))["device"] == ""
        finally:
            await client.close()


async def test_an_endpoint_alone_needs_no_torch(tmp_path: Path) -> None:
    client = PipeClient("core.serving.chat_worker", tmp_path / "chat.log")
    with answering() as said:
        try:
            await client.call("load", sides={"A": parse(f"{said.url}#tiny").request()})
            await reply(client, ASKED[0], "A")
            assert client._worker is not None
            maps = Path(f"/proc/{client._worker._process.pid}/maps").read_text()
            assert "libtorch" not in maps
        finally:
            await client.close()
