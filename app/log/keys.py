"""The names of everything on the log server. `{p}` is a hash tag: all keys of one account share a slot."""

from __future__ import annotations

from zlib import crc32

COMPLETIONS = "completions"
"""The consumer group of the workers that answer completions."""


def partition_of(account: str, partitions: int) -> int:
    """Which partition holds an account; must be the same in every process for ever."""
    return crc32(account.encode()) % partitions


def partitions(partition: int) -> str:
    """How many partitions the log was made with; the same in each."""
    return f"helix:{{{partition}}}:partitions"


def commands(partition: int) -> str:
    return f"helix:{{{partition}}}:commands"


def events(partition: int) -> str:
    return f"helix:{{{partition}}}:events"


def parked(partition: int) -> str:
    return f"helix:{{{partition}}}:parked"


def control(partition: int) -> str:
    """The channel on which workers hear of cancellations."""
    return f"helix:{{{partition}}}:control"


def live(partition: int, request: str) -> str:
    return f"helix:{{{partition}}}:live:{request}"


def reply(partition: int, web: str) -> str:
    return f"helix:{{{partition}}}:reply:{web}"


def request(partition: int, request: str) -> str:
    return f"helix:{{{partition}}}:request:{request}"


def deleted(partition: int, request: str) -> str:
    """A mark that the content of an ended request is not wanted any more, until every reader has heard the fact."""
    return f"helix:{{{partition}}}:deleted:{request}"


def open_requests(partition: int, account: str) -> str:
    return f"helix:{{{partition}}}:open:{account}"


def rate(partition: int, subject: str) -> str:
    return f"helix:{{{partition}}}:rate:{subject}"


def idempotency(partition: int, account: str, digest: str) -> str:
    return f"helix:{{{partition}}}:idempotency:{account}:{digest}"


def retry(partition: int, api_key_id: str, digest: str) -> str:
    return f"helix:{{{partition}}}:retry:{api_key_id}:{digest}"


def day(partition: int, account: str) -> str:
    """How many requests an account has made since midnight."""
    return f"helix:{{{partition}}}:day:{account}"


def holds(partition: int) -> str:
    """What each open request has reserved."""
    return f"helix:{{{partition}}}:holds"


def touched(partition: int) -> str:
    """Purses that something was paid from since somebody looked."""
    return f"helix:{{{partition}}}:touched"


def purse(partition: int, account: str, subject: str) -> str:
    """What is spent on a subject: `account`, `key:<id>`, `member:<id>`."""
    return f"{_purses(partition)}{account}:{subject}"


def purse_of(partition: int, key: str) -> tuple[str, str]:
    """The account and the subject of a purse's key."""
    account, _, subject = key.removeprefix(_purses(partition)).partition(":")
    return account, subject


def _purses(partition: int) -> str:
    return f"helix:{{{partition}}}:purse:"
