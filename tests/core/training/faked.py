"""A training step on a GPU that is not there: torch's fake tensors, and what they would take of its memory.

The step is the product's own: `StepTrainer._through` on its model, adapter, objective and packs, under autocast, then
clipping and the optimiser. Two things can't be faked and are stood in for by what they keep and give:
flex_attention, which compiles itself, and the inside of kernels.
"""

from __future__ import annotations

import json
import math
import struct
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bitsandbytes
import pytest
import torch
import transformers
from bitsandbytes.functional import QuantState
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from core.recipe import Recipe
from core.training import methods, tree_attention
from core.training.adapters import DTYPES, computing
from core.training.cutting import cut
from core.training.fused_layers import fuse
from core.training.objectives import make_objective
from core.training.plan import choose_budget, steps_of
from core.training.rows import Row
from core.training.trainer import StepTrainer

BLOCK_BYTES = 512
"""What torch's allocator for CUDA rounds up to."""

CPU = torch.device("cpu")


class LiveBytes(TorchDispatchMode):
    """Bytes of all storages that are alive, and the most there have been."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known = WeakIdKeyDictionary()

    def add(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage, once, until it is freed."""
        storage = tensor.untyped_storage()
        if storage not in self._known:
            size = -(-storage.nbytes() // BLOCK_BYTES) * BLOCK_BYTES
            self._known[storage] = size
            weakref.finalize(storage, self._drop, size)
            self.now += size
            self.peak = max(self.peak, self.now)

    def _drop(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for item in tree_leaves(result):
            if isinstance(item, torch.Tensor):
                self.add(item)
        return result


class BlocksStandIn(torch.autograd.Function):
    """Keeps and gives what flex_attention does (torch/_higher_order_ops/flex_attention.py)."""

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, *_: Any) -> torch.Tensor:
        output = query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
        sums = query.new_empty(query.shape[:3], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, output, sums)
        return output

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, _, sums = ctx.saved_tensors
        _ = torch.empty_like(sums)
        return (*(torch.empty_like(item) for item in (query, key, value)), None, None, None)


@dataclass(frozen=True)
class Taken:
    """Bytes of a GPU's memory."""

    peak: int
    weights: int
    """Of the base model."""
    settled: int
    """After a step: weights, adapter, optimiser."""


def train(config: Any, recipe: Recipe, rows: list[Row], precision: str = "bf16") -> Taken:
    """Two steps of a recipe, the second with the optimiser's moments from the first."""
    mode = FakeTensorMode()
    model = _on_meta(config, recipe, precision)
    weights = sum(map(_bytes, {id(item): item for item in model.parameters()}.values()))
    model = methods.prepare(model, recipe)
    if recipe.value("method") == "lora":
        fuse(model)
    if recipe.value("gradient_checkpointing"):
        model.activation_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    _fake(model, mode)
    objective = make_objective(recipe, model.train())
    live = LiveBytes()
    with pytest.MonkeyPatch.context() as patch, mode, _autocast_of_a_gpu(precision):
        patch.setattr(tree_attention, "LeanAttention", BlocksStandIn)
        for item in (*model.parameters(), *model.buffers(), *_states(model)):
            live.add(item)
        with live:
            trained = [item for item in model.parameters() if item.requires_grad]
            optimizer = torch.optim.AdamW(trained, fused=True)
            for step in steps_of(recipe, rows).steps[:2]:
                packs = cut([rows[row] for row in step], choose_budget(recipe, "cuda"))
                batches = [_batch(objective.tensors(pack), mode) for pack in packs]
                StepTrainer._through(_trainer(objective, precision), batches, 100)  # type: ignore[arg-type]
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                optimizer.zero_grad()
        return Taken(live.peak, weights, live.now)


def _bytes(item: torch.Tensor) -> int:
    state = getattr(item, "quant_state", None)
    return item.numel() * item.element_size() + (sum(map(_bytes, _tensors(state))) if state else 0)


def _trainer(objective: Any, precision: str) -> Any:
    """What `_through` needs of a trainer."""
    accelerator = SimpleNamespace(
        autocast=lambda: computing(CPU, precision), backward=lambda loss: loss.backward()
    )
    return SimpleNamespace(
        ranks=SimpleNamespace(size=1, sharded=False), args=SimpleNamespace(device=CPU), objective=objective,
        accelerator=accelerator, _prepare_inputs=lambda batch: batch,
    )  # fmt: skip


@contextmanager
def _autocast_of_a_gpu(precision: str) -> Iterator[None]:
    """peft asks whether a GPU's autocast is on; the fake tensors claim to be on a CPU, as torch without CUDA can't go
    back through others."""
    torch.set_autocast_enabled("cuda", precision != "fp32")
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)


