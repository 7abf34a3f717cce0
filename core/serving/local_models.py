"""The models that a chat holds in memory. For worker processes: it loads torch.

Sides with the same base share one set of weights as far as that is exact: the base is the model with its adapter
switched off, and LoRA adapters lie beside each other. Whole weights, and adapters of other kinds, are models of
their own.
"""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core import devices
from core.errors import FinetuiError
from core.serving.placing import VALUE_BYTES, place

SPARE = 1.1
"""Memory that must be free for a model, as a multiple of its weights: a conversation's keys and values come on top."""

Stamp = tuple[tuple[str, int, int], ...]


class ModelError(FinetuiError):
    """The models of a chat don't fit into memory."""


@dataclass(frozen=True)
class LocalSide:
    """A model on this machine.

    Args:
        model_folder: the base.
        adapter: what was trained, an adapter or whole weights; None for the base itself.
        renderer: whose tokenizer and template are used.
    """

    model_folder: Path
    adapter: Path | None
    renderer: Path

    def request(self) -> dict[str, str | None]:
        """For the pipe to the worker; `of` reads it."""
        adapter = None if self.adapter is None else str(self.adapter)
        return {"model_folder": str(self.model_folder), "adapter": adapter, "renderer": str(self.renderer)}

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> LocalSide:
        """The side that a request describes."""
        adapter = request["adapter"]
        return cls(
            Path(request["model_folder"]), Path(adapter) if adapter else None, Path(request["renderer"])
        )

    @property
    def is_adapter(self) -> bool:
        return self.adapter is not None and (self.adapter / "adapter_config.json").exists()

    @property
    def weights(self) -> Path:
        """The folder of the whole weights that it needs."""
        return self.adapter if self.adapter is not None and not self.is_adapter else self.model_folder


Adapter = tuple[Path, Stamp]


@dataclass
class _Weights:
    """One set of weights and the adapters on it, by what they were when they were read.

    Attributes:
        names: of the adapters, by what they are.
        loaded: names of those that are in memory.
        alone: its adapter bears no other beside it.
    """

    folder: Path
    stamp: Stamp
    model: Any = None
    names: dict[Adapter, str] = field(default_factory=dict)
    loaded: set[str] = field(default_factory=set)
    alone: bool = False
    _counted: int = 0

    def takes(self, adapter: Adapter) -> bool:
        """Whether an adapter is here or can lie beside those that are."""
        return adapter in self.names or not self.names or (not self.alone and _shares(adapter[0]))

    def name(self, adapter: Adapter) -> str:
        """An adapter's name, a new one for a new one."""
        if adapter not in self.names:
            self._counted += 1
            self.names[adapter] = f"side{self._counted}"
            self.alone = not _shares(adapter[0])
        return self.names[adapter]

    def drop_but(self, wanted: set[str]) -> None:
        """Free adapters that nobody wants; the last one stays, since weights can't be freed of it."""
        for adapter, name in list(self.names.items()):
            if name not in wanted and len(self.loaded) > 1:
                self.loaded.discard(name)
                self.model.set_adapter(min(self.loaded), inference_mode=True)  # peft warns of an active one
                self.model.delete_adapter(name)
                del self.names[adapter]


