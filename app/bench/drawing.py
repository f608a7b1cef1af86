"""A chart of calls and waits over time as SVG, drawn by hand: two panels, one time axis, no library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 880
PANEL: Final = 170
LEFT: Final = 56
RIGHT: Final = 16
TOP: Final = 58
GAP: Final = 46
HEIGHT: Final = TOP + 2 * PANEL + GAP + 44

_SMOOTHED_S: Final = 3
"""Each point is the mean of so many seconds: a second has only a handful of calls."""

_COLOURS: Final = ("#3b6fb6", "#c2483c", "#5a9a57")
_GREY: Final = "#888"


@dataclass(frozen=True, slots=True)
class Chart:
    """One value for each second in every series."""

    title: str
    phases: Sequence[tuple[float, float, str]]
    """From, to, what it is called; every second one is shaded."""
    calls: Mapping[str, Sequence[float]]
    moody: str
    """The series that is drawn strong."""
    median_s: Sequence[float]
    worst_s: Sequence[float]


def draw(chart: Chart) -> str:
    """The SVG document."""
    seconds = len(chart.median_s)
    most_calls = max(max(_smooth(series)) for series in chart.calls.values())
    most_s = max(chart.worst_s)
    body = [
        f'<text x="{LEFT}" y="22" font-size="15" fill="#222">{escape(chart.title)}</text>',
        *(_phase(phase, place, seconds) for place, phase in enumerate(chart.phases)),
        *_axis(TOP, most_calls, "calls a second", seconds),
        *_axis(TOP + PANEL + GAP, most_s, "clients wait, s", seconds),
    ]
    for place, (name, series) in enumerate(chart.calls.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        body.append(_line(_smooth(series), most_calls, TOP, colour, 2.6 if name == chart.moody else 1.6, seconds))
        body.append(_legend(name, colour, place, TOP + 14))
    below = TOP + PANEL + GAP
    body.append(_line(chart.worst_s, most_s, below, "#b9a27a", 1.2, seconds))
    body.append(_line(chart.median_s, most_s, below, "#222", 1.8, seconds))
    body += [_legend("the slowest", "#b9a27a", 0, below + 14), _legend("half of them", "#222", 1, below + 14)]
    inside = "\n".join(body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="11">\n<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n'
        f"{inside}\n</svg>\n"
    )


def _x(second: float, seconds: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * second / seconds


def _phase(phase: tuple[float, float, str], place: int, seconds: int) -> str:
    from_s, to_s, said = phase
    left, right = _x(from_s, seconds), _x(to_s, seconds)
    shade = "#f4f1ea" if place % 2 else "#fff"
    return (
        f'<rect x="{left:.1f}" y="{TOP - 20}" width="{right - left:.1f}" height="{2 * PANEL + GAP + 20}" '
        f'fill="{shade}"/><text x="{left + 5:.1f}" y="{TOP - 7}" fill="{_GREY}">{escape(said)}</text>'
    )


def _axis(top: int, most: float, said: str, seconds: int) -> list[str]:
    bottom = top + PANEL
    lines = [
        f'<line x1="{LEFT}" y1="{bottom}" x2="{WIDTH - RIGHT}" y2="{bottom}" stroke="{_GREY}"/>',
        f'<text x="14" y="{top + PANEL // 2}" fill="{_GREY}" text-anchor="middle" '
        f'transform="rotate(-90 14 {top + PANEL // 2})">{escape(said)}</text>',
    ]
    for share in (0.5, 1.0):
        y = bottom - share * (PANEL - 10)
        lines.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" fill="{_GREY}" text-anchor="end">{most * share:.1f}</text>')
    for second in range(0, seconds + 1, 10):
        x = _x(second, seconds)
        lines.append(f'<text x="{x:.1f}" y="{bottom + 15}" fill="{_GREY}" text-anchor="middle">{second} s</text>')
    return lines


def _line(series: Sequence[float], most: float, top: int, colour: str, width: float, seconds: int) -> str:
    points = " ".join(
        f"{_x(second + 0.5, seconds):.1f},{top + PANEL - value / most * (PANEL - 10):.1f}"
        for second, value in enumerate(series)
    )
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _legend(name: str, colour: str, place: int, y: int) -> str:
    x = WIDTH - RIGHT - 90
    at = y + 15 * place
    return (
        f'<line x1="{x}" y1="{at - 4}" x2="{x + 18}" y2="{at - 4}" stroke="{colour}" stroke-width="2.5"/>'
        f'<text x="{x + 23}" y="{at}" fill="#222">{escape(name)}</text>'
    )


def _smooth(series: Sequence[float]) -> list[float]:
    half = _SMOOTHED_S // 2
    return [
        sum(series[max(0, at - half) : at + half + 1]) / len(series[max(0, at - half) : at + half + 1])
        for at in range(len(series))
    ]