def _batch(batch: dict[str, Any], mode: FakeTensorMode) -> dict[str, Any]:
    return {
        name: mode.from_tensor(item) if isinstance(item, torch.Tensor) else item
        for name, item in batch.items()
    }


def _on_meta(config: Any, recipe: Recipe, precision: str) -> Any:
    """A model without values, loaded as `adapters.load_base` would."""
    torch.set_default_dtype(DTYPES[methods.weights_precision(recipe, precision)])
    try:
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config)
            if recipe.quantization == "nf4":
                _quantize(model, DTYPES[precision])
    finally:
        torch.set_default_dtype(torch.float32)
    return model


def _quantize(model: Any, dtype: torch.dtype) -> None:
    """NF4 with scales that are quantised too, as bitsandbytes lays it out."""
    for name, layer in list(model.get_decoder().layers.named_modules()):
        if not isinstance(layer, torch.nn.Linear):
            continue
        made = bitsandbytes.nn.Linear4bit(
            layer.in_features, layer.out_features, layer.bias is not None, dtype, quant_type="nf4"
        )
        scales = layer.weight.numel() // 64
        float32 = torch.float32
        nested = QuantState(
            torch.empty(-(-scales // 256), dtype=float32),
            code=torch.empty(256, dtype=float32),
            blocksize=256,
            dtype=float32,
        )
        weight = torch.nn.Parameter(torch.empty(layer.weight.numel() // 2, 1, dtype=torch.uint8), False)
        weight.quant_state = QuantState(  # type: ignore[attr-defined]
            torch.empty(scales, dtype=torch.uint8), layer.weight.shape,
            torch.empty(16, dtype=float32), 64, "nf4", dtype, torch.empty((), dtype=float32), nested,
        )  # fmt: skip
        weight.compress_statistics, weight.quant_type = True, "nf4"  # type: ignore[attr-defined]
        made.weight = weight
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_decoder().layers.get_submodule(parent), leaf, made)
    model.is_loaded_in_4bit = True


def _states(model: Any) -> list[torch.Tensor]:
    found = (getattr(item, "quant_state", None) for item in model.parameters())
    return [tensor for state in found if state is not None for tensor in _tensors(state)]


def _tensors(state: QuantState) -> list[torch.Tensor]:
    return [state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code]


def _fake(model: Any, mode: FakeTensorMode) -> None:
    """Put fake tensors in place of those without values; shared ones stay shared."""
    made: dict[int, torch.Tensor] = {}

    def faked(item: torch.Tensor) -> torch.Tensor:
        if id(item) not in made:
            fake = FakeTensor(mode, item.detach(), CPU)
            if isinstance(item, torch.nn.Parameter):
                fake = torch.nn.Parameter(fake, item.requires_grad)
                if (state := getattr(item, "quant_state", None)) is not None:
                    fake.quant_state = _faked_state(state, mode)
            made[id(item)] = fake
        return made[id(item)]

    kept = []
    for part in model.modules():
        for tensors in (part._parameters, part._buffers):
            for name, item in tensors.items():
                if item is not None:
                    kept.append(item)  # so that no number is given out twice
                    tensors[name] = faked(item)


def _faked_state(state: QuantState, mode: FakeTensorMode) -> QuantState:
    def fake(item: torch.Tensor) -> torch.Tensor:
        return FakeTensor(mode, item, CPU)

    nested = state.state2
    return QuantState(
        fake(state.absmax), state.shape, fake(state.code), state.blocksize, state.quant_type, state.dtype,
        fake(state.offset),
        QuantState(fake(nested.absmax), code=fake(nested.code), blocksize=nested.blocksize, dtype=nested.dtype),
    )  # fmt: skip


def write_shape(folder: Path, config: Any) -> Path:
    """A model folder with all sizes and no weights: a safetensors file that is a header and a hole."""
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    header, end = {}, 0
    tied = set(getattr(model, "_tied_weights_keys", None) or ()) if config.tie_word_embeddings else set()
    for name, item in model.state_dict().items():
        if name not in tied:
            size = 2 * math.prod(item.shape)
            header[name] = {"dtype": "BF16", "shape": list(item.shape), "data_offsets": [end, end + size]}
            end += size
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return folder
