"""Packed losses and gradients are those of the rows one by one, for every parameter, to 1e-5."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model

from core.training import tree_attention
from core.training.adapters import long_from
from core.training.dataset import Steps, pack_tensors
from core.training.fused_layers import fuse
from core.training.fused_lora import FusedLinear
from core.training.head import head_hits, head_log_probs, head_loss
from core.training.loss import PackingError, PackLoss
from core.training.plan import Plan
from core.training.ranks import Ranks
from core.training.rows import Row, Rows
from core.training.tree import packs
from tests.core.training.reference import fill_b

VOCABULARY = 300
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "pad_token_id": 0,
    "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 64,
    "short_factor": [1.0] * 4, "long_factor": [3.0] * 4,
}  # fmt: skip
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "phi3": ("Phi3", {"original_max_position_embeddings": 512}),
    "phi3 with a window": ("Phi3", {"original_max_position_embeddings": 512, "sliding_window": 24}),
    "phi3 with LongRoPE": ("Phi3", {"original_max_position_embeddings": 64, "rope_parameters": LONGROPE}),
    "qwen2": ("Qwen2", {}),
    "mistral with a window": ("Mistral", {"sliding_window": 24}),
    "gemma3, windows and full layers in turn, a soft cap on the head": (
        "Gemma3",
        {"sliding_window": 24, "head_dim": 8, "layer_types": ["sliding_attention", "full_attention"] * 2,
         "num_hidden_layers": 4, "final_logit_softcapping": 5.0},
    ),
}  # fmt: skip


def make_model(name: str, target_modules: str | list[str] = "all-linear") -> Any:
    family, more = MODELS[name]
    text = "Text" if family == "Gemma3" else ""
    config = getattr(transformers, f"{family}{text}Config")(**{**SIZES, **more})
    torch.manual_seed(0)
    base = getattr(transformers, f"{family}ForCausalLM")(config)
    lora = LoraConfig(r=4, lora_alpha=6, target_modules=target_modules, task_type="CAUSAL_LM")
    lora._register_custom_module({torch.nn.Linear: FusedLinear})
    model = get_peft_model(base, lora)
    fill_b(model, 0.1)  # at B = 0 every gradient of A is zero and would prove nothing
    return model.train()


@pytest.fixture(scope="module", params=list(MODELS))
def model(request: pytest.FixtureRequest) -> Iterator[Any]:
    yield make_model(request.param)


def make_rows() -> list[Row]:
    """Two instructions, one the beginning of the other, with all kinds of rows, one twice."""
    generator = np.random.default_rng(3)
    short = generator.integers(0, VOCABULARY, 40)
    long = np.concatenate([short, generator.integers(0, VOCABULARY, 30)])

    def row(beginning: np.ndarray, more: int) -> Row:
        ids = np.concatenate([beginning, generator.integers(0, VOCABULARY, more)]).astype(np.int32)
        trained = np.arange(len(ids)) >= len(ids) - max(1, more // 2)
        trained[len(beginning) // 2 : len(beginning) // 2 + 3] = True
        trained[0] = False
        return Row(ids, trained)

    rows = [row(short, more) for more in (5, 20, 7)] + [row(long, more) for more in (9, 3)]
    rows += [row(short[:3], 25), row(short[:0], 60)]
    beginning = Row(rows[1].ids[:45], np.arange(45) > 41)
    return [*rows, rows[0], beginning]


def counted(function: Any, calls: list[int]) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return function(*args, **kwargs)

    return call


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: item.grad.clone() for name, item in model.named_parameters() if item.grad is not None}


def row_by_row(model: Any, rows: list[Row]) -> tuple[float, dict[str, torch.Tensor]]:
    """peft's and transformers' own forward pass of each row, summed."""
    model.get_base_model().set_attn_implementation("sdpa")
    model.zero_grad()
    total = 0.0
    for row in rows:
        ids = torch.tensor(row.ids.tolist())
        trained = torch.tensor(row.trained.tolist())[1:]
        logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits[trained], ids[1:][trained], reduction="sum")
        loss.backward()
        total += loss.item()
    return total, gradients(model)


def packed(
    model: Any, rows: list[Row], budget: int, share: bool
) -> tuple[float, dict[str, torch.Tensor], int]:
    model.zero_grad()
    total, computed = 0.0, 0
    for pack in packs(rows, budget, long_from(model), share):
        loss = PackLoss(model).summed(pack_tensors(pack))
        loss.backward()
        total += loss.item()
        computed += len(pack.ids)
    return total, gradients(model), computed


def worst(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    assert ours.keys() == theirs.keys()
    assert all(theirs[name].norm() > 1e-6 for name in theirs)
    return max(((ours[name] - theirs[name]).norm() / theirs[name].norm()).item() for name in theirs)


@pytest.mark.parametrize(("budget", "share"), [(60, True), (150, True), (10_000, True), (10_000, False)])
def test_gradients_are_those_of_the_rows_one_by_one(model: Any, budget: int, share: bool) -> None:
    rows = make_rows()
    loss, theirs = row_by_row(model, rows)
    our_loss, ours, computed = packed(model, rows, budget, share)
    assert our_loss == pytest.approx(loss, rel=1e-5)
    assert worst(ours, theirs) < 1e-5
    longest = long_from(model) or 10_000
    tokens = sum(len(row.inputs(whole=len(row.ids) > longest)) for row in rows)
    assert computed < tokens if share else computed == tokens


@pytest.mark.parametrize("name", list(MODELS))
def test_fused_layers_change_no_gradient(name: str) -> None:
    model, rows = make_model(name), make_rows()
    loss, own = row_by_row(model, rows)
    assert fuse(model) == (0 if name.startswith("gemma3") else 3)  # Gemma's norms and gates are others
    ours, fused, _ = packed(model, rows, 150, share=True)
    assert ours == pytest.approx(loss, rel=1e-5)
    assert worst(fused, own) <= 1e-5


@pytest.mark.parametrize("targets", [["q_proj", "down_proj"], ["v_proj", "o_proj", "up_proj"]])
def test_fused_layers_train_chosen_modules_only(targets: list[str]) -> None:
    model, rows = make_model("qwen2", targets), make_rows()
    loss, own = row_by_row(model, rows)
    assert fuse(model) == 3
    ours, fused, _ = packed(model, rows, 150, share=True)
    assert ours == pytest.approx(loss, rel=1e-5)
    assert worst(fused, own) <= 1e-5


def test_a_fused_model_without_its_adapter_is_the_base() -> None:
    model, (pack,) = make_model("llama"), packs(make_rows(), 10_000)
    assert fuse(model) == 3
    with torch.no_grad():
        tuned = PackLoss(model).summed(pack_tensors(pack)).item()
        with model.disable_adapter():
            bare = PackLoss(model).summed(pack_tensors(pack)).item()
        base = PackLoss(make_model("llama").unload()).summed(pack_tensors(pack)).item()
    assert bare == pytest.approx(base, rel=1e-6)
    assert abs(tuned - base) > 1e-2


@pytest.mark.parametrize("fused", [False, True])
def test_activation_checkpointing_computes_layers_twice_and_changes_nothing(
    fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("phi3")
    rows = make_rows()
    if fused:
        assert fuse(model) == 3
    _, plain, _ = packed(model, rows, 10_000, True)
    model.activation_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()
    calls: list[int] = []
    monkeypatch.setattr(tree_attention, "by_segment", counted(tree_attention.by_segment, calls))
    monkeypatch.setattr(
        tree_attention.LeanAttention, "apply", counted(tree_attention.LeanAttention.apply, calls)
    )
    _, recomputed, _ = packed(model, rows, 10_000, True)
    assert len(calls) == 2 * 3
    assert worst(recomputed, plain) < 1e-6


@pytest.mark.parametrize("name", [name for name in MODELS if "window" in name])
def test_the_windows_of_these_models_hide_something(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a window left out on both sides would go unseen."""
    rows = make_rows()
    windowed, _, _ = packed(make_model(name), rows, 10_000, share=True)
    family, more = MODELS[name]
    monkeypatch.setitem(MODELS, name, (family, {**more, "sliding_window": 10_000}))
    whole, _, _ = packed(make_model(name), rows, 10_000, share=True)
    assert abs(windowed - whole) > 1e-5 * abs(whole)


