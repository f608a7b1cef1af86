"""From which address does a request come? One rule: what a header says of it counts only when a trusted proxy said it.

`HELIX_TRUSTED_PROXIES` names those proxies. Without any, the address is that of the connection, whatever the headers say.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from starlette.types import Scope

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

HOPS_MAX: Final = 20
"""Of `X-Forwarded-For`, from the right: no honest chain of proxies is longer."""


def network(text: str) -> Network:
    """`10.0.0.0/8`, `2001:db8::/32`, or one address. Raises ValueError for anything else, and for bits behind the mask."""
    found = ip_network(text.strip())
    if isinstance(found, IPv6Network) and found.prefixlen >= 96 and (inner := found.network_address.ipv4_mapped):
        return ip_network((int(inner), found.prefixlen - 96))
    return found


def client_address(scope: Scope, trusted: Sequence[Network]) -> Address | None:
    """The client's address; None when there is none that can be known (a socket of this machine, or a trusted proxy
    that says nonsense).

    Through a trusted proxy: `CF-Connecting-IP`, or else the first of `X-Forwarded-For`, from the right, that is no
    trusted proxy. What stands further left is the client's own word and is not looked at.
    """
    client = scope.get("client")
    peer = _address(client[0]) if client else None
    if peer is None or not within(peer, trusted):
        return peer
    told = [value.decode("latin-1") for name, value in scope["headers"] if name == b"cf-connecting-ip"]
    if told:
        return _address(told[0]) if len(told) == 1 else None
    forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    if not forwarded:
        return peer
    for hop in reversed(forwarded.decode("latin-1").rsplit(",", HOPS_MAX)[-HOPS_MAX:]):
        address = _address(hop)
        if address is None or not within(address, trusted):
            return address
    return None


def within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in each for each in networks)


def _address(text: str) -> Address | None:
    try:
        found = ip_address(text.strip())
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        if found.scope_id is not None:
            return None
        return found.ipv4_mapped or found
    return found
