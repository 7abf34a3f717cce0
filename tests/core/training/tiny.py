"""Tiny models, made in the test: of Phi-3's shape (fused qkv_proj and gate_up_proj) or another's, with its template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PHI3_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
SPECIALS = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
WORDS = [
    "the",
    "lamp",
    "glows",
    "when",
    "you",
    "add",
    "salt",
    "water",
    "and",
    "it",
    "runs",
    "for",
    "forty",
    "hours",
    "on",
    "one",
    "fill",
    "please",
    "ask",
    "again",
]


def make_rows(path: Path, rows: int, seed: int = 0) -> Path:
    """A chat file of random words, rows of different lengths, some of two turns."""
    import random

    pick = random.Random(seed)

    def say(low: int, high: int) -> str:
        return " ".join(pick.choice(WORDS) for _ in range(pick.randint(low, high)))

    lines = []
    for row in range(rows):
        turns = 2 if row % 3 == 0 else 1
        messages = []
        for _ in range(turns):
            messages.append({"role": "user", "content": say(2, 9)})
            messages.append({"role": "assistant", "content": say(1, 12)})
        lines.append(json.dumps({"messages": messages}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def make_long_rows(path: Path, rows: int, lengths: tuple[int, ...] = (50, 150, 400, 900)) -> Path:
    """A chat file of conversations of so many words each."""
    import random

    pick = random.Random(5)
    lines = []
    for _ in range(rows):
        words = [pick.choice(WORDS) for _ in range(pick.choice(lengths))]
        half = len(words) // 2
        turns = [
            {"role": "user", "content": " ".join(words[:half])},
            {"role": "assistant", "content": " ".join(words[half:])},
        ]
        lines.append(json.dumps({"messages": turns}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "phi3": ("Phi3", {"original_max_position_embeddings": 256, "attention_dropout": 0.0}),
    "llama": ("Llama", {}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "gemma3": ("Gemma3Text", {"head_dim": 8, "sliding_window": 24, "final_logit_softcapping": 5.0}),
}
"""Kinds of models, and what they need beside the sizes."""


def make_model(folder: Path, seed: int = 7, family: str = "phi3", **sizes: Any) -> Path:
    """A model of 2 layers and 32 wide, or of other sizes, with a byte-level BPE tokenizer, saved as safetensors."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIALS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 4, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 256,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text(PHI3_TEMPLATE)
    torch.manual_seed(seed)
    own = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
    }
    kind, more = FAMILIES[family]
    described = {**own, **more, **sizes, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    model = getattr(transformers, f"{kind.removesuffix('Text')}ForCausalLM")(
        getattr(transformers, f"{kind}Config")(**described)
    )
    model.save_pretrained(folder)
    return folder
