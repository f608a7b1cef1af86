"""What a user would pick instead, installed into an environment of its own and run beside Helix on the same load.

One rule: a peer is given its best sensible settings, so that the ratio is not bought.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from app.bench.load import Load
from app.bench.measure import Processes
from app.bench.targets import TRAFFIC, Target, last_words, running
from app.embedded.server import free_port

LITELLM: Final = "litellm[proxy]==1.106.2"
"""The version Helix itself is locked to; 1.82.7 and 1.82.8 were tampered with and are never to be installed."""

_INSTALL_S: Final = 600.0
"""A hundred packages over a slow line; beyond it something is wrong."""

_ANSWER_S: Final = 120.0
"""It listens before it can answer; its imports alone take half a minute on a busy machine."""


class PeerFailed(Exception):
    """The peer could not be installed or did not answer; the message ends with its last words."""


def cache_directory() -> Path:
    """Where peers' environments are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "helix-bench"


async def _install(environment: Path, log: Path) -> None:
    """Make the environment unless it is whole already. Raises PeerFailed."""
    whole = environment / LITELLM.replace("[", "-").replace("]", "-")
    if whole.exists():
        return
    python = environment / "bin" / "python"
    for command in (
        (sys.executable, "-m", "venv", "--clear", str(environment)),
        (str(python), "-m", "pip", "install", "--quiet", "--only-binary", ":all:", LITELLM),
    ):
        async with running("install", *command, log=log) as process:
            try:
                async with asyncio.timeout(_INSTALL_S):
                    code = await process.wait()
            except TimeoutError:
                raise PeerFailed(f"installing {LITELLM} took longer than {_INSTALL_S:.0f} s") from None
        if code:
            raise PeerFailed(f"installing {LITELLM} ended with {code}: {last_words(log)}")
    whole.touch()


def _config(mock_port: int, master_key: str) -> str:
    models = "".join(
        f"""\
  - model_name: {traffic.model}
    litellm_params:
      model: openai/{traffic.model}
      api_base: http://127.0.0.1:{mock_port}/v1
      api_key: none
"""
        for traffic in TRAFFIC.values()
    )
    return f"""\
model_list:
{models}
litellm_settings:
  telemetry: false
  set_verbose: false
  num_retries: 0
general_settings:
  master_key: {master_key}
"""


@asynccontextmanager
async def litellm(scratch: Path, mock_port: int) -> AsyncIterator[Target]:
    """LiteLLM proxy, one worker, with a master key (Helix too asks who it is), without a database or a cache.

    Raises PeerFailed.
    """
    environment = cache_directory() / "litellm"
    environment.parent.mkdir(parents=True, exist_ok=True)
    await _install(environment, scratch / "install.log")
    port, master_key = free_port(), f"sk-{secrets.token_hex(16)}"
    config = scratch / "litellm.yaml"
    config.write_text(_config(mock_port, master_key))
    env = {
        **{name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_URL"))},
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "HF_HUB_OFFLINE": "1",
        "LITELLM_LOG": "ERROR",
    }
    command = (
        *(str(environment / "bin" / "litellm"), "--config", str(config), "--num_workers", "1"),
        *("--host", "127.0.0.1", "--port", str(port)),
    )
    log = scratch / "litellm.log"
    async with running("litellm", *command, log=log, env=env) as process:
        headers = {"authorization": f"Bearer {master_key}"}
        target = Target("litellm", "127.0.0.1", port, headers, Processes(process.pid, {}))
        await _wait(target, process, log)
        yield target


async def _wait(target: Target, process: asyncio.subprocess.Process, log: Path) -> None:
    """Return when the peer has answered one question."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            while process.returncode is None:
                outcome = await Load(target.plan("plain", connections=1, requests=1, seconds=10)).run()
                if outcome.answered:
                    return
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise PeerFailed(f"{target.name} did not answer within {_ANSWER_S:.0f} s: {last_words(log)}") from None
    raise PeerFailed(f"{target.name} ended with {process.returncode}: {last_words(log)}")
