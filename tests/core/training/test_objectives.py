"""Losses of all tasks equal their formulas computed row by row, and so do their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, log_softmax, logsigmoid

from core.training.classification import LabelLoss, scores
from core.training.cutting import Padded, PairPack, cut
from core.training.dataset import pack_tensors
from core.training.head import Learning, head_hits, head_log_probs, head_loss
from core.training.loss import PackLoss
from core.training.preference import PreferenceLoss
from core.training.rows import Labelled, Pair, Row, Rows
from core.training.tree import make_pack
from tests.core.training.test_packing import SIZES, VOCABULARY, gradients, make_model, worst

LEARNING = {
    "cross-entropy": Learning(),
    "smoothed": Learning(smoothing=0.2),
    "dft": Learning(dft=True),
}


def plain_loss(logits: torch.Tensor, targets: torch.Tensor, learning: Learning) -> torch.Tensor:
    """Of each token, by torch's own functions."""
    losses = cross_entropy(logits, targets, reduction="none", label_smoothing=learning.smoothing)
    if learning.dft:
        return -(log_softmax(logits, 1).gather(1, targets[:, None])[:, 0].exp().detach()) * -losses
    return losses


class Wrapped(torch.nn.Module):
    """A head that is no plain linear layer, as one with an adapter."""

    def __init__(self, inner: torch.nn.Linear) -> None:
        super().__init__()
        self.inner = inner

    def get_base_layer(self) -> torch.nn.Linear:
        return self.inner

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.inner(hidden)