@pytest.mark.parametrize(("size", "budget"), [(2, 10_000), (2, 60), (3, 100)])
def test_gradients_of_ranks_add_up_to_those_of_the_rows_one_by_one(size: int, budget: int) -> None:
    model, rows = make_model("phi3"), make_rows()
    fuse(model)
    loss, theirs = row_by_row(model, rows)
    model.zero_grad()
    plan, objective = Plan((tuple(range(len(rows))),), len(rows)), PackLoss(model)
    total, packs_of = 0.0, []
    for rank in range(size):
        (packs_of_rank,) = Steps(
            Rows(tuple(rows), 0, 0), plan, budget, objective.tensors, ranks=Ranks(rank, size)
        )
        packs_of.append(packs_of_rank)
        for batch in packs_of_rank:
            part = objective.summed(batch)
            part.backward()
            total += part.item()
    assert all(packs_of), "a rank has nothing to do"
    assert sum(batch["rows"] for packs in packs_of for batch in packs) == len(rows)
    assert total == pytest.approx(loss, rel=1e-5)
    assert worst(gradients(model), theirs) < 1e-5


def test_rows_of_different_rope_scale_in_one_pack_would_be_wrong() -> None:
    """The reason why long rows are packed apart: together they are off by far more than rounding."""
    model = make_model("phi3 with LongRoPE")
    rows = make_rows()
    assert {len(row.ids) > 64 for row in rows} == {True, False}
    _, theirs = row_by_row(model, rows)
    model.zero_grad()
    for pack in packs(rows, 10_000):
        PackLoss(model).summed(pack_tensors(pack)).backward()
    assert worst(gradients(model), theirs) > 1e-4


