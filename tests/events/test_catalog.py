"""Every message that may lie on a log reads into today's shape. Golden files are written once and never made anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from events.catalog import CATALOG, UPCASTS, FromTheFuture, Unreadable, read
from events.message import Event, Message

GOLDEN = Path(__file__).parent.parent / "golden"
FILES = sorted(GOLDEN.glob("*.json"))
SECRET = "the canary that no reason may repeat"


def golden(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return document


def raw(document: object) -> bytes:
    return json.dumps(document).encode()


class Greeted(Event):
    """An event that has had three shapes."""

    type: ClassVar[str] = "greeted"
    version: ClassVar[int] = 3

    words: tuple[str, ...]
    loud: bool


GREETINGS: dict[str, type[Message]] = {"greeted": Greeted}
GREETING_UPCASTS = {
    ("greeted", 1): lambda body: {"words": body["words"].split()},
    ("greeted", 2): lambda body: body | {"loud": False},
}


def greeted(version: object, body: object) -> bytes:
    return raw(golden("user.created.v1") | {"type": "greeted", "version": version, "body": body})


@pytest.mark.parametrize("kind", CATALOG.values(), ids=list(CATALOG))
def test_every_version_of_every_message_has_a_golden_file(kind: type[Message]) -> None:
    wanted = {f"{kind.type}.v{version}.json" for version in range(1, kind.version + 1)}

    assert wanted <= {file.name for file in FILES}


@pytest.mark.parametrize("kind", CATALOG.values(), ids=list(CATALOG))
def test_every_older_version_of_every_message_has_its_upcast(kind: type[Message]) -> None:
    assert {version for name, version in UPCASTS if name == kind.type} == set(range(1, kind.version))


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_a_golden_file_reads_into_todays_shape(file: Path) -> None:
    said = read(file.read_bytes())

    assert type(said.body) is CATALOG[said.type]
    assert said.version == said.body.version
    assert file.name.startswith(f"{said.type}.v")


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_what_is_read_is_written_as_it_was(file: Path) -> None:
    said = read(file.read_bytes())

    assert read(said.encode()) == said
    if file.name == f"{said.type}.v{said.version}.json":
        written, then = json.loads(said.encode()), json.loads(file.read_bytes())
        # A field that is newer than the file stands in what is written today, and nowhere else.
        assert written | {"body": None} == then | {"body": None}
        assert then["body"].items() <= written["body"].items()


def test_a_message_is_one_line_on_the_log() -> None:
    assert b"\n" not in read((GOLDEN / "completion.finished.v1.json").read_bytes()).encode()


def test_an_old_shape_is_brought_to_todays_one_version_after_the_other() -> None:
    old = read(greeted(1, {"words": "good morning"}), catalog=GREETINGS, upcasts=GREETING_UPCASTS)
    middle = read(greeted(2, {"words": ["hello"]}), catalog=GREETINGS, upcasts=GREETING_UPCASTS)
    new = read(greeted(3, {"words": ["hey"], "loud": True}), catalog=GREETINGS, upcasts=GREETING_UPCASTS)

    assert [one.body for one in (old, middle, new)] == [
        Greeted(words=("good", "morning"), loud=False),
        Greeted(words=("hello",), loud=False),
        Greeted(words=("hey",), loud=True),
    ]
    assert {one.version for one in (old, middle, new)} == {3}


@pytest.mark.parametrize("body", [None, 7, SECRET, [SECRET], {"words": 5}, {"words": None}, {}])
def test_an_old_body_that_its_upcast_cannot_take_is_unreadable(body: object) -> None:
    with pytest.raises(Unreadable) as refused:
        read(greeted(1, body), catalog=GREETINGS, upcasts=GREETING_UPCASTS)

    assert SECRET not in str(refused.value)


def changed(**fields: object) -> bytes:
    return raw(golden("completion.failed.v1") | fields)


def changed_body(**fields: object) -> bytes:
    document = golden("completion.failed.v1")
    return raw(document | {"body": document["body"] | fields})


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xff\xfe\x00",
        SECRET.encode(),
        b'{"type": "complete"',
        raw(None),
        raw([SECRET]),
        raw(SECRET),
        raw({}),
        b"[" * 100_000,
        changed(type=SECRET),
        changed(type=[SECRET]),
        changed(type=None),
        changed(version=99),
        changed(version=0),
        changed(version=-1),
        changed(version="1"),
        changed(version=None),
        changed(version=float("nan")),
        changed(version=1.5),
        changed(at=SECRET),
        changed(at="2026-03-04T05:06:07"),
        changed(account=None),
        changed(body=SECRET),
        changed(body=[SECRET]),
        changed(body=None),
        changed(**{SECRET: SECRET}),
        changed_body(**{SECRET: SECRET}),
        changed_body(tier=SECRET),
        changed_body(answer=SECRET),
        changed_body(cost_nanousd=-1),
        changed_body(cost_nanousd=0.5),
        changed_body(input_tokens=2**53 + 1),
        changed_body(attempts=[{SECRET: SECRET}]),
        changed_body(accepted_at="2026-03-04T05:06:07"),
        raw({name: value for name, value in golden("completion.failed.v1").items() if name != "body"}),
    ],
)
def test_what_is_no_message_of_ours_is_unreadable_and_the_reason_never_repeats_it(garbage: bytes) -> None:
    with pytest.raises(Unreadable) as refused:
        read(garbage)

    assert str(refused.value)
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "newer",
    [
        changed(version=99),
        changed(type="completion.reconsidered"),
        changed(a_new_field=1),
        changed_body(a_new_field=1),
        changed_body(attempts=[{**golden("completion.failed.v1")["body"]["attempts"][0], "a_new_field": 1}]),
        changed_body(tier="planetary"),
    ],
)
def test_what_only_a_newer_process_can_have_said_is_from_the_future(newer: bytes) -> None:
    with pytest.raises(FromTheFuture) as refused:
        read(newer)

    assert refused.value.type in ("completion.failed", "completion.reconsidered")


@pytest.mark.parametrize(
    "broken",
    [
        changed_body(a_new_field=1, cost_nanousd=-1),
        changed(type="completion.reconsidered", at="yesterday"),
        changed(type="completion.reconsidered", account=None),
        raw({"type": "completion.reconsidered", "version": 1, "body": {}}),
    ],
)
def test_what_is_broken_besides_is_from_nowhere(broken: bytes) -> None:
    with pytest.raises(Unreadable) as refused:
        read(broken)

    assert not isinstance(refused.value, FromTheFuture)


def test_a_follower_keeps_account_subject_and_chain() -> None:
    asked = read((GOLDEN / "complete.v1.json").read_bytes())
    ended = read((GOLDEN / "completion.failed.v1.json").read_bytes())

    fact = asked.follow(ended.body, id="another", at=ended.at)

    assert (fact.account, fact.subject, fact.correlation) == (asked.account, asked.subject, asked.correlation)
    assert (fact.id, fact.cause, fact.type) == ("another", asked.id, "completion.failed")


def test_sealed_content_shows_in_no_representation() -> None:
    asked = read((GOLDEN / "complete.v1.json").read_bytes())

    assert golden("complete.v1")["body"]["question"] not in repr(asked)
