"""The loss of the trained tokens of a pack."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from transformers import PreTrainedModel

from core.errors import FinetuiError
from core.training.cutting import AnyPack
from core.training.dataset import pack_tensors
from core.training.head import (
    CROSS_ENTROPY,
    Learning,
    active_head,
    head_hits,
    head_log_probs,
    head_loss,
    number_format,
)
from core.training.rows import Row
from core.training.tree import Pack, make_pack
from core.training.tree_attention import NAME

CLOSE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 1e-2}
"""How far two ways to one loss may differ, relative to it, by the weights' number format."""


def bare_model(model: Any) -> Any:
    """The transformers model itself, without what peft puts around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class PackingError(FinetuiError):
    """The model computes something that packing does not know of."""


class PackLoss:
    """Computes packs with a causal language model: the objective of the tasks `chat` and `completion`.

    Args:
        model: the model, bare or with a peft adapter on it. Its attention is set to that of trees.
        learning: which loss training takes; what is measured is always cross-entropy.
        noise: NEFTune's alpha, 0 for none.
    """

    def __init__(self, model: Any, learning: Learning = CROSS_ENTROPY, noise: float = 0.0) -> None:
        bare = bare_model(model)
        self._bare: PreTrainedModel = bare
        self._decoder = bare.get_decoder()
        self._softcap = getattr(bare.config.get_text_config(), "final_logit_softcapping", None)
        self._learning = learning
        self._noise = noise

    @property
    def head(self) -> Any:
        """The output layer as it is now."""
        return active_head(self._bare.get_output_embeddings())

    @property
    def device(self) -> torch.device:
        """The model's."""
        device: torch.device = self._bare.device
        return device

    def tensors(self, pack: AnyPack, device: torch.device | None = None) -> dict[str, Any]:
        """A pack for `summed`: see `dataset.pack_tensors`."""
        assert isinstance(pack, Pack)
        batch = pack_tensors(pack, device)
        if self._noise:
            batch["row_lengths"] = torch.from_numpy(pack.row_lengths()).to(device)
        return batch

    def predicting(self, batch: dict[str, Any]) -> torch.Tensor:
        """Hidden states that predict a trained token, shape (targets, width), in the head's number format.

        The cache is off: with it on, packed rows see each other.

        Args:
            batch: as `dataset.pack_tensors` makes it, on the model's device.
        """
        if self._bare.config._attn_implementation != NAME:
            self._bare.set_attn_implementation(NAME)
        hidden = self._decoder(
            **self._entering(batch),
            position_ids=batch["position_ids"],
            tree=batch["tree"],
            predictors=batch["predictors"],
            use_cache=False,
        ).last_hidden_state[0]
        if len(hidden) == len(batch["input_ids"][0]):  # a fused last layer has kept the predictors only
            hidden = hidden[batch["predictors"]]
        return hidden.to(number_format(self.head))

    def _entering(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Token ids; while training with noise their embeddings instead (NEFTune, arXiv 2310.05914)."""
        if not self._noise or not self._bare.training:
            return {"input_ids": batch["input_ids"]}
        embedded = self._bare.get_input_embeddings()(batch["input_ids"])
        size = self._noise / (batch["row_lengths"] * embedded.shape[-1]).sqrt()
        noise = torch.empty_like(embedded).uniform_(-1, 1) * size[None, :, None].to(embedded.dtype)
        return {"inputs_embeds": embedded + noise}

    def summed(self, batch: dict[str, Any]) -> torch.Tensor:
        """Sum of the losses of a pack's trained tokens, each counted for every row that learns it.

        The caller divides by the trained tokens of the whole step.

        Returns:
            A float32 scalar.
        """
        return self._summed(batch, self._learning)

    def _summed(self, batch: dict[str, Any], learning: Learning) -> torch.Tensor:
        hidden = self.predicting(batch)
        with torch.autocast(hidden.device.type, enabled=False):
            return head_loss(hidden, self.head, batch["targets"], batch["weights"], self._softcap, learning)

    def log_probs(self, batch: dict[str, Any]) -> torch.Tensor:
        """Log probability of each target, float32, shape (targets,)."""
        hidden = self.predicting(batch)
        with torch.autocast(hidden.device.type, enabled=False):
            return head_log_probs(hidden, self.head, batch["targets"], self._softcap)

    def measure(self, batches: Iterable[dict[str, Any]]) -> dict[str, float]:
        """`loss` (cross-entropy) and `token_accuracy` over all trained tokens of some packs."""
        loss = hits = tokens = 0.0
        for batch in batches:
            hidden, weights = self.predicting(batch), batch["weights"]
            with torch.autocast(hidden.device.type, enabled=False):
                losses, right = head_hits(hidden, self.head, batch["targets"], self._softcap)
            loss += (losses * weights).sum().item()
            hits += (right * weights).sum().item()
            tokens += weights.sum().item()
        return {"loss": loss / tokens, "token_accuracy": hits / tokens}

    def prove(self, rows: list[Row]) -> None:
        """Compute two short rows with one beginning both ways, packed and by the model's own forward pass.

        Raises:
            PackingError: the losses differ: this model does something that packing leaves out.
        """
        device = self.device
        with torch.no_grad():
            packed = self._summed(pack_tensors(make_pack(rows), device), CROSS_ENTROPY).item()
            self._bare.set_attn_implementation("sdpa")
            own = sum(self._own_loss(row, device) for row in rows)
        if abs(packed - own) > CLOSE[number_format(self.head)] * abs(own):
            raise PackingError(
                f"Packed rows give another loss than single ones with {type(self._bare).__name__}.",
                f"{packed:.6f} against {own:.6f}: the model's attention or head does something of its own.",
                "Choose another model; `finetui models list` has those that are known to work.",
            )

    def _own_loss(self, row: Row, device: torch.device) -> float:
        ids = torch.tensor(row.ids.tolist(), device=device)
        trained = torch.tensor(row.trained.tolist(), device=device)[1:]
        logits = self._bare(input_ids=ids[None], use_cache=False).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits[trained].float(), ids[1:][trained], reduction="sum")
        return float(loss)
