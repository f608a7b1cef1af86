"""A key never holds a right that its maker lacks, whatever is written of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from handlers.rules.key_rights import EVERY_SCOPE, Rights, excess

START = datetime(2026, 1, 1, tzinfo=UTC)
NETWORKS = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "192.0.2.0/24", "::/0", "2001:db8::/32"]
ADDRESSES = [
    ip_address(text) for text in ("10.1.2.3", "10.1.9.9", "10.9.9.9", "192.0.2.1", "8.8.8.8", "2001:db8::1", "::1")
]
MODELS = ("auto", "small", "large")
ORIGINS = ("https://a.example", "https://b.example")
TIMES = [START + timedelta(days=day) for day in range(3)]


rights = st.builds(
    Rights,
    scopes=st.frozensets(st.sampled_from(("chat", "agents", "prompts", "keys", EVERY_SCOPE)), min_size=1),
    models=st.none() | st.frozensets(st.sampled_from(MODELS), min_size=1),
    allowed_ips=st.none() | st.lists(st.sampled_from(NETWORKS).map(ip_network), min_size=1, max_size=3).map(tuple),
    expires_at=st.none() | st.sampled_from(TIMES),
    allowed_origins=st.none() | st.lists(st.sampled_from(ORIGINS), min_size=1, max_size=2).map(tuple),
)


def deeds(key: Rights) -> set[tuple[str, str, str, str, datetime]]:
    """Everything that it lets somebody do: what, with which model, from where, on whose page, when."""
    everything = ("chat", "agents", "prompts", "keys", EVERY_SCOPE)
    scopes = everything if EVERY_SCOPE in key.scopes else key.scopes
    return {
        (scope, model, str(address), origin, at)
        for scope in scopes
        for model in MODELS
        if key.models is None or model in key.models
        for address in ADDRESSES
        if key.allowed_ips is None or any(address in each for each in key.allowed_ips)
        for origin in (*ORIGINS, "https://strange.example")
        if key.allowed_origins is None or origin in key.allowed_origins
        for at in [START - timedelta(days=1), *TIMES]
        if key.expires_at is None or at < key.expires_at
    }


@given(maker=rights, wanted=rights)
def test_what_a_key_is_allowed_to_be_given_its_maker_could_do_himself(maker: Rights, wanted: Rights) -> None:
    if excess(maker, wanted) is None:
        assert deeds(wanted) <= deeds(maker)


@given(key=rights)
def test_a_key_may_make_one_like_itself(key: Rights) -> None:
    assert excess(key, key) is None
