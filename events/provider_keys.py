"""Facts about the keys that customers bring for the providers' own services. Never a key, nor any part of one."""

from __future__ import annotations

from typing import ClassVar

from events.message import Change


class ProviderKeyStored(Change):
    """From now on the account's requests to this provider are made with its own key; it may have had another before."""

    type: ClassVar[str] = "provider_key.stored"

    provider: str
    key_version: str
    """The name of this key: another one, or the same stored again, has another."""


class ProviderKeyRemoved(Change):
    """The account's requests are made with our key again, where we have one."""

    type: ClassVar[str] = "provider_key.removed"

    provider: str
    key_version: str