@pytest.mark.parametrize("name", list(LEARNING))
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_head_s_losses_and_gradients(
    name: str, softcap: float | None, wrapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.training.head.LOGITS_BYTES", 4 * 50 * 3)  # chunks of three tokens
    torch.manual_seed(1)
    head = torch.nn.Linear(8, 50)
    hidden = torch.randn(10, 8, requires_grad=True)
    targets, weights = torch.randint(0, 50, (10,)), torch.rand(10)
    logits = head(hidden)
    capped = logits if softcap is None else (logits / softcap).tanh() * softcap
    wanted = (plain_loss(capped, targets, LEARNING[name]) * weights).sum()
    wanted.backward()
    theirs = {"hidden": hidden.grad, "weight": head.weight.grad, "bias": head.bias.grad}
    hidden.grad, head.weight.grad, head.bias.grad = None, None, None
    loss = head_loss(hidden, Wrapped(head) if wrapped else head, targets, weights, softcap, LEARNING[name])
    (2 * loss).backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    ours = {"hidden": hidden.grad / 2, "weight": head.weight.grad / 2, "bias": head.bias.grad / 2}
    for key, value in theirs.items():
        assert (ours[key] - value).norm() / value.norm() < 1e-5, key


@pytest.mark.parametrize("wrapped", [False, True])
def test_log_probabilities_and_hits(wrapped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.training.head.LOGITS_BYTES", 4 * 50 * 3)
    torch.manual_seed(2)
    plain = torch.nn.Linear(8, 50)
    head = Wrapped(plain) if wrapped else plain
    hidden, targets = torch.randn(10, 8, requires_grad=True), torch.randint(0, 50, (10,))
    factors = torch.randn(10)
    wanted = log_softmax(plain(hidden), 1).gather(1, targets[:, None])[:, 0]
    (theirs,) = torch.autograd.grad((wanted * factors).sum(), hidden)
    ours = head_log_probs(hidden, head, targets)
    (gradient,) = torch.autograd.grad((ours * factors).sum(), hidden)
    assert torch.allclose(ours, wanted, atol=1e-6)
    assert (gradient - theirs).norm() / theirs.norm() < 1e-5
    losses, hits = head_hits(hidden, head, targets)
    assert torch.allclose(losses, -wanted, atol=1e-6)
    assert hits.tolist() == (plain(hidden).argmax(1) == targets).tolist()


# Preferences


def make_pairs() -> list[Pair]:
    """Pairs on three prompts, two of which begin alike; one answer of one token."""
    draw = np.random.default_rng(4)
    start = draw.integers(1, VOCABULARY, 30)
    prompts = [
        start,
        np.concatenate([start, draw.integers(1, VOCABULARY, 20)]),
        draw.integers(1, VOCABULARY, 9),
    ]

    def answer(prompt: np.ndarray, size: int) -> Row:
        ids = np.concatenate([prompt, draw.integers(1, VOCABULARY, size)]).astype(np.int32)
        return Row(ids, np.arange(len(ids)) >= len(prompt))

    sizes = [(5, 9), (1, 12), (17, 3), (6, 6), (8, 2)]
    pairs = [
        Pair(answer(prompts[number % 3], one), answer(prompts[number % 3], two))
        for number, (one, two) in enumerate(sizes)
    ]
    return [pair.knowing(-20.0 - number, -25.0 + number) for number, pair in enumerate(pairs)]


def answer_log_prob(model: Any, row: Row) -> torch.Tensor:
    ids = torch.tensor(row.ids.tolist())
    logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1]
    chosen = log_softmax(logits, 1).gather(1, ids[1:, None])[:, 0]
    return chosen[torch.tensor(row.trained.tolist())[1:]].sum()


def pair_loss(model: Any, pair: Pair, beta: float, odds: bool) -> torch.Tensor:
    """DPO and ORPO as their papers write them."""
    chosen, rejected = answer_log_prob(model, pair.chosen), answer_log_prob(model, pair.rejected)
    if not odds:
        assert pair.reference
        return -logsigmoid(beta * ((chosen - pair.reference[0]) - (rejected - pair.reference[1])))
    likely = [
        (value / row.learned).exp() for value, row in ((chosen, pair.chosen), (rejected, pair.rejected))
    ]
    ratio = torch.log(likely[0] / (1 - likely[0])) - torch.log(likely[1] / (1 - likely[1]))
    return -chosen / pair.chosen.learned - beta * logsigmoid(ratio)


@pytest.mark.parametrize("family", ["llama", "phi3", "phi3 with a window", "qwen2"])
@pytest.mark.parametrize("odds", [False, True], ids=["dpo", "orpo"])
@pytest.mark.parametrize("budget", [50, 10_000])
def test_preferences_are_those_of_the_rows_one_by_one(family: str, odds: bool, budget: int) -> None:
    model, pairs = make_model(family), make_pairs()
    model.get_base_model().set_attn_implementation("sdpa")
    model.zero_grad()
    wanted = sum(pair_loss(model, pair, 0.3, odds) for pair in pairs)
    wanted.backward()
    theirs = gradients(model)
    model.zero_grad()
    objective = PreferenceLoss(model, 0.3, odds)
    made = list(cut(pairs, budget))
    total = sum(objective.summed(objective.tensors(pack)) for pack in made)
    total.backward()
    assert total.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert worst(gradients(model), theirs) < 1e-5
    computed = sum(pack.computed for pack in made)
    assert computed < sum(pair.tokens for pair in pairs) - 4 * 9  # each pair computes its prompt once


def test_pairs_of_both_rope_scales_are_computed_apart() -> None:
    draw = np.random.default_rng(5)
    prompt = draw.integers(1, VOCABULARY, 50)

    def answer(size: int) -> Row:
        ids = np.concatenate([prompt, draw.integers(1, VOCABULARY, size)]).astype(np.int32)
        return Row(ids, np.arange(len(ids)) >= len(prompt))

    model, pair = make_model("phi3 with LongRoPE"), Pair(answer(40), answer(5)).knowing(-1.0, -2.0)
    objective = PreferenceLoss(model, 0.3, odds=False)
    (pack,) = cut([pair], 10_000, 64)
    assert isinstance(pack, PairPack)
    assert len(pack.packs) == 2
    with torch.no_grad():
        answers = objective.answers(objective.tensors(pack))[:, 0].tolist()
        model.get_base_model().set_attn_implementation("sdpa")
        wanted = [answer_log_prob(model, row).item() for row in (pair.chosen, pair.rejected)]
    assert answers == pytest.approx(wanted, rel=1e-5)


def test_a_preference_s_measures() -> None:
    model, pairs = make_model("llama"), make_pairs()
    objective = PreferenceLoss(model, 0.3, odds=False)
    with torch.no_grad():
        measured = objective.measure(objective.tensors(pack) for pack in cut(pairs, 60))
        model.get_base_model().set_attn_implementation("sdpa")
        margins = []
        for pair in pairs:
            assert pair.reference
            gained = answer_log_prob(model, pair.chosen) - pair.reference[0]
            lost = answer_log_prob(model, pair.rejected) - pair.reference[1]
            margins.append(0.3 * (gained - lost).item())
    assert measured["margin"] == pytest.approx(np.mean(margins), rel=1e-4)
    assert measured["preference_accuracy"] == np.mean([margin > 0 for margin in margins])


# Classification


def make_texts() -> list[Labelled]:
    draw = np.random.default_rng(6)
    return [
        Labelled(draw.integers(1, VOCABULARY, size).astype(np.int32), size % 3)
        for size in (3, 30, 7, 12, 12, 1, 25)
    ]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_labels_are_learned_as_texts_one_by_one(smoothing: float) -> None:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    model = LlamaForSequenceClassification(LlamaConfig(**SIZES, num_labels=3))
    texts = make_texts()
    wanted = torch.zeros(())
    for text in texts:
        logits = model(torch.tensor(text.ids.tolist())[None]).logits
        wanted = wanted + cross_entropy(logits, torch.tensor([text.label]), label_smoothing=smoothing)
    wanted.backward()
    theirs = gradients(model)
    model.zero_grad()
    objective = LabelLoss(model, smoothing)
    packs = list(cut(texts, 40))
    assert len(packs) > 2
    assert all(pack.computed <= 40 for pack in packs)
    assert sum(pack.rows for pack in packs if isinstance(pack, Padded)) == len(texts)
    total = sum(objective.summed(objective.tensors(pack)) for pack in packs)
    total.backward()
    assert total.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert worst(gradients(model), theirs) < 1e-5


def test_scores_by_hand() -> None:
    """Class 0: 2 found, 2 wrongly given, 1 missed: F1 4/7. Class 1: 1, 1, 1: 1/2. Class 2: never found: 0."""
    found = scores([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 0])
    assert found == pytest.approx({"accuracy": 3 / 6, "macro_f1": (4 / 7 + 1 / 2) / 3})


# Noise


def test_the_noise_is_as_large_as_each_row_s_length_says() -> None:
    model = make_model("llama").train()
    draw = np.random.default_rng(7)
    start = draw.integers(1, VOCABULARY, 20)

    def row(more: int) -> Row:
        ids = np.concatenate([start, draw.integers(1, VOCABULARY, more)]).astype(np.int32)
        return Row(ids, np.arange(len(ids)) >= 10)

    pack = make_pack([row(12), row(80)])
    lengths = pack.row_lengths()
    assert sorted(set(lengths.tolist())) == [31.0, 99.0]  # the last token is only predicted
    assert (lengths[:20] == 99).all()
    objective = PackLoss(model, noise=5.0)
    batch = objective.tensors(pack)
    embedded = model.get_input_embeddings()(batch["input_ids"])
    noise = (objective._entering(batch)["inputs_embeds"] - embedded)[0].detach()
    limit = 5 / np.sqrt(lengths * embedded.shape[-1])
    largest = noise.abs().max(1).values.numpy() / limit
    assert largest.max() <= 1 + 1e-4
    assert largest.min() > 0.7
    model.eval()
    assert objective._entering(batch).keys() == {"input_ids"}
    assert "row_lengths" not in pack_tensors(pack)


def test_rows_know_their_size() -> None:
    pairs = make_pairs()
    rows = Rows(tuple(pairs), 0, 0)
    assert rows.tokens == sum(len(pair.chosen.ids) + len(pair.rejected.ids) for pair in pairs)
    assert rows.learned == 14 + 13 + 20 + 12 + 10
