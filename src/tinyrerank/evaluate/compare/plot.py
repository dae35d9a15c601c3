"""The scatter plot, in plain HTML: places are percentages and names are text, so it fits any width."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

_HEIGHT_PX = 320  # 20rem in page.css
_WIDTH_PX = 300  # on the narrowest phone; on anything wider names are farther apart
_LINE_PX = 18
_LETTER_PX = 7.5
_LIFTS_PX = (17, -17, 35, -35, 53, -53, 71)


@dataclass(frozen=True, slots=True)
class Scale:
    """A range of values and the marks on it; places are percent of the way from ``low`` to ``high``."""

    low: float
    high: float
    marks: tuple[float, ...]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Where a value stands, in percent."""
        low, high = self.low, self.high
        if self.logarithmic:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return 100 * (value - low) / (high - low)


def linear_scale(values: Sequence[float]) -> Scale:
    """Round marks around the values, about five of them.

    Example:
        >>> linear_scale([0.431, 0.439]).marks
        (0.43, 0.432, 0.434, 0.436, 0.438, 0.44)
    """
    spread = max(max(values) - min(values), 0.004)
    exponent = math.floor(math.log10(spread / 4))
    step = min((m * 10.0**exponent for m in (1, 2, 5, 10)), key=lambda candidate: abs(spread / candidate - 4))
    first = math.floor(min(values) / step - 0.5)
    last = math.ceil(max(values) / step + 0.5)
    marks = tuple(round(n * step, 6) for n in range(first, last + 1))
    return Scale(marks[0], marks[-1], marks)


def log_scale(values: Sequence[float]) -> Scale:
    """Marks at 1, 2 and 5 times powers of ten.

    Example:
        >>> log_scale([12, 150]).marks
        (10.0, 20.0, 50.0, 100.0, 200.0)
    """
    decades = range(math.floor(math.log10(min(values))) - 1, math.ceil(math.log10(max(values))) + 2)
    ladder = [m * 10.0**d for d in decades for m in (1, 2, 5)]
    low = max(step for step in ladder if step <= min(values) * 0.95)
    high = min(step for step in ladder if step >= max(values) * 1.05)
    return Scale(low, high, tuple(step for step in ladder if low <= step <= high), logarithmic=True)


def scatter(points: Sequence[tuple[str, float, float]], *, base: tuple[str, float], metric: str) -> str:
    """A figure of quality against speed.

    Args:
        points: name, documents a second, quality.
        base: name and quality of what costs nothing: a dashed line.
        metric: name of the quality.
    """
    x = log_scale([speed for _, speed, _ in points])
    y = linear_scale([quality for *_, quality in points] + [base[1]])
    parts = [f'<div class="grid-x" style="left:{x.place(mark):.2f}%"></div>' for mark in x.marks]
    parts += [f'<div class="grid-y" style="bottom:{y.place(mark):.2f}%"></div>' for mark in y.marks]
    parts += [f'<span class="tick-x" style="left:{x.place(mark):.2f}%">{mark:,g}</span>' for mark in x.marks]
    parts += [f'<span class="tick-y" style="bottom:{y.place(mark):.2f}%">{mark:g}</span>' for mark in y.marks]
    dots = [_Box(_x_px(x.place(s)) - 8, _x_px(x.place(s)) + 8, *_around(y.place(q), 8)) for _, s, q in points]
    named, boxes = _named_base(base, y.place(base[1]), dots)
    parts += named
    for name, speed, quality in sorted(points, key=lambda point: -point[2]):
        left, bottom = x.place(speed), y.place(quality)
        parts += _named_dot(f"{name} {quality:.4f}", left, bottom, boxes)
    parts.append('<span class="axis-x">documents a second →</span>')
    told = "; ".join(f"{html.escape(n)}: {q:.4f} at {s:,.0f} documents a second" for n, s, q in points)
    return (
        f"<figure><figcaption>{metric}, mean over sets. Up and to the right is better; the dashed line is the"
        f' order that the systems were given.</figcaption><div class="plot" role="img" aria-label="{told};'
        f' {base[0]}: {base[1]:.4f}">{"".join(parts)}</div></figure>'
    )


@dataclass(frozen=True, slots=True)
class _Box:
    """A rectangle in pixels of the narrowest plot."""

    left: float
    right: float
    bottom: float
    top: float

    def touches(self, other: _Box) -> bool:
        beside = self.right <= other.left or other.right <= self.left
        return not (beside or self.top <= other.bottom or other.top <= self.bottom)


def _named_dot(name: str, left: float, bottom: float, boxes: list[_Box]) -> list[str]:
    """A dot, its name above or below it where there is room, and a line between the two if they are apart.

    ``boxes`` are what is there already; the name is added to them.
    """
    side = "start" if left < 25 else "end" if left > 75 else "middle"
    width = _LETTER_PX * len(name)
    start = _x_px(left) - {"start": 8.0, "middle": width / 2, "end": width - 8.0}[side]
    for lift in _LIFTS_PX:
        low, high = _around(bottom, _LINE_PX / 2, lift)
        box = _Box(start, start + width, low, high)
        if low >= 0 and not any(box.touches(other) for other in boxes):
            break
    boxes.append(box)
    beside = f"left:{left:.2f}%;bottom:calc({bottom:.2f}% + {lift}px)"
    at = f"left:{left:.2f}%;bottom:calc({bottom:.2f}% + {min(lift, 0)}px);height:{abs(lift)}px"
    return [
        f'<div class="lead" style="{at}"></div>',
        f'<div class="dot" style="left:{left:.2f}%;bottom:{bottom:.2f}%"></div>',
        f'<span class="name {side}" style="{beside}">{html.escape(name)}</span>',
    ]


def _named_base(base: tuple[str, float], at: float, dots: list[_Box]) -> tuple[list[str], list[_Box]]:
    """The dashed line with its name at the left end, above it or below; and all boxes so far."""
    for lift in (11, -13):
        low, high = _around(at, _LINE_PX / 2, lift)
        box = _Box(0.0, _LETTER_PX * (len(base[0]) + 8), low, high)
        if not any(box.touches(dot) for dot in dots):
            break
    parts = [
        f'<div class="base" style="bottom:{at:.2f}%"></div>',
        f'<span class="base-name" style="bottom:calc({at:.2f}% + {lift}px)">{base[0]} {base[1]:.4f}</span>',
    ]
    return parts, [*dots, box]


def _around(place: float, half: float, lift: int = 0) -> tuple[float, float]:
    """Bottom and top in pixels of something that is centred on a place."""
    at = place * _HEIGHT_PX / 100 + lift
    return at - half, at + half


def _x_px(place: float) -> float:
    return place * _WIDTH_PX / 100
