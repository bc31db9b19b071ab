"""A small chart of a course over time, as SVG: a bar a picture from the lowest to the highest class that remains."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from html import escape
from typing import Final

from osteo_edge.reports.pages.course import Course

WIDTH: Final = 320
ROW: Final = 24
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 30, 8, 26
_COLOURS: Final = {"right": "#7a1d1d", "left": "#1d3f7a", None: "#1b5e3a"}
_OFFSETS: Final = {"right": -5, "left": 5, None: 0}
_MAX_DATES: Final = 3


def height_of(course: Course) -> int:
    """Of the chart, in pixels."""
    return _TOP + ROW * len(course.labels) + _BOTTOM


def draw(courses: Sequence[Course]) -> str:
    """The courses of one question, on one chart.

    Args:
        courses: of the same labels; not empty.
    """
    labels, height = courses[0].labels, height_of(courses[0])
    days = sorted({point.day for course in courses for point in course.points})
    body = [*_rows(labels), *_dates(days, height)]
    for course in courses:
        body += _bars(course, days, len(labels))
    letters = 'font-family="Noto Sans, sans-serif" font-size="10"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" {letters}>'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>{"".join(body)}</svg>'
    )


def _rows(labels: tuple[str, ...]) -> list[str]:
    """A line a class, the lowest at the bottom."""
    lines = []
    for place, label in enumerate(labels):
        y = _y(place, len(labels))
        lines.append(f'<line x1="{_LEFT}" y1="{y}" x2="{WIDTH - 8}" y2="{y}" stroke="#dddddd"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 3.5}" text-anchor="end" fill="#1a1a1a">{escape(label)}</text>')
    return lines


def _dates(days: list[date], height: int) -> list[str]:
    shown = days if len(days) <= _MAX_DATES else [days[0], days[-1]]
    return [
        f'<text x="{_x(day, days)}" y="{height - 10}" text-anchor="middle" fill="#1a1a1a">{day.isoformat()}</text>'
        for day in shown
    ]


def _bars(course: Course, days: list[date], count: int) -> list[str]:
    """Bars with round ends; sides stand beside one another, in colours and strokes of their own."""
    colour, drawn = _COLOURS[course.side], []
    for point in course.points:
        if point.remaining is None:
            continue
        x = _x(point.day, days) + _OFFSETS[course.side]
        low, high = (_y(place, count) for place in point.remaining)
        dashed = ' stroke-dasharray="1 8"' if course.side == "left" and low != high else ""
        ends = f'<circle cx="{x}" cy="{low}" r="3.5" fill="{colour}"/><circle cx="{x}" cy="{high}" r="3.5" fill="{colour}"/>'
        stroke = f'stroke="{colour}" stroke-width="4" stroke-linecap="round"{dashed}'
        drawn.append(f'<line x1="{x}" y1="{low}" x2="{x}" y2="{high}" {stroke}/>{ends}')
    return drawn


def _x(day: date, days: list[date]) -> float:
    span = (days[-1] - days[0]).days or 1
    return round(_LEFT + 24 + (WIDTH - _LEFT - _RIGHT - 30) * (day - days[0]).days / span, 1)


def _y(place: int, count: int) -> float:
    return round(_TOP + ROW * (count - 1 - place) + ROW / 2, 1)
