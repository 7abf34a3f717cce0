"""Runs side by side: what differs, what came out, and what doesn't compare."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from core import events as e
from core import paths
from core.runs import compare, prices
from core.runs.compare import Comparison
from core.runs.directory import RunDirectory, RunError
from core.runs.effective import Value
from core.runs.tally import Point, Tally
from tests.core.runs.test_clean import froze
from tests.tui.made_runs import T0, evaluation, make_run, some_runs, step, story, write


def recipe(run: RunDirectory, **values: Any) -> None:
    lines = [f"{name}: {json.dumps(value)}" for name, value in {"model": run.meta.model, **values}.items()]
    run.recipe_path.write_text("\n".join(["version: 1", "data: [{path: /data/train.jsonl}]", *lines]) + "\n")


def settings(found: Comparison) -> dict[str, tuple[Value, ...]]:
    return {item.field: item.values for item in found.recipe}


def figures(found: Comparison) -> dict[str, tuple[Any, ...]]:
    return {item.name: item.values for item in found.figures}


def remote(run: RunDirectory) -> None:
    run.write_meta(replace(run.meta, backend="azure"))


def test_only_settings_that_differ_are_told_and_unset_ones_as_what_they_mean() -> None:
    one, two = make_run("one"), make_run("two")
    recipe(one, rank=8, epochs=2.5, evaluate_every=10)
    recipe(two, rank=16, alpha=32.0, epochs=3.0, rslora=True, batch_size=8)
    found = settings(compare.compare(["one", "two"]))
    assert found == {
        "rank": (Value("8", True), Value("16", True)),
        "alpha": (Value("2 x rank", False), Value("32", True)),
        "rslora": (Value("no", False), Value("yes", True)),
        "epochs": (Value("2.5", True), Value("3", True)),
        "evaluate_every": (Value("10", True), Value("a fifth of the run", False)),
    }  # batch_size 8 is the default, model and data are the same


def test_a_rule_s_default_is_told_as_the_number_it_gives() -> None:
    one, two = make_run("one"), make_run("two")
    recipe(one, learning_rate=1e-5)
    recipe(two, method="full")
    rates = settings(compare.compare(["one", "two"]))["learning_rate"]
    assert rates[0] == Value("1e-05", True)
    assert not rates[1].set and 0 < float(rates[1].text) < 2e-4


def test_defaults_are_those_of_the_run_s_own_backend() -> None:
    one, two = make_run("one"), make_run("two")
    recipe(one, epochs=2.0)
    recipe(two, backend="azure", epochs=2.0)
    remote(two)
    found = settings(compare.compare(["one", "two"]))
    assert found["backend"] == (Value("local", False), Value("azure", True))
    assert "rank" not in found  # nobody has set it
    assert "epochs" not in found
    assert found["batch_size"] == (Value("8", False), Value("Azure's own", False))
    recipe(one, epochs=2.0, rank=8)
    assert settings(compare.compare(["one", "two"]))["rank"] == (Value("8", True), Value("not used", False))


def test_what_comes_with_an_earlier_model_is_told_as_that_model_has_it() -> None:
    live, child, late = make_run("live"), make_run("child"), make_run("late")
    recipe(live, rank=2, last_layers=1)
    recipe(child, init_from=live.id, epochs=1.0)
    recipe(late, init_from=f"{child.id}@20")
    found = compare.compare(["live", "child", "late"])
    assert not {"rank", "alpha", "method", "last_layers"} & settings(found).keys()  # all the same
    plain = make_run("plain")
    recipe(plain, rank=16)
    found = compare.compare(["plain", "child"])
    assert settings(found)["rank"] == (Value("16", True), Value("2", False, True))
    assert settings(found)["last_layers"][1] == Value("1", False, True)
    assert found.as_dict()["recipe"][0]["values"][0].keys() == {"text", "set", "inherited"}


def test_where_the_earlier_run_is_gone_the_weights_that_were_frozen_tell() -> None:
    plain, child = make_run("plain"), make_run("child")
    recipe(plain, rank=16)
    recipe(child, init_from="long-gone")
    assert settings(compare.compare(["plain", "child"]))["rank"][1] == Value("unknown", False, True)
    frozen = child.data_dir / "init"
    frozen.mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (frozen / "adapter_config.json").write_text(json.dumps(config))
    (frozen / "finetui.json").write_text(json.dumps({"base": "m", "labels": []}))
    found = settings(compare.compare(["plain", "child"]))
    assert found["rank"] == (Value("16", True), Value("2", False, True))
    assert found["alpha"][1] == Value("4", False, True)
    assert "method" not in found


def test_a_method_without_a_rank_has_none() -> None:
    one, two = make_run("one"), make_run("two")
    recipe(one, rank=8)
    recipe(two, method="full")
    assert settings(compare.compare(["one", "two"]))["rank"] == (Value("8", True), Value("not used", False))


def test_weights_and_caps_of_files_are_settings_too() -> None:
    make_run("one")
    two = make_run("two")
    two.recipe_path.write_text("model: smollm2-135m-instruct\ndata: [{path: /d/train.jsonl, weight: 2.0}]\n")
    assert settings(compare.compare(["one", "two"]))["data"] == (
        Value("train.jsonl", True),
        Value("train.jsonl (weight 2)", True),
    )


def served(name: str, run: RunDirectory, **prices: float) -> None:
    folder = paths.make_private(paths.data_dir() / "deployments" / name)
    record = {"models": [{"run": run.id, "checkpoint": None}], **prices}
    (folder / "deployment.json").write_text(json.dumps(record))


def test_training_costs_hours_here_and_what_azure_asks_there() -> None:
    one, two, three = make_run("one"), make_run("two"), make_run("three")
    recipe(one, nodes=2)
    recipe(two, backend="azure")
    recipe(three, backend="azure")
    remote(two)
    remote(three)
    write(one, [*story(40, 40), e.Finished(time=T0 + 1801, step=40, model="model")])
    write(two, [e.Submitted(time=T0, job="j", cost_usd=1.25, price_in_usd=0.1, price_out_usd=0.4)])
    write(three, [e.Submitted(time=T0, job="j")])
    served("lamp", one, price_in_usd=0.5, price_out_usd=2.0)
    served("dark", one)
    runs = ["one", "two", "three"]
    assert figures(compare.compare(runs))["training_usd"] == (None, 1.25, None)
    prices.set_hour_usd(2.4)
    found = figures(compare.compare(runs))
    assert found["duration_s"][0] == 1800
    assert found["training_usd"] == (pytest.approx(2 * 1.2), 1.25, None)
    assert found["price_in_usd"] == (0.5, 0.1, None) and found["price_out_usd"] == (2.0, 0.4, None)


def test_an_unknown_cost_is_told_as_unknown() -> None:
    make_run("one")
    make_run("two")
    assert figures(compare.compare(["one", "two"]))["training_usd"] == (None, None)


def test_prices_that_can_t_be_read_are_a_note_and_no_price_is_taken_that_is_none() -> None:
    make_run("one")
    make_run("two")
    prices.set_hour_usd(prices.read(" $3 "))
    file = paths.data_dir() / "prices.json"
    assert prices.hour_usd() == 3.0 and file.stat().st_mode & 0o777 == 0o600
    for text in ("much", "-1", "nan", "inf", ""):
        with pytest.raises(prices.PriceError, match="is no price"):
            prices.read(text)
    file.write_text('{"hour_usd": "free"}')
    found = compare.compare(["one", "two"])
    assert figures(found)["training_usd"] == (None, None)
    assert [note for note in found.notes if "--hour-usd" in note and str(file) in note]


def test_a_recipe_of_another_version_is_compared_as_far_as_it_can_be_read() -> None:
    make_run("one")
    two = make_run("two")
    two.recipe_path.write_text("version: 9\nmodel: m\nrank: 4\nwarp_factor: 7\ndata: /data/train.jsonl\n")
    found = settings(compare.compare(["one", "two"]))
    assert found["rank"] == (Value("16", False), Value("4", True))
    assert found["warp_factor"] == (Value("none", False), Value("7", True))
    two.recipe_path.write_text("]")
    assert settings(compare.compare(["one", "two"]))["model"][1] == Value("none", False)


def test_figures_of_a_run_are_those_of_its_events() -> None:
    runs = some_runs()
    write(runs["stopped-one"], [])
    (runs["done-one"].report_path).write_text(
        json.dumps({"evaluation": {"tuned": {"exact_match": 0.9, "loss": 0.25}, "rows": 6}})
    )
    found = figures(compare.compare(["done-one", "stopped-one"]))
    losses = [step(number, 40).loss or 0.0 for number in range(1, 41)]
    assert found["loss"] == (losses[-1], losses[19])
    assert found["best_loss"] == (min(losses), min(losses[:20]))
    assert found["step"] == (40, 20) and found["total_steps"] == (40, 40)
    assert found["perplexity"][0] == pytest.approx(math.exp(found["eval_loss"][0]))
    measured = [
        item.loss
        for number in (10, 20, 30, 40)
        for item in evaluation(number, 40)
        if isinstance(item, e.Evaluated)
    ]
    assert found["best_eval_loss"] == (min(measured), min(measured[:2]))
    assert found["best_eval_step"] == (30, 20)
    assert found["tokens"] == (40 * 2048, 20 * 2048)
    assert found["tokens_per_s"] == (2048.0, 2048.0)  # a step of 2048 tokens takes a second
    assert found["peak_memory_bytes"] == (5_120_000_000, 5_120_000_000)
    assert found["trainable_parameters"] == (4_884_480, 4_884_480)
    assert found["evaluated_exact_match"] == (0.9, None)
    assert found["state"] == ("finished", "stopped")


def test_a_resumed_run_s_tokens_are_those_its_weights_have_seen() -> None:
    tally = Tally()
    saved = e.Checkpointed(step=3, path="checkpoints/step-3", bytes=1)
    points = tally.feed([*(step(number, 10) for number in (1, 2, 3)), saved, step(4, 10), step(5, 10)])
    assert [(point.tokens, point.seconds) for point in points][-1] == (5 * 2048, 5.0)
    tally.feed([e.Resumed(step=3)])
    points = tally.feed([step(4, 10)])
    assert (points[0].tokens, points[0].seconds) == (4 * 2048, 6.0)
    assert tally.tokens_per_s == pytest.approx(6 * 2048 / 6)


def test_a_remote_run_that_tells_little_is_compared_by_what_it_tells() -> None:
    run, local = make_run("far"), some_runs()["done-one"]
    remote(run)
    bare = dict.fromkeys(
        ("epoch", "learning_rate", "grad_norm", "tokens", "trained_tokens", "tokens_per_s", "memory_bytes",
         "duration_s")
    )  # fmt: skip
    steps = [e.Step(time=T0 + 30 * number, step=number, loss=2.0 / number, **bare) for number in range(1, 5)]
    write(run, [e.Starting(time=T0, phase="x"), *steps, e.Finished(time=T0 + 150, step=4, model="model")])
    assert local.path.exists()
    found = figures(compare.compare(["far", "done-one"]))
    assert found["loss"][0] == 0.5
    assert (found["tokens"][0], found["tokens_per_s"][0], found["peak_memory_bytes"][0]) == (None, None, None)
    (side, _) = compare.choose(["far", "done-one"])
    assert [point.seconds for point in side.read()] == [30.0, 60.0, 90.0, 120.0]


def test_losses_that_are_no_numbers_are_none() -> None:
    run, other = make_run("diverged"), some_runs()["done-one"]
    write(run, [*story(40, 5), step(6, 40, loss=float("nan"))])
    found = figures(compare.compare(["diverged", "done-one"]))
    assert found["loss"][0] is None and found["best_loss"][0] is not None and other.path.exists()


def test_same_rows_are_told_by_their_hashes() -> None:
    runs = some_runs()
    names = ["done-one", "stopped-one"]
    assert compare.compare(names).same_training is None
    froze(runs["done-one"], "a" * 64)
    froze(runs["stopped-one"], "a" * 64)
    found = compare.compare(names)
    assert (found.same_training, found.same_validation) == (True, True)
    assert found.notes == ()
    for run, seed in zip((runs["done-one"], runs["stopped-one"]), (42, 43), strict=True):
        recipe(run, validation_fraction=0.1, seed=seed)
    found = compare.compare(names)
    assert (found.same_training, found.same_validation) == (True, False)
    assert "different validation rows" in found.notes[0]
    recipe(runs["stopped-one"], validation_fraction=0)
    found = compare.compare(names)
    assert found.notes[0].startswith("Without validation rows: stopped-one.") and not found.losses_compare
    froze(runs["stopped-one"], "b" * 64)
    assert compare.compare(names).same_training is False


def test_what_does_not_compare_is_said() -> None:
    runs = some_runs()
    recipe(runs["done-one"], task="completion")
    for name, digest in (("done-one", "a"), ("failed-phi", "b")):
        files = [{"title": "x", "sha256": digest}]
        made = {"tuned": {"loss": 1.0}, "rows": 6, "data": {"files": files}}
        runs[name].report_path.write_text(json.dumps({"evaluation": made}))
    notes = " ".join(compare.compare(["done-one", "failed-phi"]).notes)
    for words in ("different tasks", "different base models", "evaluated on different rows"):
        assert words in notes
    runs["done-one"].report_path.write_text("{")
    assert "report.json can't be read" in " ".join(compare.compare(["done-one", "failed-phi"]).notes)


@pytest.mark.parametrize(
    ("refs", "words"),
    [
        (["done-one"], "1 run can't be compared"),
        (["done-one", "done-one"], "done-one is named twice"),
        (["done-one", "nonesuch"], "no run 'nonesuch'"),
        (["done-one", "failed-phi", "stopped-one", "paused-one", "lost-one"], "5 runs can't be compared"),
    ],
)
def test_two_to_four_different_runs(refs: list[str], words: str) -> None:
    some_runs()
    with pytest.raises(RunError, match=words):
        compare.compare(refs)


def test_a_comparison_is_plain_data() -> None:
    some_runs()
    record = compare.compare(["done-one", "failed-phi", "stopped-one", "lost-one"]).as_dict()
    assert json.loads(json.dumps(record))["runs"][1] == {"id": "failed-phi", "name": "failed-phi"}


def test_a_live_run_is_read_on_from_where_it_was() -> None:
    run = make_run("live")
    write(run, story(40, 10))
    some_runs()
    side, _ = compare.choose(["live", "done-one"])
    points: list[Point] = []
    side.read_all(points.extend)
    assert len([point for point in points if not point.evaluated]) == 10
    assert side.progress == (run.journal_path.stat().st_size,) * 2
    assert side.read() == []
    write(run, [step(11, 40)])
    assert [point.step for point in side.read()] == [11]


def test_importing_it_is_cheap() -> None:
    heavy = ("torch", "transformers", "pydantic", "numpy", "typer", "yaml")
    code = (
        "import sys, core.runs.compare, core.runs.clean, core.runs.lineage;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
