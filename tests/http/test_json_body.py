"""Junk at the door of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive

from app.http.json_body import (
    AT_ONCE_BYTES_MAX,
    CONTAINERS_MAX,
    DEPTH_MAX,
    NAMES_MAX,
    VALUES_MAX,
    Skeleton,
    parse,
    parse_object,
    read_body,
)
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


PAD = '"pad": "' + "p" * AT_ONCE_BYTES_MAX + '"'
"""What makes a body large."""


@pytest.mark.parametrize(
    "junk",
    [
        '{"a": 1, %s, "a": 2}',
        '{"a": 1, %s, "\\u0061": 2}',
        '{%s, "a": "\\u0000"}',
        '{%s, "a": "\\\\\\u0000"}',
        '{%s, "a":' * 2,
        "[{%s}]",
        '{"a":' * (DEPTH_MAX) + "{%s}" + "}" * DEPTH_MAX,
        '{"a":[' + "[]," * CONTAINERS_MAX + "1], %s}",
        '{"a":[' + "1," * VALUES_MAX + "1], %s}",
        "{" + "".join(f'"{number}":1,' for number in range(NAMES_MAX)) + "%s}",
    ],
    ids=lambda junk: repr(junk[:24]),
)
async def test_a_large_body_is_refused_for_the_same_reasons(junk: str) -> None:
    with pytest.raises(Refused) as refused:
        await parse((junk % ((PAD,) * junk.count("%s"))).encode())
    assert (refused.value.status, refused.value.code) == (400, "invalid_json")


async def test_a_large_honest_body_is_what_it_says() -> None:
    honest = {"messages": [{"role": "user", "content": '\\ " : {[ , \n \\u0000 \\" '}] * 2000, "pad": "\\" * 2**20}
    assert await parse(orjson.dumps(honest)) == honest
    assert await parse(json.dumps(honest).encode()) == honest


def names_in(value: object) -> list[str]:
    """Every name of every field, at any depth."""
    own = list(value) if isinstance(value, dict) else []
    return [*own, *(name for child in children(value) for name in names_in(child))]


def texts_in(value: object) -> list[str]:
    return [value] if isinstance(value, str) else [text for child in children(value) for text in texts_in(child)]


def children(value: object) -> list[object]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


ODD_TEXT = st.text(st.sampled_from('\\"{}[]:,u0a\n\x00\x7f\u2028'), max_size=12)


@given(
    st.dictionaries(
        ODD_TEXT,
        st.recursive(
            ODD_TEXT | st.integers(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXT, inner)
        ),
    ),
    st.lists(st.integers(0, 400), max_size=8),
)
def test_a_skeleton_is_the_same_wherever_the_slices_are_cut(said: dict[str, object], cuts: list[int]) -> None:
    raw = json.dumps(said).encode()
    skeleton = Skeleton()
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(raw)], strict=True):
        skeleton.add(raw[start:end])
    assert skeleton.names == len(names_in(said))
    assert skeleton.nul == any("\0" in text for text in names_in(said) + texts_in(said))


def pieces(*sent: bytes) -> Receive:
    def told() -> Iterator[Message]:
        for left, piece in zip(range(len(sent) - 1, -1, -1), sent, strict=True):
            yield {"type": "http.request", "body": piece, "more_body": left > 0}

    waiting = told()

    async def receive() -> Message:
        return next(waiting)

    return receive


async def test_who_may_send_less_is_stopped_where_his_own_limit_is() -> None:
    assert await read_body(pieces(b"12", b"34"), 4) == b"1234"
    for sent in ((b"12345",), (b"12", b"345"), (b"12", b"345", b"never asked for")):
        with pytest.raises(Refused) as refused:
            await read_body(pieces(*sent), 4)
        assert (refused.value.status, refused.value.code) == (413, "request_too_large")
