"""What a model's folder says of its tokenizer and chat template, read without transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.data.sandbox import RenderingError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
"""What a model needs beside its weights to read and write text; not every model has all of them."""
_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def read_json(path: Path) -> dict[str, Any]:
    """The object of a JSON file, empty where there is none."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise RenderingError(f"{path} is not valid JSON.", str(error), "Fetch the model again.") from error
    return content if isinstance(content, dict) else {}


def load_tokenizer(path: Path, config: dict[str, Any]) -> Tokenizer:
    """A model's fast tokenizer with the added tokens of its configuration.

    Raises:
        RenderingError: there is none, or it is broken.
    """
    from tokenizers import AddedToken, Tokenizer

    if not path.is_file():
        raise RenderingError(
            f"{path.parent} has no tokenizer.json.",
            "Only models with a fast tokenizer can be fine-tuned here.",
            "Choose another model, or save its tokenizer with transformers' save_pretrained first.",
        )
    description = read_json(path)
    # Truncation and padding stored in the file are the last user's, and a post-processor's only effect
    # without special tokens is to trim the offsets; the mask needs them whole.
    description.update(truncation=None, padding=None, post_processor=None)
    try:
        tokenizer = Tokenizer.from_str(json.dumps(description))
    except Exception as error:  # noqa: BLE001 - tokenizers raises plain Exception
        raise RenderingError(f"{path} can't be read.", str(error), "Fetch the model again.") from error
    listed = sorted(config.get("added_tokens_decoder", {}).items(), key=lambda item: int(item[0]))
    for _, token in listed:
        if tokenizer.token_to_id(token["content"]) is None:
            flags = {
                name: bool(token.get(name))
                for name in ("lstrip", "rstrip", "single_word", "normalized", "special")
            }
            tokenizer.add_tokens([AddedToken(token["content"], **flags)])
    return tokenizer


def named_tokens(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """bos_token, eos_token, ... as templates may print them; model-specific named tokens too."""
    merged = {**read_json(folder / "special_tokens_map.json"), **config}
    extra = merged.get("extra_special_tokens")
    named = {name: merged[name] for name in _NAMED_TOKENS if merged.get(name)}
    if isinstance(extra, dict):
        named.update(extra)
    return {
        name: token["content"] if isinstance(token, dict) else str(token) for name, token in named.items()
    }


def own_template(folder: Path, config: dict[str, Any]) -> str:
    """The chat template of a model.

    Raises:
        RenderingError: it has none.
    """
    path = folder / "chat_template.jinja"
    template = path.read_text("utf-8") if path.is_file() else config.get("chat_template")
    if isinstance(template, list):
        template = {item["name"]: item["template"] for item in template}.get("default")
    if not isinstance(template, str):
        raise RenderingError(
            f"{folder.name} has no chat template.",
            "It is a base model: nothing says how a conversation becomes text.",
            "Give chat_template: in the recipe (a name from the catalogue or a file).",
        )
    return template