class Models:
    """At most what the sides of one chat need.

    Attributes:
        device: where they are, None before the first was loaded.
    """

    def __init__(self) -> None:
        self.device: Any = None
        self._precision = ""
        self._all: list[_Weights] = []
        self._sides: dict[LocalSide, tuple[_Weights, str]] = {}
        self._renderers: dict[LocalSide, Any] = {}

    def forget(self, sides: Sequence[LocalSide] = ()) -> None:
        """Free what none of these sides needs."""
        weights = {(side.weights, _stamp(side.weights)) for side in sides}
        adapters = {_adapter(side) for side in sides}
        self._sides, self._renderers = {}, {}
        kept = [
            item
            for item in self._all
            if (item.folder, item.stamp) in weights and (not item.alone or adapters & set(item.names))
        ]
        if len(kept) < len(self._all):
            self._all = kept
            gc.collect()
            if self.device is not None:
                from accelerate.utils.memory import clear_device_cache

                from core.training.memory import give_back_freed

                clear_device_cache()
                give_back_freed()

    def load(self, sides: Sequence[LocalSide]) -> Generator[str, None, None]:
        """Have exactly these sides in memory; yields what is being done, and between two steps may be given up.

        Nothing is in memory after an error.

        Raises:
            ModelError: they don't fit into the free memory.
            FinetuiError: of a model, naming what is wrong.
        """
        self.forget(sides)
        yield "starting torch"
        precision = self._settle()
        from core.data.rendering import Renderer

        try:
            placed = self._place(sides)
            new = [item for item in self._all if item.model is None]
            self._check_room(new, precision)
            for item in new:
                yield f"loading {_name(item.folder)}"
                item.model = self._read(item.folder, precision)
            for side, (item, name) in placed.items():
                if name and name not in item.loaded:
                    yield f"loading the adapter of {_name(side.renderer)}"
                    self._add(item, side, name)
            for item in self._all:
                item.drop_but({name for other, name in placed.values() if other is item})
            self._renderers = {side: Renderer.from_folder(side.renderer) for side in placed}
        except BaseException:
            self.forget()
            raise
        self._sides = placed

    def _place(self, sides: Sequence[LocalSide]) -> dict[LocalSide, tuple[_Weights, str]]:
        """Which weights each side gets, and the name of its adapter on them; makes room for what is missing."""
        placed: dict[LocalSide, tuple[_Weights, str]] = {}
        for side in sides:
            stamp, adapter = _stamp(side.weights), _adapter(side)
            fitting = [
                item
                for item in self._all
                if (item.folder, item.stamp) == (side.weights, stamp) and (not adapter or item.takes(adapter))
            ]
            item = fitting[0] if fitting else self._new(side.weights, stamp)
            placed[side] = item, item.name(adapter) if adapter else ""
        return placed

    def _new(self, folder: Path, stamp: Stamp) -> _Weights:
        item = _Weights(folder, stamp)
        self._all.append(item)
        return item

    def _settle(self) -> str:
        """Choose the device, once; returns the precision there."""
        if self.device is None:
            self.device, self._precision = place()
        return self._precision

    def _check_room(self, new: Sequence[_Weights], precision: str) -> None:
        """Raise when the weights that are missing are more than is free."""
        from core.training.memory import read_shape

        needs = [read_shape(item.folder).parameters * VALUE_BYTES[precision] for item in new]
        free = self._free_bytes()
        if SPARE * sum(needs) > free:
            each = " and ".join(f"{need / 1e9:.1f} GB" for need in needs)
            raise ModelError(
                f"The models don't fit into memory: they take {each}, free are {free / 1e9:.1f} GB.",
                "Sides with different bases are loaded beside each other.",
                "Close what else uses memory, choose sides with the same base, or talk to one (b hides the other).",
            )

    def _free_bytes(self) -> int:
        if self.device.type == "cuda":
            import torch

            return int(torch.cuda.mem_get_info()[0])
        return devices.memory("cpu")[0]

    def _read(self, folder: Path, precision: str) -> Any:
        from core.training.adapters import load_base

        return load_base(folder, precision, self.device)

    def _add(self, item: _Weights, side: LocalSide, name: str) -> None:
        from peft import PeftModel

        if item.loaded:
            item.model.load_adapter(str(side.adapter), adapter_name=name)
        else:
            item.model = PeftModel.from_pretrained(item.model, str(side.adapter), adapter_name=name)
        item.model.eval()
        item.loaded.add(name)

    def renderer(self, side: LocalSide) -> Any:
        """The side's renderer."""
        return self._renderers[side]

    @contextlib.contextmanager
    def model(self, side: LocalSide) -> Iterator[Any]:
        """The side's model, in eval mode; until it is given back no other side on the same weights is to be used."""
        item, name = self._sides[side]
        if name:
            item.model.set_adapter(name, inference_mode=True)
            yield item.model
        elif item.loaded:
            with item.model.disable_adapter():
                yield item.model
        else:
            yield item.model


def _stamp(folder: Path) -> Stamp:
    """What a model's files are, without reading them: a run that goes on writes others in their place."""
    found = [(file.name, file.stat()) for file in sorted(folder.glob("*.safetensors"))]
    return tuple((name, info.st_size, info.st_mtime_ns) for name, info in found)


def _adapter(side: LocalSide) -> Adapter | None:
    return (side.adapter, _stamp(side.adapter)) if side.adapter is not None and side.is_adapter else None


def _shares(folder: Path) -> bool:
    """Whether an adapter leaves all weights alone but those it adds, so that others can lie beside it."""
    config = json.loads((folder / "adapter_config.json").read_bytes())
    return bool(
        config.get("peft_type") == "LORA"
        and config.get("bias", "none") == "none"
        and not config.get("modules_to_save")
        and not config.get("trainable_token_indices")
    )


def _name(folder: Path) -> str:
    """What a model's folder is called: of a run's model the run, of a checkpoint its step too."""
    if folder.name == "model":
        return folder.parent.name
    if folder.name.startswith("step-"):
        return f"{folder.parent.parent.name} @{folder.name.removeprefix('step-')}"
    return folder.name
