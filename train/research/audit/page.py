"""The audit as plain data for JSON, and as one HTML page that needs neither network nor script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from osteo_edge.manifest import Metric
from train.research.audit.duplicates import Twin
from train.research.audit.examination import Audit
from train.research.audit.findings import Tie
from train.research.audit.pictures import draw_twin

SCHEMA_VERSION = 1
_SHOWN_TWINS = 100
_BAR_PX, _ROW_PX = 360, 30

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --line: #c9d1d9; --soft: #f3f5f7;
  --pass: #1a7f37; --warn: #8a5a00; --fail: #b3261e; --bar: #3b6ea5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #12161b; --line: #3a434d; --soft: #1c2229;
  --pass: #56d364; --warn: #e3b341; --fail: #ff8a80; --bar: #79aee0; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .6rem .3rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; }
.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
.pass { color: var(--pass); } .warn { color: var(--warn); } .fail { color: var(--fail); } .verdict { font-weight: 600; }
figure { margin: 1rem 0; padding: .8rem; background: var(--soft); border: 1px solid var(--line); border-radius: 6px; }
figure img { max-width: 100%; display: block; } figcaption { overflow-wrap: anywhere; margin-bottom: .5rem; }
code { font-size: .92em; overflow-wrap: anywhere; } svg { max-width: 100%; }
svg text { fill: var(--ink); font: 14px system-ui, sans-serif; } svg rect { fill: var(--bar); }
"""


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
    body = "".join(
        [
            f"<h1>Audit of {escape(title)}</h1>",
            f"<p>{len(audit.names)} radiographs. For research: this judges a collection, no patient.</p>",
            _section("Verdicts", _checks(audit)),
            _section("Classes", _bars(audit)),
            _section("Rows and pictures that cannot be used", _list(audit.problems)),
            _section("Contradicting labels", _ties(audit.contradictions)),
            _section("Copies under different patient groups", _ties(audit.parted)),
            "" if audit.spans is None else _section("Patients and copies that span the split", _ties(audit.spans)),
            _section("What can be guessed without detail of the knee", _shortcuts(audit)),
            _section("Copies", _twins(audit, with_pictures=with_pictures)),
        ]
    )
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Audit of {escape(title)}</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{_STYLE}</style></head><body>{body}</body></html>\n'


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>{content or '<p>None.</p>'}"


def _verdict(verdict: str) -> str:
    return f'<span class="verdict {verdict}">{verdict}</span>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    titles = "".join(f"<th>{escape(name)}</th>" for name in head)
    cells = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{titles}</tr>{cells}</table>"


def _checks(audit: Audit) -> str:
    rows = [(escape(check.name), _verdict(check.verdict), escape(check.reason)) for check in audit.checks]
    return _table(("check", "verdict", "why"), rows)


def _bars(audit: Audit) -> str:
    most = max(1, *(counts["radiographs"] for counts in audit.classes.values()))
    bars = "".join(
        f'<text x="0" y="{row * _ROW_PX + 20}">{escape(label)}</text>'
        f'<rect x="130" y="{row * _ROW_PX + 5}" width="{_BAR_PX * counts["radiographs"] / most:.0f}" height="20"/>'
        f'<text x="{140 + _BAR_PX * counts["radiographs"] / most:.0f}" y="{row * _ROW_PX + 20}">{counts["radiographs"]}'
        f" ({counts['groups']} groups)</text>"
        for row, (label, counts) in enumerate(audit.classes.items())
    )
    height = _ROW_PX * len(audit.classes)
    picture = f'<svg role="img" aria-label="Radiographs by class" width="660" height="{height}">{bars}</svg>'
    kinds = sorted({name for counts in audit.classes.values() for name in counts if name.startswith("acquisition ")})
    rows = [
        (escape(kind.removeprefix("acquisition ")), *(str(counts.get(kind, 0)) for counts in audit.classes.values()))
        for kind in kinds
    ]
    return picture + _table(("acquisition", *audit.classes), rows)


def _list(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(one)}</li>" for one in sentences) + "</ul>" if sentences else ""


def _ties(ties: Sequence[Tie]) -> str:
    rows = [(escape(tie.reason), "<br>".join(_tied_files(tie))) for tie in ties]
    return _table(("tied by", "files, and what each stands under"), rows) if rows else ""


def _tied_files(tie: Tie) -> list[str]:
    return [f"<code>{escape(name)}</code>: {escape(value)}" for name, value in zip(tie.files, tie.values, strict=True)]


def _shortcuts(audit: Audit) -> str:
    rows = [
        (escape(one.shown), _metric(one.macro_auc), _metric(one.balanced_accuracy), _verdict(one.verdict), escape(one.reason))
        for one in audit.shortcuts
    ]
    head = ("shown to a linear classifier", "macro AUC (95 %)", "balanced accuracy (95 %)", "verdict", "why")
    return _table(head, rows) if rows else "<p>Not judged; the verdicts say why.</p>"


def _metric(metric: Metric | None) -> str:
    return "" if metric is None else f'<span class="number">{metric.value:.2f} ({metric.low:.2f} to {metric.high:.2f})</span>'


def _twins(audit: Audit, *, with_pictures: bool) -> str:
    if not audit.twins:
        return ""
    shown = audit.twins[:_SHOWN_TWINS]
    more = f"<p>{len(audit.twins) - len(shown)} more pairs stand in audit.json.</p>" if len(audit.twins) > len(shown) else ""
    legend = (
        "<p>The outline on the second picture is where the first one lies. In the third, one is laid on the other: grey "
        "where they are one, coloured where they differ.</p>"
    )
    return legend + "".join(_twin(audit, twin, with_pictures=with_pictures) for twin in shown) + more


def _twin(audit: Audit, twin: Twin, *, with_pictures: bool) -> str:
    labels = [audit.dataset.radiographs[place].label for place in (twin.first, twin.second)]
    names = [audit.names[place] for place in (twin.first, twin.second)]
    described = " and ".join(f"<code>{escape(name)}</code> ({label})" for name, label in zip(names, labels, strict=True))
    contradicting = ' <span class="verdict fail">labels contradict</span>' if labels[0] != labels[1] else ""
    picture = ""
    if with_pictures:
        source = draw_twin(audit.descriptors[twin.first], audit.descriptors[twin.second], twin)
        picture = f'<img src="{source}" alt="the two pictures side by side">'
    return f"<figure><figcaption>{described}: {escape(_how(audit, twin))}{contradicting}</figcaption>{picture}</figure>"


def _how(audit: Audit, twin: Twin) -> str:
    found = twin.registration
    if found is None:
        return twin.kind
    parts: list[str] = [twin.kind]
    parts += ["mirrored"] * found.form.is_mirrored + ["inverted"] * found.form.is_inverted
    parts += [f"turned by {found.rotation_degrees:.0f}°"] * (abs(found.rotation_degrees) >= 1)
    parts += [f"scaled by {_true_scale(audit, twin):.2f}"]
    return ", ".join(parts) + f"; {100 * found.overlap:.0f} % in common, agreement {found.agreement:.2f}"
