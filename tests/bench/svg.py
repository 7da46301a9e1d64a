"""Line charts side by side as SVG text: numbers on a logarithmic axis across, a linear one from 0 upwards that all share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 300, 240
LEFT, TOP, GAP = 60, 50, 40
COLOURS = ("#1f5fa8", "#c4501b", "#3c7d3c")
GRID = "#dddddd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One chart: lines of (number, value) by name. Numbers are positive."""

    title: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


def drawn(panels: Sequence[Panel], *, unit: str) -> str:
    """The whole picture."""
    top = _round_up(max(value for panel in panels for line in panel.lines.values() for _, value in line))
    width, height = LEFT + len(panels) * (WIDTH + GAP), TOP + HEIGHT + 50
    parts = [text(LEFT, 22, unit, size=14), *_legend(panels[0], width)]
    for index, panel in enumerate(panels):
        parts += _panel(panel, LEFT + index * (WIDTH + GAP), top)
    style = 'font-family="sans-serif" fill="#222222"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" {style}>'
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="white"/>', *parts, "</svg>\n"])


def text(x: float, y: float, words: str, *, size: int = 11, anchor: str = "start", fill: str = "") -> str:
    """A line of text."""
    colour = f' fill="{fill}"' if fill else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{colour}>{words}</text>'


def _legend(panel: Panel, width: int) -> Iterator[str]:
    for index, (name, colour) in enumerate(zip(panel.lines, COLOURS, strict=False)):
        yield text(width - GAP - 90 * index, 22, name, size=12, anchor="end", fill=colour)


def _panel(panel: Panel, left: float, top: float) -> Iterator[str]:
    numbers = sorted({number for line in panel.lines.values() for number, _ in line})
    low, high = math.log(numbers[0]), math.log(numbers[-1])

    def place(number: float, value: float) -> tuple[float, float]:
        across = (math.log(number) - low) / (high - low) if high > low else 0.5
        return left + 12 + across * (WIDTH - 24), TOP + HEIGHT * (1 - value / top)

    for step in range(6):
        _, y = place(numbers[0], top * step / 5)
        yield f'<line x1="{left}" y1="{y:.1f}" x2="{left + WIDTH}" y2="{y:.1f}" stroke="{GRID}"/>'
        yield text(left - 6, y + 4, f"{top * step / 5:g}", anchor="end")
    for number in numbers:
        yield text(place(number, 0)[0], TOP + HEIGHT + 16, f"{number:,.0f}", anchor="middle", size=10)
    yield text(left + WIDTH / 2, TOP + HEIGHT + 36, panel.title, anchor="middle", size=13)
    for line, colour in zip(panel.lines.values(), COLOURS, strict=False):
        points = [place(*point) for point in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points)


def _round_up(value: float) -> float:
    """To a number that five steps lead up to evenly."""
    magnitude = 10.0 ** math.floor(math.log10(max(value, 1.0)))
    return min(
        step * magnitude for step in (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0) if step * magnitude >= value
    )
