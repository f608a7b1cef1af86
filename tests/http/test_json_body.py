"""Junk at the door of JSON."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.http.json_body import CONTAINERS_MAX, DEPTH_MAX, parse_object
from app.http.refusals import Refused


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b"{",
        b'{"a"}',
        b"{}{}",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e400}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b'{"a": "\xff"}',
        b'{"a": "\xc0\xaf"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\\ud800"}',
        b'{"a": "\\udc00\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"a": "\x00"}',
        b'{"a": "\\u0000"}',
        b'{"a\\u0000": 1}',
        b'{"a": "\\\\\\u0000"}',
        b'{"a": "\n"}',
        b'{"a": 1, "a": 2}',
        b'{"a": 1, "\\u0061": 2}',
        b'{"a": 1, "a" \n: "\\u003a"}',
        b'{"b": [{"a": {}, "a": ":"}]}',
        b'{"": 1, "": 1}',
        nested(DEPTH_MAX + 1),
        nested(1000),
        nested(100_000),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":[' + b"[]," * CONTAINERS_MAX + b"1]}",
    ],
    ids=lambda junk: repr(junk[:24]),
)
def test_junk_is_a_400_and_never_anything_else(junk: bytes) -> None:
    with pytest.raises(Refused) as refused:
        parse_object(junk)
    assert (refused.value.status, refused.value.code) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("raw", "parsed"),
    [
        (b'{"a": "\\\\u0000"}', {"a": "\\u0000"}),  # a backslash and five letters, no NUL
        (b'{"a": ":", "b": "\\":", "c" : " :"}', {"a": ":", "b": '":', "c": " :"}),
        (b'{"a": "\\u003a", "\\u0062": "\\\\", "c" :"\\u0022:"}', {"a": ":", "b": "\\", "c": '":'}),
        (b'[{"a": 1}, {"a": 1}]'.join((b'{"b": ', b"}")), {"b": [{"a": 1}, {"a": 1}]}),
        (b' {"a": "\\ud83d\\ude00"} ', {"a": "\N{GRINNING FACE}"}),
        (b'{"a": "' + b"[{" * 100 + b'"}', {"a": "[{" * 100}),
    ],
)
def test_what_only_looks_like_junk_passes(raw: bytes, parsed: dict[str, object]) -> None:
    assert parse_object(raw) == parsed


def test_the_deepest_allowed_body_passes() -> None:
    assert orjson.dumps(parse_object(nested(DEPTH_MAX))) == nested(DEPTH_MAX)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_400(raw: bytes) -> None:
    try:
        assert isinstance(parse_object(raw), dict)
    except Refused as refused:
        assert refused.status == 400


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4), st.booleans())
def test_a_body_is_refused_exactly_where_two_names_are_equal(fields: list[tuple[str, str]], ascii: bool) -> None:
    pairs = (f"{json.dumps(name, ensure_ascii=ascii)}: {json.dumps(text, ensure_ascii=ascii)}" for name, text in fields)
    raw = f"{{{', '.join(pairs)}}}".encode()
    if len(dict(fields)) == len(fields):
        assert parse_object(raw) == dict(fields)
    else:
        with pytest.raises(Refused):
            parse_object(raw)


@given(st.dictionaries(TEXT, st.recursive(TEXT | st.booleans() | st.none(), st.lists)))
def test_every_honest_object_passes(honest: dict[str, object]) -> None:
    assert parse_object(orjson.dumps(honest)) == honest
