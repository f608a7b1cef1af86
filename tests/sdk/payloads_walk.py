"""Every payload and every event that Helix makes, for each pair of wire and provider, against the models of the SDK that is
here: the most that this environment can judge. The payloads lie in the file `HELIX_PAYLOADS`.
"""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

Validators = dict[str, tuple[TypeAdapter[Any], TypeAdapter[Any]]]
"""Wire → (its whole answer, one event of its stream)."""


def _validators() -> Validators:
    if find_spec("anthropic"):
        from anthropic.types import (  # type: ignore[import-not-found]  # it lives in an environment of its own
            Message,
            RawMessageStreamEvent,
        )

        return {"anthropic": (TypeAdapter(Message), TypeAdapter(RawMessageStreamEvent))}
    from openai.types import CreateEmbeddingResponse
    from openai.types.chat import ChatCompletion, ChatCompletionChunk
    from openai.types.responses import Response, ResponseStreamEvent

    return {
        "openai": (TypeAdapter(ChatCompletion), TypeAdapter(ChatCompletionChunk)),
        "responses": (TypeAdapter(Response), TypeAdapter(ResponseStreamEvent)),
        "embeddings": (TypeAdapter(CreateEmbeddingResponse), TypeAdapter(object)),
    }


def check_every_payload_of_every_pair() -> dict[str, object]:
    validators, judged = _validators(), 0
    for pair in json.loads(Path(os.environ["HELIX_PAYLOADS"]).read_text()):
        if pair["wire"] not in validators or pair["case"] == "base64":
            continue  # another SDK's, or what this one turns into floats before its models see it
        whole, event = validators[pair["wire"]]
        for payload in (pair["whole"], *([pair["streamed"]] if pair["streamed"] else [])):
            whole.validate_json(json.dumps(payload), strict=True)
        for payload in pair["events"]:
            event.validate_json(json.dumps(payload), strict=True)
        judged += 1
    assert judged
    return {"judged": judged}