def test_the_proof_before_a_run_passes_and_catches_what_packing_leaves_out(model: Any) -> None:
    loss = PackLoss(model)
    loss.prove(make_rows()[:2])
    head = loss.head
    original = head.forward
    head.forward = lambda hidden: original(hidden) * 1.5  # a head with a scale of its own
    try:
        with pytest.raises(PackingError, match="another loss"):
            loss.prove(make_rows()[:2])
    finally:
        del head.forward


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("bias", [True, False])
def test_the_head_in_chunks_equals_the_head_at_once(
    monkeypatch: pytest.MonkeyPatch, softcap: float | None, bias: bool
) -> None:
    monkeypatch.setattr("core.training.head.LOGITS_BYTES", 4 * 50 * 7)  # 7 rows of logits at once
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 50, bias=bias).requires_grad_(False)
    hidden = torch.randn(33, 16, requires_grad=True)
    targets, weights = torch.randint(0, 50, (33,)), torch.rand(33)

    logits = head(hidden)
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    wanted = (torch.nn.functional.cross_entropy(logits, targets, reduction="none") * weights).sum()
    (slope,) = torch.autograd.grad(wanted * 0.25, hidden)

    loss = head_loss(hidden, head, targets, weights, softcap)
    (ours,) = torch.autograd.grad(loss * 0.25, hidden)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert torch.allclose(ours, slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("work", ["training", "evaluation", "log probabilities"])
def test_a_vocabulary_of_200_000_never_holds_full_logits(work: str) -> None:
    """4096 targets at 200 064 words would be 3.3 GB of logits; the largest tensor made is a chunk of them."""
    head = torch.nn.Linear(8, 200_064, bias=False).requires_grad_(False)
    hidden = torch.randn(300, 8, requires_grad=True)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                largest = max(largest, result.numel())
            return result

    targets = torch.zeros(300, dtype=torch.int64)
    with Watch():
        if work == "training":
            head_loss(hidden, head, targets, torch.ones(300)).backward()
        elif work == "evaluation":
            head_hits(hidden, head, targets)
        else:
            head_log_probs(hidden, head, targets).sum().backward()
    assert largest > 200_064
    assert largest * 4 <= max(64 << 20, head.weight.numel() * 4)
    assert largest < 300 * 200_064
