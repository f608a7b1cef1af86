"""What a request wants of the response cache: said on any route in three ways, and refused when it makes no sense."""

from __future__ import annotations

import pytest

from app.http.caching import CacheWish, cache_wish
from app.http.refusals import Refused

Said = list[tuple[bytes, bytes]]


def header(word: str | None = None, ttl: str | None = None) -> Said:
    said = {b"x-helix-cache": word, b"x-helix-cache-ttl": ttl, b"authorization": "x"}
    return [(name, value.encode()) for name, value in said.items() if value is not None]


@pytest.mark.parametrize(
    ("headers", "body", "account_ttl_s", "wish"),
    [
        (header(), {}, None, CacheWish(None)),
        (header(), {"cache": None}, None, CacheWish(None)),
        (header("on"), {}, None, CacheWish(3600)),
        (header(" ON "), {}, None, CacheWish(3600)),
        (header(ttl="60"), {}, None, CacheWish(60)),
        (header("on", "604800"), {}, None, CacheWish(604800)),
        (header("refresh"), {}, None, CacheWish(3600, refresh=True)),
        (header("refresh", "5"), {}, None, CacheWish(5, refresh=True)),
        (header(), {"cache": {"ttl": 60}}, None, CacheWish(60)),
        (header(), {"cache": {}}, None, CacheWish(3600)),
        (header(ttl="7"), {"cache": {"ttl": 60}}, None, CacheWish(7)),
        (header("off"), {"cache": {"ttl": 60}}, None, CacheWish(None)),
        (header("off", "60"), {}, 100, CacheWish(None)),
        (header(), {}, 100, CacheWish(100)),
        (header("on"), {}, 100, CacheWish(100)),
        (header("refresh"), {}, 100, CacheWish(100, refresh=True)),
        (header(), {"cache": {"ttl": 60}}, 100, CacheWish(60)),
    ],
)
def test_the_header_is_stronger_than_the_body_and_the_body_than_the_account(
    headers: Said, body: dict[str, object], account_ttl_s: int | None, wish: CacheWish
) -> None:
    assert cache_wish(headers, body, account_ttl_s) == wish


@pytest.mark.parametrize(
    ("headers", "body", "param"),
    [
        (header("yes"), {}, "x-helix-cache"),
        (header(""), {}, "x-helix-cache"),
        (header(ttl="0"), {}, "x-helix-cache-ttl"),
        (header(ttl="604801"), {}, "x-helix-cache-ttl"),
        (header(ttl="-1"), {}, "x-helix-cache-ttl"),
        (header(ttl="1.5"), {}, "x-helix-cache-ttl"),
        (header(ttl="²"), {}, "x-helix-cache-ttl"),
        (header(ttl="9" * 5000), {}, "x-helix-cache-ttl"),
        (header(), {"cache": True}, "cache"),
        (header(), {"cache": {"ttl": "60"}}, "cache.ttl"),
        (header(), {"cache": {"ttl": 0}}, "cache.ttl"),
        (header(), {"cache": {"ttl": 604801}}, "cache.ttl"),
        (header(), {"cache": {"tll": 60}}, "cache.tll"),
        (header("off"), {"cache": {"ttl": 0}}, "cache.ttl"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(headers: Said, body: dict[str, object], param: str) -> None:
    with pytest.raises(Refused) as refused:
        cache_wish(headers, body, None)
    assert (refused.value.status, refused.value.param) == (400, param)


def test_what_means_the_same_may_be_asked_for_where_the_operator_offers_it() -> None:
    assert cache_wish(header("similar"), {}, None, semantic=True) == CacheWish(3600, similar=True)
    with pytest.raises(Refused):
        cache_wish(header("similar"), {}, None)
