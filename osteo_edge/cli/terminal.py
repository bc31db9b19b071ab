"""The one way by which text reaches a terminal: names and messages from files and manifests cannot steer it."""

from __future__ import annotations

import io

import click

from osteo_edge.printable import printable, printable_lines


def tell(line: str, *, err: bool = False) -> None:
    """Write one line; a line end inside it is shown as an escape too."""
    click.echo(printable(line), err=err)


def tell_text(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Write text of several lines, whose line ends were put there on purpose; ``nl`` adds one."""
    click.echo(printable_lines(text), err=err, nl=nl)


def clear_line() -> None:
    """Remove what a progress bar left on the line of the terminal."""
    click.echo("\r\x1b[K", nl=False, err=True)


def tell_misuse(error: click.ClickException) -> None:
    """What click says of wrong usage, with what was typed as escapes; its whole help, where nothing was."""
    is_help = type(error).__name__ == "NoArgsIsHelpError"  # of newer releases of click; older ones end without an error
    error.message = error.message if is_help else printable(error.message)  # type: ignore[misc]  # final in newer releases, as a word to type checkers alone
    shown = io.StringIO()
    error.show(shown)
    tell_text(shown.getvalue().expandtabs(), err=True, nl=False)
