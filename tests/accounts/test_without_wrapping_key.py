"""What the operator can do without the key that wraps the data keys, and what not."""

from __future__ import annotations

import asyncio

import pytest

from app.key_ring import KeyRing, RingRefused
from app.wiring import preflight
from tests.conftest import MakeSettings


def test_no_key_is_said_as_what_it_is() -> None:
    with pytest.raises(RingRefused, match="API_KEY_ENCRYPTION_KEY: Field required"):
        KeyRing.parse(" ")


def test_no_process_starts_without_it(make_settings: MakeSettings) -> None:
    with pytest.raises(SystemExit, match="helix: API_KEY_ENCRYPTION_KEY: Field required"):
        asyncio.run(preflight(make_settings(api_key_encryption_key="")))
