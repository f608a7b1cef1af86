"""What is broken, how often, and under what load: the scenarios of a campaign, as data.

The names in brackets are those of the fault table that the reliability goals are written in (F1, F4, …).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from app.faults.history import FaultName, Kind

EVERYBODY: Final[Mapping[Kind, int]] = {"plain": 3, "stream": 4, "async": 3, "keyed": 4, "resumed": 5, "leaving": 1}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way to break a Helix."""

    title: str
    faults: Mapping[FaultName, int]
    """How often each is done in one round; a round is shuffled by the seed, and rounds follow one another."""
    pause_s: tuple[float, float]
    """Between two faults."""
    clients: int = 24
    workers: int = 2
    slow: float = 1.0
    """Times the provider's ordinary pause before each word."""
    appendfsync: Literal["always", "everysec"] = "always"
    own_postgres: bool = False
    """Postgres is the campaign's own, so that nobody starts it again before its time."""
    own_log: bool = False
    """The log is the campaign's own, behind the proxy."""
    lines: bool = False
    """Postgres and the provider stand behind proxies too; they must be the campaign's own."""
    webs: int = 1
    partitions: int = 1
    kinds: Mapping[Kind, int] = field(default_factory=lambda: EVERYBODY)
    """Of clients, and how often each is chosen."""
    gate: bool = False
    """A revoked key and a limited one knock all the while."""
    unfenced: bool = False
    """One more worker, whose fence is taken down."""
    outage_s: float = 60.0
    patience_s: float = 120.0
    """How long a client comes back for what it was promised: longer than any outage here and what follows it."""
    must_break: tuple[str, ...] = ()
    """A control run: the checker must find these, or it is blind."""

    @property
    def power(self) -> bool:
        return "power" in self.faults


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "short": Scenario(
        "a little of everything: workers, log, web and projector killed, a freeze longer than the lease",
        {"worker": 4, "log": 1, "web": 1, "projector": 1, "freeze": 1},
        (0.5, 1.2),
        clients=16,
    ),
    "all": Scenario(
        "everything that can be killed or frozen, at random",
        {"worker": 8, "log": 2, "web": 2, "projector": 2, "cache": 1, "postgres": 1, "freeze": 2},
        (0.3, 1.5),
    ),
    "workers": Scenario("[F1] workers killed", {"worker": 1}, (0.2, 0.6), clients=32, workers=3),
    "web": Scenario("[F2] web processes killed", {"web": 1}, (0.3, 1.0)),
    "projector": Scenario("[F3] the projector killed", {"projector": 1}, (0.5, 1.5)),
    "log": Scenario("[F4] the log killed", {"log": 1}, (0.8, 2.0)),
    "power": Scenario("[F5] the log loses its power", {"power": 1}, (0.8, 2.0)),
    "postgres": Scenario("[F11] Postgres down for a minute", {"outage": 1}, (5.0, 5.0), own_postgres=True),
    "freeze": Scenario(
        "[F14] workers frozen for longer than their lease", {"freeze": 1}, (0.1, 0.3), workers=3, slow=3.0
    ),
    "streams": Scenario(
        "[F21] workers killed in the middle of streams that are followed with a bad line",
        {"worker": 1},
        (0.2, 0.8),
        clients=40,
        workers=3,
        slow=3.0,
    ),
    "network": Scenario(
        "[F15] the line to the log delayed, cut, and deaf in one direction",
        {"network": 1},
        (0.5, 1.5),
        own_log=True,
    ),
    "lines": Scenario(
        "[F15] the line between any two parts delayed, cut, and deaf in one direction",
        {"line": 1},
        (0.3, 1.0),
        workers=2,
        own_log=True,
        own_postgres=True,
        lines=True,
    ),
    "memory": Scenario("[F7] the log fills up while its readers stand still", {"memory": 1}, (2.0, 4.0)),
    "cache": Scenario(
        "[F8] the cache killed and emptied, while a revoked and a limited key knock",
        {"cache": 1, "flush": 1},
        (1.0, 2.0),
        gate=True,
    ),
    "locked": Scenario("[F12] the table of usage locked for half a minute", {"locked": 1}, (3.0, 5.0)),
    "clock": Scenario(
        "[F16] clocks of our processes set an hour or a day ahead or back, and back again", {"clock": 1}, (0.5, 1.5)
    ),
    "followers": Scenario(
        "[F22] one of two web processes killed, its followers go on at the other",
        {"web": 1},
        (2.0, 3.5),  # time for the one that was killed to be there again before the other is
        webs=2,
        slow=2.0,
        clients=30,
        kinds={"resumed": 1},
    ),
    "cluster": Scenario(
        "a Redis Cluster of three: nodes killed, workers killed", {"node": 3, "worker": 1}, (1.0, 2.5), partitions=6
    ),
    "control": Scenario(
        "control: no fence, and a log that fsyncs once a second; both must show",
        {"stale": 2, "power": 2},
        (0.8, 1.2),
        clients=16,
        workers=1,
        slow=3.0,
        appendfsync="everysec",
        unfenced=True,
        patience_s=8.0,
        must_break=("I1", "I5"),
    ),
    "control-everysec": Scenario(
        "control: a log that fsyncs once a second loses its power; must lose what was promised",
        {"power": 1},
        (1.0, 2.0),
        appendfsync="everysec",
        patience_s=15.0,
        must_break=("I1",),
    ),
    "control-unfenced": Scenario(
        "control: a worker without a fence is frozen; must end requests twice",
        {"stale": 1},
        (0.2, 0.5),
        slow=3.0,
        unfenced=True,
        must_break=("I5", "I8"),
    ),
}
