"""``osteo-edge risk``: published risk scores and one next step, without a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from osteo_edge.cli.help import Command
from osteo_edge.cli.person import FILE_COLUMN, PERSON_COLUMN, person_options, read_rows, require_only_table, split_covariates
from osteo_edge.cli.terminal import tell, tell_text
from osteo_edge.clinical.known import MEANINGS
from osteo_edge.errors import CovariateError
from osteo_edge.printable import enumerate_words

if TYPE_CHECKING:
    from osteo_edge.cli.person import Row
    from osteo_edge.covariates import Given

_BY_OPTION = ("age_years", "sex", "weight_kg")
_ASKED = "\n".join(f"  {name:<21} {meaning}" for name, meaning in MEANINGS.items() if name not in _BY_OPTION)
_EPILOG = f"""\b
Examples:
  osteo-edge risk --age 67 --sex female --weight 58
  osteo-edge risk --age 58 --sex F --weight 62 --covariate estrogen_use=no
  osteo-edge risk --covariates-table persons.csv > scores.csv

\b
What --covariate takes:
{_ASKED}

Exit codes: 0 told, 2 usage or a value that cannot be."""


@click.command("risk", cls=Command, epilog=_EPILOG)
@person_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object; of a table an array.")
@click.option("--sources", "with_sources", is_flag=True, help="Also tell formulas, publications and what studies reported.")
def command(
    weight_kg: str | None,
    age_years: float | None,
    sex: str | None,
    covariates: tuple[str, ...],
    table: Path | None,
    as_json: bool,
    with_sources: bool,
) -> None:
    """Compute published risk scores (OST, OSTA, ORAI, SCORE, OSIRIS) and one next step, without a picture.

    A score is computed where all that it asks for is given and it was made for such a person; else it is said what is missing,
    or why it is not for this person. Scores tell who may be offered a DXA scan; they are no diagnosis.

    A table has a column 'person' or 'file', and one a covariate; its answer is CSV.
    """
    if table is None:
        _tell_one(_known(age_years, sex, weight_kg, covariates), as_json=as_json, with_sources=with_sources)
        return
    require_only_table(age_years, sex, weight_kg, covariates)
    _tell_several(_checked_rows(table), as_json=as_json)


def _known(age_years: float | None, sex: str | None, weight_kg: str | None, covariates: tuple[str, ...]) -> Given:
    """What the options say.

    Raises:
        CovariateError: something was given twice, or no score asks for it.
        UsageError: nothing was given.
    """
    from osteo_edge.covariates import gather

    known = gather(age_years, sex, split_covariates(covariates), weight_kg=weight_kg)
    if unknown := [name for name in known if name not in MEANINGS]:
        raise CovariateError(f"no score asks for {unknown[0][:60]!r}; they ask for {', '.join(MEANINGS)}")
    if not known:
        raise click.UsageError("tell something of the person: --age, --sex and --weight are enough for a first score")
    return known


def _checked_rows(table: Path) -> list[Row]:
    """All rows are looked at before any is told, so that a fault in the last leaves no half of a table.

    Raises:
        UsageError: names the line.
    """
    from osteo_edge.clinical.known import read_known

    rows = read_rows(table, (PERSON_COLUMN, FILE_COLUMN))
    if not rows:
        raise click.UsageError(f"{table} has no row below its first line")
    lines: dict[str, int] = {}
    unused: dict[str, None] = {}
    for row in rows:
        if row.name and lines.setdefault(row.name, row.line) != row.line:
            raise click.UsageError(f"{table}, line {row.line}: this person has a row already, in line {lines[row.name]}")
        try:
            unused |= dict.fromkeys(read_known(row.given).unused)
        except CovariateError as error:
            raise click.UsageError(f"{table}, line {row.line}: {error}") from error
    if unused:  # one of these columns may be a slip of the pen
        tell(f"osteo-edge: no score asks for {enumerate_words(unused)}; passed over", err=True)
    return rows


def _tell_one(known: Given, *, as_json: bool, with_sources: bool) -> None:
    from osteo_edge.clinical.advice import risk_of
    from osteo_edge.reports.risk import INTENDED_USE, to_dict, to_lines

    risk = risk_of(known)
    lines = [json.dumps(to_dict(risk), indent=2)] if as_json else [*to_lines(risk, with_sources=with_sources), "", INTENDED_USE]
    tell_text("\n".join(lines))


def _tell_several(rows: Sequence[Row], *, as_json: bool) -> None:
    import csv
    import io
    from itertools import chain

    from osteo_edge.clinical.advice import risk_of
    from osteo_edge.reports.risk import CSV_COLUMNS, to_dict, to_row

    named = ((row.name or f"line {row.line}", risk_of(row.given)) for row in rows)
    if as_json:
        for place, (name, risk) in enumerate(named):
            tell_text(f"{',' if place else '['}\n{json.dumps(to_dict(risk, name=name))}", nl=False)
        tell_text("\n]")
        return
    for cells in chain([CSV_COLUMNS], (to_row(risk, name=name) for name, risk in named)):
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        tell_text(line.getvalue(), nl=False)
