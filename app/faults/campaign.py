"""One campaign: a Helix is started, loaded, broken by a seed, drained, read, and judged.

One rule: the seed decides what is asked and what is broken, in which order; how that interleaves is the machine's.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from app.faults import balances
from app.faults.breaker import Breaker
from app.faults.checker import INVARIANTS, Verdict, check
from app.faults.crowd import Crowd
from app.faults.evidence import Evidence
from app.faults.gate import keys_of, knock
from app.faults.gather import gather
from app.faults.history import FaultName, History, read_history
from app.faults.reach import NotBroken
from app.faults.scenarios import Scenario
from app.faults.victim import Victim, victim

WARM_S: Final = 1.0
"""Load without faults at the start: the first fault shall hit something."""


@dataclass(frozen=True, slots=True)
class Result:
    """One campaign and its verdict."""

    scenario: str
    seed: int
    seconds: float
    verdict: Verdict
    unbroken: tuple[str, ...]
    """Faults that could not be done."""
    must_break: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """An ordinary run passes without a finding, a control run with every finding that it must have."""
        if self.must_break:
            return all(self.verdict.count(one) for one in self.must_break)
        return self.verdict.good and not self.unbroken

    def document(self) -> dict[str, object]:
        return {
            "scenario": self.scenario,
            "seed": self.seed,
            "passed": self.passed,
            "seconds": round(self.seconds, 1),
            "must_break": self.must_break,
            "invariants": {name: self.verdict.count(name) for name in INVARIANTS},
            "figures": asdict(self.verdict.figures),
            "unbroken": self.unbroken,
            "findings": [asdict(one) for one in self.verdict.findings[:200]],
        }


async def run(
    name: str,
    scenario: Scenario,
    *,
    seed: int,
    seconds: float,
    evidence: Path,
    say: Callable[[str], None],
    rounds_max: int | None = None,
) -> Result:
    """Break a Helix for so long, or so many rounds. What was seen lies in `evidence`, an absolute path, afterwards.

    Raises CannotRun where the machine lacks what the scenario needs, RuntimeError when Helix does not start.
    """
    history = History(evidence / "history.jsonl")
    began = time.monotonic()
    try:
        async with victim(scenario, evidence) as helix:
            say(f"{name}, seed {seed}: {scenario.title}")
            unbroken = await _load_and_break(helix, scenario, history, seed, seconds, began, say, rounds_max)
            say("draining and reading")
            found = await gather(
                helix.facts,
                helix.data,
                helix.provider.asked,
                partitions=scenario.partitions,
                rebuild=not scenario.must_break,
            )
    finally:
        history.close()
    (evidence / "evidence.json").write_text(found.model_dump_json(indent=1))
    result = Result(
        name, seed, time.monotonic() - began, check(history.records, found), tuple(unbroken), scenario.must_break
    )
    (evidence / "verdict.json").write_text(json.dumps(result.document(), indent=1))
    if result.passed:
        shutil.rmtree(evidence / "data", ignore_errors=True)  # large, and told in short by the rest
    return result


async def _load_and_break(
    helix: Victim,
    scenario: Scenario,
    history: History,
    seed: int,
    seconds: float,
    began: float,
    say: Callable[[str], None],
    rounds_max: int | None,
) -> list[str]:
    """→ what could not be broken. Returns when every client has ended its last story."""
    facts = helix.facts
    await balances.fill(facts, scenario.partitions)
    crowd = Crowd(
        facts["base_url"],
        {"developer": facts["api_key"], "operator": facts["admin_key"]},
        history,
        seed=seed,
        kinds=scenario.kinds,
        slow=scenario.slow,
        patience_s=scenario.patience_s,
        began=began,
    )
    enough = asyncio.Event()
    knocking = None
    if scenario.gate:
        knocking = asyncio.create_task(knock(facts["base_url"], await keys_of(helix.data), enough))
    load = asyncio.create_task(crowd.run(scenario.clients))
    dice = random.Random(seed)  # noqa: S311  # for repeating, not for secrets
    breaker = Breaker(helix.reach, history, dice, began)
    unbroken: list[str] = []
    until = time.monotonic() + seconds
    said_at = time.monotonic()
    done = 0
    try:
        await asyncio.sleep(WARM_S)
        for fault in plan(scenario, dice, rounds_max):
            if time.monotonic() > until or load.done():
                break
            try:
                await breaker.do(fault)
                done += 1
            except (NotBroken, TimeoutError) as failed:
                unbroken.append(f"{fault}: {failed}")
            if time.monotonic() - said_at > 30:
                said_at = time.monotonic()
                say(f"{done} faults, {crowd.stories} stories")
            await asyncio.sleep(dice.uniform(*scenario.pause_s))
    finally:
        crowd.stop()
        enough.set()
        await load
    if knocking:
        history.write(await knocking)
    await crowd.probe()
    return unbroken


def plan(scenario: Scenario, dice: random.Random, rounds_max: int | None) -> Iterator[FaultName]:
    """Round after round, each shuffled."""
    done = 0
    while rounds_max is None or done < rounds_max:
        one_round = [fault for fault, times in scenario.faults.items() for _ in range(times)]
        dice.shuffle(one_round)
        yield from one_round
        done += 1


def judge(evidence: Path) -> Result:
    """The verdict over an evidence folder, reached again from what lies in it. Raises OSError, ValueError."""
    said = json.loads((evidence / "verdict.json").read_text())
    history = list(read_history(evidence / "history.jsonl"))
    found = Evidence.model_validate_json((evidence / "evidence.json").read_text())
    return Result(
        said["scenario"],
        said["seed"],
        said["seconds"],
        check(history, found),
        tuple(said["unbroken"]),
        tuple(said["must_break"]),
    )
