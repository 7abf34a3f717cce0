"""Learning the class of a text: a head over the last token's hidden state, on texts filled up to one length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from core.training.cutting import AnyPack, Padded


class LabelLoss:
    """The objective of the task `classification`.

    Args:
        model: a transformers model for sequence classification, bare or with an adapter on it.
        smoothing: share of the target spread evenly over the classes.
    """

    def __init__(self, model: Any, smoothing: float) -> None:
        self._model = model
        self._smoothing = smoothing
        self._pad = int(model.config.get_text_config().pad_token_id)

    def tensors(self, pack: AnyPack, device: torch.device | None = None) -> dict[str, Any]:
        """Texts for `summed`.

        Returns:
            `input_ids` and `attention_mask` (int64, shape (texts, longest)), `labels` (int64, shape (texts,)), and the
            numbers of `dataset.pack_tensors`.
        """
        assert isinstance(pack, Padded)
        longest = max(text.tokens for text in pack.texts)
        ids = np.full((pack.rows, longest), self._pad, dtype=np.int64)
        attention = np.zeros_like(ids)
        for number, text in enumerate(pack.texts):
            ids[number, : text.tokens] = text.ids
            attention[number, : text.tokens] = 1
        return {
            "input_ids": torch.from_numpy(ids).to(device),
            "attention_mask": torch.from_numpy(attention).to(device),
            "labels": torch.tensor([text.label for text in pack.texts], device=device),
            "rows": pack.rows,
            "computed": pack.computed,
            "tokens": pack.row_tokens,
            "trained": pack.rows,
            "weight": pack.rows,
        }

    def logits(self, batch: dict[str, Any]) -> torch.Tensor:
        """Of each text and class, float32, shape (texts, classes)."""
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        logits: torch.Tensor = self._model(**inputs, use_cache=False).logits
        return logits.float()

    def summed(self, batch: dict[str, Any]) -> torch.Tensor:
        """Sum of the texts' cross-entropies; the caller divides by the texts of the whole step."""
        return cross_entropy(
            self.logits(batch), batch["labels"], reduction="sum", label_smoothing=self._smoothing
        )

    def measure(self, batches: Iterable[dict[str, Any]]) -> dict[str, float]:
        """`loss` (cross-entropy), `accuracy` and `macro_f1`."""
        loss, wanted, given = 0.0, [], []
        for batch in batches:
            logits = self.logits(batch)
            loss += cross_entropy(logits, batch["labels"], reduction="sum").item()
            wanted += batch["labels"].tolist()
            given += logits.argmax(1).tolist()
        return {"loss": loss / len(wanted), **scores(wanted, given)}


def scores(wanted: Sequence[int], given: Sequence[int]) -> dict[str, float]:
    """Share of right answers, and the mean over the classes of each one's F1 (scikit-learn)."""
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "accuracy": float(accuracy_score(wanted, given)),
        "macro_f1": float(f1_score(wanted, given, average="macro", zero_division=0)),
    }
