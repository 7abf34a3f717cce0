"""A run's model as a folder for other programs: adapter, merged weights, or what Ollama takes.

Runs in the export worker, since merging needs torch. What is written loads without finetui.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from core.data.rendering import Renderer
from core.training import model_card
from core.training.export_folder import check_out, folder_bytes, written_aside
from core.training.export_source import (
    ExportError,
    Source,
    check_base,
    copy_from_base,
    copy_tokenizer,
    read,
    weights_bytes,
)
from core.training.memory import read_shape
from core.training.saved import ADAPTER_FILES, ON_NF4

To = Literal["adapter", "merged", "ollama"]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        path: the folder.
        to: adapter, merged or ollama.
        bytes: size of its files.
        fidelity: of merged weights, the values of `Fidelity` by name; None where nothing was merged.
        notes: what the user should know, in sentences.
    """

    path: str
    to: str
    bytes: int
    fidelity: dict[str, Any] | None
    notes: tuple[str, ...]


def export(run: Path, folder: Path, to: To, out: Path, dtype: str = "auto") -> Generator[str, None, Exported]:
    """Write a run's model into a new folder; yields what it is doing.

    Args:
        run: the run's directory.
        folder: its model or one of its checkpoints.
        to: what to write.
        out: the new folder, an absolute path.
        dtype: of merged weights, as torch calls it; `auto` is the base's own.

    Raises:
        ExportError: it can't be exported so; nothing is left behind.
    """
    check_out(out)
    source = read(run, folder)
    _refuse(source, to)
    needed = folder_bytes(source.folder)
    if to != "adapter" and source.kind == "adapter":
        yield "checking the base model"
        check_base(source)
        needed = weights_bytes(source.base) if dtype == "auto" else _bytes_as(source.base, dtype)
    with written_aside(out, needed) as aside:
        fidelity, notes = yield from _write(source, to, aside, dtype)
    return Exported(str(out), to, folder_bytes(out), fidelity, notes)


def _bytes_as(folder: Path, dtype: str) -> int:
    """Size of a model's weights in another format, on the disk."""
    import torch

    return int(read_shape(folder).parameters * getattr(torch, dtype).itemsize)


def _refuse(source: Source, to: To) -> None:
    if to == "adapter" and source.kind == "full":
        raise ExportError(
            "This run has no adapter.",
            "It trained the model's own weights.",
            "Export `--to merged`, which copies them, or `--to ollama`.",
        )
    if to == "ollama":
        from core.training.export_ollama import refuse_task

        refuse_task(source)


def _write(
    source: Source, to: To, out: Path, dtype: str
) -> Generator[str, None, tuple[dict[str, Any] | None, tuple[str, ...]]]:
    """The files; returns fidelity and notes."""
    copy_tokenizer(source, out)
    fidelity = None
    notes: tuple[str, ...] = (source.base_note,) if source.base_note else ()
    if to == "adapter":
        for name in ADAPTER_FILES:
            shutil.copyfile(source.folder / name, out / name)
        if (source.folder / ON_NF4).is_dir():
            shutil.copytree(source.folder / ON_NF4, out / ON_NF4, copy_function=shutil.copyfile)
    else:
        fidelity = yield from _whole(source, out, dtype)
        copy_from_base(source, out)
    if to == "ollama":
        from core.training.export_ollama import write_modelfile

        yield "writing the Modelfile"
        notes += write_modelfile(source, out)
    (out / "README.md").write_text(model_card.card(source, to, fidelity), encoding="utf-8")
    return fidelity, notes


def _whole(source: Source, out: Path, dtype: str) -> Generator[str, None, dict[str, Any] | None]:
    """All weights; returns how near they are to base and adapter, None where they are a copy."""
    from core.training import export_merge

    if source.kind == "full":
        yield "copying the weights"
        export_merge.copy_full(source, out)
        return None
    chats = source.task not in ("completion", "classification")
    renderer = Renderer.from_folder(out, conversations=chats)
    return asdict((yield from export_merge.merge(source, renderer, out, dtype)))
