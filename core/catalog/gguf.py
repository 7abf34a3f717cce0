"""A GGUF file to a folder of safetensors: done once, so that everything after it reads one format.

transformers reads the file; what it leaves unsaid or gets wrong for SmolLM2 is put right here and tested.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.catalog.reference import ModelError
from core.catalog.store import Progress

STEPS = 3


def convert(gguf: Path, folder: Path, progress: Progress) -> None:
    """Write weights (bfloat16), tokenizer, chat template and configuration of a GGUF file into `folder`.

    Takes 40 s and 0.6 GB of memory for 135 million parameters on two cores.

    Args:
        gguf: the file.
        folder: an existing, empty folder.
        progress: told of each step, with steps done and in all in place of bytes.

    Raises:
        ModelError: the file carries no chat template or names no end-of-turn token.
    """
    progress("converting: reading the tokenizer", 0, STEPS)
    context = _save(gguf, folder, progress)
    _tidy(folder, context)
    progress("converting: done", STEPS, STEPS)


@contextlib.contextmanager
def _bars_hidden() -> Iterator[None]:
    """Keep transformers' bars off stderr (the GGUF reader's has no switch); on failure all is shown."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except BaseException:
        sys.stderr.write(said.getvalue())
        raise


def _save(gguf: Path, folder: Path, progress: Progress) -> int:
    """Save both; return the context length in tokens."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
    if not tokenizer.chat_template or tokenizer.eos_token_id is None:
        raise ModelError(f"{gguf.name} has no chat template or no end token.", "", "Use another source.")
    _split_digits(gguf, tokenizer)
    tokenizer.save_pretrained(folder)
    progress("converting: unpacking the weights", 1, STEPS)
    with _bars_hidden():
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            # Said outright: with the `kernels` package installed the weights could stay packed.
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
            local_files_only=True,
        )
    progress("converting: writing safetensors", 2, STEPS)
    # The weights are plain now, but save_pretrained refuses a model that still carries these marks.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with _bars_hidden():
        model.save_pretrained(folder)
    return int(model.config.max_position_embeddings)


def _split_digits(gguf: Path, tokenizer: Any) -> None:
    """Give SmolLM's tokenizer its first stage back: each digit stands alone before the byte-level split.

    The GGUF names this stage ("smollm" in llama.cpp's list of pre-tokenizers); transformers drops it. The
    ids then differ where whitespace meets a digit: the two newlines before a list's next number are one token.
    """
    from gguf import GGUFReader
    from tokenizers import pre_tokenizers

    field = GGUFReader(gguf).get_field("tokenizer.ggml.pre")
    if field is None or field.contents() != "smollm":
        return
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def _tidy(folder: Path, context: int) -> None:
    """Drop what the conversion wrote about itself, and say how long a sequence may be."""
    _edit(folder / "config.json", drop=("_model_name_or_path",))
    _edit(folder / "tokenizer_config.json", drop=("is_local", "local_files_only"), model_max_length=context)


def _edit(path: Path, drop: tuple[str, ...], **changes: Any) -> None:
    record = json.loads(path.read_text(encoding="utf-8"))
    record = {name: value for name, value in record.items() if name not in drop} | changes
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
