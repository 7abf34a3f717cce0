"""The handlers of `transformers serve`, kept within the model's context and seeded exactly.

Out of the box a prompt longer than the context is computed all the same and gives nonsense, and a seed is set when a
request arrives: one that is still being answered would take the random numbers of the next.
"""

from __future__ import annotations

from typing import Any


def bounded(handler: type[Any]) -> type[Any]:
    """A handler of chat or text completions that refuses what its model can't take.

    Args:
        handler: ChatCompletionHandler or CompletionHandler of transformers.
    """

    class Bounded(handler):
        async def handle_request(self, body: dict[str, Any], request_id: str) -> Any:
            from fastapi import HTTPException
            from jinja2 import TemplateError

            try:
                return await super().handle_request(body, request_id)
            except (
                TemplateError
            ) as error:  # e.g. two messages of the user's in a row, where turns must alternate
                raise HTTPException(400, f"The chat template refuses these messages: {error}") from error

        def _build_generation_config(self, body: dict[str, Any], *given: Any, **named: Any) -> Any:
            from transformers.cli.serving.utils import set_torch_seed

            seed = body.pop("seed", None)
            config = super()._build_generation_config(body, *given, **named)
            if seed is not None:
                # The model's one thread takes work in order, and this request's generation is the next it is given.
                name = self.model_manager.process_model_name(self.model_manager.force_model)
                self.generation_state.get_manager(name).submit(set_torch_seed, seed)
            return config

        def _streaming(
            self, request_id: str, model: Any, processor: Any, model_id: str, inputs: Any, gen_config: Any,
            *given: Any, **named: Any,
        ) -> Any:  # fmt: skip
            keep_within_context(model, inputs, gen_config)
            return super()._streaming(
                request_id, model, processor, model_id, inputs, gen_config, *given, **named
            )

        async def _non_streaming(
            self, request_id: str, model: Any, processor: Any, model_id: str, inputs: Any, gen_config: Any,
            *given: Any, **named: Any,
        ) -> Any:  # fmt: skip
            keep_within_context(model, inputs, gen_config)
            return await super()._non_streaming(
                request_id, model, processor, model_id, inputs, gen_config, *given, **named
            )

    return Bounded


def keep_within_context(model: Any, inputs: Any, generation: Any) -> None:
    """Cut the reply to what the context has room for.

    Args:
        model: whose context it is.
        inputs: with `input_ids` of shape (1, tokens).
        generation: its settings.

    Raises:
        HTTPException: the prompt leaves no room at all.
    """
    from fastapi import HTTPException

    tokens = inputs["input_ids"].shape[-1]
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if tokens == 0:
        raise HTTPException(400, "The prompt has no tokens.")
    if limit is None:
        return
    if tokens >= limit:
        raise HTTPException(400, f"The prompt has {tokens} tokens; the model takes {limit} with its reply.")
    generation.max_new_tokens = min(generation.max_new_tokens, limit - tokens)
