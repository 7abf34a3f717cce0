"""The loss: cross-entropy of the trained tokens of a pack."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from core.errors import FinetuiError
from core.training.dataset import pack_tensors
from core.training.head import head_loss
from core.training.rows import Row
from core.training.tree import make_pack
from core.training.tree_attention import NAME

CLOSE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 1e-2}
"""How far two ways to one loss may differ, relative to it, by the weights' number format."""


class PackingError(FinetuiError):
    """The model computes something that packing does not know of."""


class PackLoss:
    """Computes packs with a causal language model.

    Args:
        model: the model, bare or with a peft adapter on it. Its attention is set to that of trees.
    """

    def __init__(self, model: Any) -> None:
        bare = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._bare: PreTrainedModel = bare
        self._decoder = bare.get_decoder()
        self._head = bare.get_output_embeddings()
        self._softcap = getattr(bare.config.get_text_config(), "final_logit_softcapping", None)

    def summed(self, batch: dict[str, Any]) -> torch.Tensor:
        """Sum of the cross-entropies of a pack's trained tokens, each counted for every row that learns it.

        The caller divides by the trained tokens of the whole step. The cache is off: with it on, packed rows
        see each other.

        Args:
            batch: as `dataset.pack_tensors` makes it, on the model's device.

        Returns:
            A float32 scalar.
        """
        if self._bare.config._attn_implementation != NAME:
            self._bare.set_attn_implementation(NAME)
        hidden = self._decoder(
            input_ids=batch["input_ids"],
            position_ids=batch["position_ids"],
            tree=batch["tree"],
            predictors=batch["predictors"],
            use_cache=False,
        ).last_hidden_state[0]
        if len(hidden) == len(batch["input_ids"][0]):  # a fused last layer has kept the predictors only
            hidden = hidden[batch["predictors"]]
        with torch.autocast(hidden.device.type, enabled=False):
            predicting = hidden.to(self._head.weight.dtype)
            return head_loss(predicting, self._head, batch["targets"], batch["weights"], self._softcap)

    def prove(self, rows: list[Row]) -> None:
        """Compute two short rows with one beginning both ways, packed and by the model's own forward pass.

        Raises:
            PackingError: the losses differ: this model does something that packing leaves out.
        """
        device = self._head.weight.device
        with torch.no_grad():
            batch = pack_tensors(make_pack(rows), device)
            packed = self.summed(batch).item()
            self._bare.set_attn_implementation("sdpa")
            own = sum(self._own_loss(row, device) for row in rows)
        if abs(packed - own) > CLOSE[self._head.weight.dtype] * abs(own):
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
