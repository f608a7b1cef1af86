"""Where a request comes from: headers count only from whom the operator trusts."""

from __future__ import annotations

import pytest

from app.http.client_address import client_address, network

PROXIES = [network("10.0.0.0/8"), network("2001:db8:1::/48")]


def seen(peer: str | None, *headers: tuple[str, str]) -> str | None:
    scope = {
        "type": "http",
        "client": None if peer is None else (peer, 4711),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    found = client_address(scope, PROXIES)
    return None if found is None else str(found)


FORWARDED = "x-forwarded-for"
CLOUDFLARE = "cf-connecting-ip"


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        ("198.51.100.7", [], "198.51.100.7"),
        ("198.51.100.7", [(FORWARDED, "203.0.113.1")], "198.51.100.7"),
        ("198.51.100.7", [(CLOUDFLARE, "203.0.113.1")], "198.51.100.7"),
        ("::ffff:198.51.100.7", [], "198.51.100.7"),
        (None, [(CLOUDFLARE, "203.0.113.1")], None),
        ("10.1.2.3", [], "10.1.2.3"),
        ("::ffff:10.1.2.3", [(CLOUDFLARE, "203.0.113.1")], "203.0.113.1"),
        ("10.1.2.3", [(CLOUDFLARE, "203.0.113.1"), (CLOUDFLARE, "203.0.113.2")], None),
        ("10.1.2.3", [(CLOUDFLARE, "nonsense")], None),
        ("10.1.2.3", [(FORWARDED, "203.0.113.1")], "203.0.113.1"),
        ("10.1.2.3", [(FORWARDED, "192.0.2.66, 203.0.113.1, 10.9.9.9")], "203.0.113.1"),
        ("10.1.2.3", [(FORWARDED, "192.0.2.66"), (FORWARDED, "203.0.113.1, 10.9.9.9")], "203.0.113.1"),
        ("10.1.2.3", [(FORWARDED, "203.0.113.1, nonsense")], None),
        ("10.1.2.3", [(FORWARDED, "10.0.0.1, 10.0.0.2")], None),
        ("10.1.2.3", [(FORWARDED, "203.0.113.1," + "10.0.0.1," * 500 + "10.0.0.1")], None),
        ("2001:db8:1::5", [(FORWARDED, "2001:db8:2::7")], "2001:db8:2::7"),
    ],
)
def test_only_a_trusted_proxy_may_say_whose_request_it_brings(
    peer: str | None, headers: list[tuple[str, str]], address: str | None
) -> None:
    assert seen(peer, *headers) == address


@pytest.mark.parametrize("nonsense", ["", "10.0.0.1/8", "10.0.0.0/33", "example.org", "*"])
def test_what_is_no_network_is_refused(nonsense: str) -> None:
    with pytest.raises(ValueError):  # whichever words `ipaddress` finds
        network(nonsense)


def test_a_network_written_for_both_families_is_the_one_it_means() -> None:
    assert network("::ffff:10.0.0.0/104") == network("10.0.0.0/8")
