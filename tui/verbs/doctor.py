"""`finetui doctor`: what this machine has, and what could be in the way."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from dataclasses import asdict
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from tui.verbs.output import errors_told, out, out_json

LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "tokenizers",
    "textual",
    "pydantic",
    "huggingface-hub",
)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("doctor")(doctor)


def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Name GPUs, memory, disk, libraries, tokens, and what could end a run."""
    with errors_told():
        found = examine()
        if json:
            out_json(found)
            return
        out(f"finetui    {found['finetui']} on Python {found['python']}, {found['system']}")
        free, total = found["memory_free"] / 1e9, found["memory"] / 1e9
        out(f"cpu        {found['cores']} cores, {free:.1f} of {total:.1f} GB free")
        for gpu in found["gpus"]:
            out(f"gpu        cuda:{gpu['index']} {gpu['name']}, {gpu['free_bytes'] / 1e9:.1f} of "
                f"{gpu['total_bytes'] / 1e9:.1f} GB free, {gpu['uuid']}")  # fmt: skip
            for process in gpu["processes"]:
                out(f"           {process['words']}")
        if not found["gpus"]:
            out("gpu        none that finetui can see: runs train on the CPU")
        out(f"torch      {_torch_words(found)}")
        for place, facts in found["places"].items():
            state = "" if facts["writable"] else "  NOT WRITABLE: set FINETUI_HOME to a folder that is"
            out(f"{place:<10} {facts['path']}, {facts['free_bytes'] / 1e9:.1f} GB free{state}")
        out("libraries  " + ", ".join(f"{name} {version}" for name, version in found["libraries"].items()))
        out(
            "models     "
            + (", ".join(found["models"]) or "none yet: `finetui models fetch smollm2-135m-instruct`")
        )
        for name, is_set in found["tokens"].items():
            hint = "is set" if is_set else "none (gated models need one: `hf auth login`, or HF_TOKEN)"
            out(f"token      {name}: {hint}")
        for risk in found["risks"]:
            out(f"risk       {risk}")


def examine() -> dict[str, Any]:
    """Everything `doctor` tells, as data. Token values are never read, only whether they are set."""
    import psutil
    from huggingface_hub import get_token

    from core import catalog, devices, paths
    from core.catalog.fetch import resolve
    from core.runs.supervisor import survival_risks

    memory = psutil.virtual_memory()
    return {
        "finetui": metadata.version("finetui"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "executable": sys.executable,
        "cores": os.cpu_count(),
        "memory": memory.total,
        "memory_free": memory.available,
        "gpus": [
            {
                **asdict(gpu),
                "processes": [
                    {**asdict(item), "words": item.words} for item in devices.processes(gpu.device)
                ],
            }
            for gpu in devices.gpus()
        ],
        "torch_cuda": torch_cuda(),
        "places": {
            name: _place(path) for name, path in (("data", paths.data_dir()), ("cache", paths.cache_dir()))
        },
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        "models": [entry.id for entry in catalog.entries() if resolve(entry.id).folder],
        "tokens": {"Hugging Face": get_token() is not None},
        "risks": survival_risks(),
    }


def torch_cuda() -> str:
    """The CUDA version that the installed torch was built for; empty for one without. Torch is not imported."""
    spec = find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    built = re.search(r"""^cuda\b[^=]*= *['"]([\d.]+)['"]""", text, re.MULTILINE)
    return built.group(1) if built else ""


def _torch_words(found: dict[str, Any]) -> str:
    if found["torch_cuda"]:
        return f"built for CUDA {found['torch_cuda']}"
    if found["gpus"]:
        return "BUILT WITHOUT CUDA: it can't use the GPU; install the build that pytorch.org names for your driver"
    return "built without CUDA: trains on the CPU"


def _place(path: Any) -> dict[str, Any]:
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    return {
        "path": str(path),
        "free_bytes": shutil.disk_usage(there).free,
        "writable": os.access(there, os.W_OK | os.X_OK),
    }
