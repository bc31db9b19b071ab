"""The audit as plain data for JSON, and as one HTML page that needs neither network nor script."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.judging.pages.environment import page_environment
from train.research.audit.duplicates import Twin
from train.research.audit.examination import Audit
from train.research.audit.pictures import draw_twin

SCHEMA_VERSION = 1
TEMPLATE = "page.html.jinja"
_SHOWN_TWINS = 100
_BAR_PX, _ROW_PX = 360, 30


@dataclass(frozen=True)
class Bar:
    """A class's radiographs, drawn."""

    label: str
    radiographs: int
    groups: int
    width_px: int


@dataclass(frozen=True)
class Pair:
    """Two files that are one radiograph.

    Attributes:
        pictures: name and label of each.
        source: address of their picture, with the picture inside; empty without.
    """

    pictures: tuple[tuple[str, str], ...]
    how: str
    source: str

    @property
    def contradicts(self) -> bool:
        return len({label for _, label in self.pictures}) > 1


def plain_audit(audit: Audit) -> dict[str, Any]:
    """Everything but the pictures, for ``audit.json``; files are named as in the folder."""
    return {
        "schema_version": SCHEMA_VERSION,
        "radiographs": len(audit.names),
        "patients_known": audit.dataset.patients_known,
        "is_clean": audit.is_clean,
        "checks": audit.checks,
        "problems": audit.problems,
        "classes": audit.classes,
        "twins": [_plain_twin(audit, twin) for twin in audit.twins],
        "contradictions": audit.contradictions,
        "copies_in_different_groups": audit.parted,
        "spanning_the_split": audit.spans,
        "shortcuts": audit.shortcuts,
    }


def aggregate_audit(audit: Audit) -> dict[str, Any]:
    """What may be published of an audit: counts, figures and verdicts, no file and no patient named."""
    plain = plain_audit(audit)
    for named in ("problems", "twins", "contradictions", "copies_in_different_groups", "spanning_the_split"):
        plain[named] = None if plain[named] is None else len(plain[named])
    return plain


def _plain_twin(audit: Audit, twin: Twin) -> dict[str, Any]:
    plain: dict[str, Any] = {"files": [audit.names[twin.first], audit.names[twin.second]], "kind": twin.kind}
    found = twin.registration
    if found is not None:
        plain |= {
            "is_mirrored": found.form.is_mirrored,
            "is_inverted": found.form.is_inverted,
            "rotation_degrees": round(found.rotation_degrees, 1),
            "scale": round(_true_scale(audit, twin), 3),
            "overlap": round(float(found.overlap), 3),
            "agreement": round(float(found.agreement), 3),
            "inliers": found.inliers,
        }
    return plain


def _true_scale(audit: Audit, twin: Twin) -> float:
    """Between the whole pictures: the registration's own is between the small ones."""
    if twin.registration is None:
        return 1.0
    shrunk = [one.work.shape[1] / one.width_px for one in (audit.descriptors[twin.first], audit.descriptors[twin.second])]
    return float(twin.registration.scale * shrunk[0] / shrunk[1])


def write_page(audit: Audit, *, title: str, with_pictures: bool) -> str:
    """The report as one HTML document; every name is escaped, every picture is inside of it."""
    shown = audit.twins[:_SHOWN_TWINS]
    kinds = {name for counts in audit.classes.values() for name in counts if name.startswith("acquisition ")}
    page = page_environment(Path(__file__).parent).get_template(TEMPLATE)
    return page.render(
        audit=audit,
        title=title,
        bars=_bars(audit),
        row_px=_ROW_PX,
        kinds=sorted(kinds),
        pairs=[_pair(audit, twin, with_picture=with_pictures) for twin in shown],
        more=len(audit.twins) - len(shown),
    )


def _bars(audit: Audit) -> list[Bar]:
    most = max(1, *(counts["radiographs"] for counts in audit.classes.values()))
    return [
        Bar(label, counts["radiographs"], counts["groups"], round(_BAR_PX * counts["radiographs"] / most))
        for label, counts in audit.classes.items()
    ]


def _pair(audit: Audit, twin: Twin, *, with_picture: bool) -> Pair:
    places = (twin.first, twin.second)
    pictures = tuple((audit.names[place], audit.dataset.radiographs[place].label) for place in places)
    first, second = (audit.descriptors[place] for place in places)
    source = draw_twin(first, second, twin) if with_picture else ""
    return Pair(pictures, _how(audit, twin), source)


def _how(audit: Audit, twin: Twin) -> str:
    found = twin.registration
    if found is None:
        return twin.kind
    parts: list[str] = [twin.kind]
    parts += ["mirrored"] * found.form.is_mirrored + ["inverted"] * found.form.is_inverted
    parts += [f"turned by {found.rotation_degrees:.0f}°"] * (abs(found.rotation_degrees) >= 1)
    parts += [f"scaled by {_true_scale(audit, twin):.2f}"]
    return ", ".join(parts) + f"; {100 * found.overlap:.0f} % in common, agreement {found.agreement:.2f}"
