"""One model behind a gateway: `transformers serve` on a Unix socket, with one folder of whole weights and no other.

    python -P -m core.serving.upstream FOLDER SOCKET

Its standard input is a pipe of the gateway's: when that closes the process ends, so it never outlives its gateway.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

from core.serving.placing import DTYPES, place
from core.serving.sockets import bind_unix

MODEL = "."
"""The forced model's name: its folder is the working directory, so that no character of a path can mean anything."""


def main() -> int:
    """The command line: the model's folder and the socket."""
    if len(sys.argv) != 3:
        print("usage: python -P -m core.serving.upstream FOLDER SOCKET", file=sys.stderr)  # noqa: T201
        return 2
    folder, path = Path(sys.argv[1]), Path(sys.argv[2])
    threading.Thread(target=_end_with_gateway, name="gateway", daemon=True).start()
    os.chdir(folder)
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing but the folder may be loaded
    device, precision = place()
    app = build_app(str(device), DTYPES[precision])
    import uvicorn

    config = uvicorn.Config(
        app, access_log=False, log_level="error", ws="none", proxy_headers=False, server_header=False
    )
    uvicorn.Server(config).run(sockets=[bind_unix(path)])
    return 0


def _end_with_gateway() -> None:
    """Wait for the gateway's end of the pipe to close."""
    while os.read(0, 1 << 12):
        pass
    os._exit(0)


def build_app(device: str, dtype: str) -> Any:
    """The server of transformers with the model of the working directory loaded.

    Args:
        device: where it computes, as torch calls it.
        dtype: of weights and computation, as torch calls it.

    Raises:
        OSError, ValueError, RuntimeError: the model can't be loaded.
    """
    from transformers.cli.serving import utils
    from transformers.cli.serving.chat_completion import ChatCompletionHandler
    from transformers.cli.serving.completion import CompletionHandler
    from transformers.cli.serving.model_manager import ModelManager
    from transformers.cli.serving.response import ResponseHandler
    from transformers.cli.serving.server import build_server
    from transformers.cli.serving.systemone import SystemOneHandler
    from transformers.cli.serving.transcription import TranscriptionHandler
    from transformers.utils import logging

    from core.serving.upstream_handlers import bounded

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # otherwise each request is a line of the log
    # Replies go out as they are written: parsing thoughts and tool calls out of them would drop what was trained.
    utils._RESPONSE_TEMPLATE_FALLBACKS.clear()
    manager = ModelManager(device, dtype, force_model=MODEL, trust_remote_code=False)
    loaded = manager.loaded_models[manager.process_model_name(MODEL)]
    if getattr(loaded.processor, "response_template", None) is not None:
        loaded.processor.response_template = None
    sample_when_asked(loaded.model.generation_config)
    state = utils.GenerationState()
    return build_server(
        manager,
        bounded(ChatCompletionHandler)(manager, state),
        completion_handler=bounded(CompletionHandler)(manager, state),
        response_handler=ResponseHandler(manager, state),
        transcription_handler=TranscriptionHandler(manager, state),
        systemone_handler=SystemOneHandler(manager, state),
        generation_state=state,
    )


def sample_when_asked(generation: Any) -> None:
    """Let a request's temperature mean what it says: without this a model saved as greedy would stay greedy.

    What the model's own settings name stays; top-k, which OpenAI's API doesn't have, is off unless they name it.
    """
    generation.do_sample = True
    if generation.temperature is None:
        generation.temperature = 1.0
    if generation.top_p is None:
        generation.top_p = 1.0
    if generation.top_k is None:
        generation.top_k = 0


if __name__ == "__main__":
    sys.exit(main())
