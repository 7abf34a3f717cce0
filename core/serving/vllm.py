"""vLLM as the engine behind a gateway: one process with the base and its adapters, on a Unix socket.

Not yet run on a GPU. What is used of it was read in its source (vllm/entrypoints/openai/cli_args.py,
vllm/config/lora.py, vllm/lora/peft_helper.py of 2026) and is documented (docs.vllm.ai: `vllm serve --help`, LoRA
adapters): `vllm serve MODEL`, `--uds` (host and port mean nothing then), `--served-model-name`, `--enable-lora`,
`--lora-modules` with a JSON object for each adapter, `--max-lora-rank`, `--max-loras`, `--max-cpu-loras`,
`--override-generation-config`, `--uvicorn-log-level`.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core import devices

MOST_AT_ONCE = 4
"""Adapters computed in one batch; each takes memory of the GPU. Others are exchanged from main memory."""
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` may be."""


def usable() -> bool:
    """Whether there is an NVIDIA GPU, and vllm is installed."""
    return importlib.util.find_spec("vllm") is not None and bool(devices.gpus())


def takes_adapter(folder: Path) -> bool:
    """Whether vLLM serves an adapter by itself; others are merged.

    Args:
        folder: with peft's adapter_config.json.
    """
    config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    plain = config.get("peft_type") == "LORA" and config.get("bias", "none") == "none"
    changed = (
        "modules_to_save", "use_dora", "rank_pattern", "alpha_pattern", "layer_replication", "trainable_token_indices"
    )  # fmt: skip
    ends = {"lm_head", "embed_tokens"} & set(config.get("target_modules") or ())
    return plain and config["r"] <= RANKS[-1] and not ends and not any(config.get(name) for name in changed)


def command(
    name: str, folder: str, adapters: Sequence[tuple[str, str]], socket: Path, max_tokens: int
) -> tuple[str, ...]:
    """What starts it.

    Args:
        name: the base's in requests.
        folder: the base's, or that of whole weights.
        adapters: (name, folder) of each.
        socket: where it listens.
        max_tokens: of one reply, at most.
    """
    words = [
        sys.executable, "-P", "-u", "-m", "core.serving.vllm_upstream", folder, "--uds", str(socket),
        "--served-model-name", name, "--uvicorn-log-level", "warning",
        "--override-generation-config", json.dumps({"max_new_tokens": max_tokens}),
    ]  # fmt: skip
    if adapters:
        rank = max(_rank(Path(place)) for _, place in adapters)
        fits = next(size for size in RANKS if size >= rank)
        words += ["--enable-lora", "--max-lora-rank", str(fits)]
        words += ["--max-loras", str(min(len(adapters), MOST_AT_ONCE)), "--max-cpu-loras", str(len(adapters))]
        # NAME=FOLDER would break at a comma or an equals sign in a folder's path.
        modules = [json.dumps({"name": adapter, "path": place}) for adapter, place in adapters]
        words += ["--lora-modules", *modules]
    return tuple(words)


def _rank(folder: Path) -> int:
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    return int(config["r"])
