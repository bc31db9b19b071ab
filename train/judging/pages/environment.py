"""How pages are made of templates: one place for escaping, strictness and the style sheet that they share."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def page_environment(folder: Path) -> Environment:
    """For the templates of ``folder`` and what they include from here; everything that is put in is escaped."""
    # StrictUndefined: a misspelt name is an error, not an empty cell.
    return Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
