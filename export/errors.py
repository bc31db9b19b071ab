"""The one error of the export room."""

from __future__ import annotations


class ExportError(Exception):
    """An export that must not be used; the message is one line: what is wrong, where, and what to do about it."""
