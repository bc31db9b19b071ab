"""How commands are found and explained: suggestions, and help in whole sentences for any width of a terminal."""

from __future__ import annotations

from collections.abc import Iterable

import click

MAX_WIDTH = 80
_MIN_WIDTH = 38
_WHOLE = 10_000  # more characters than any first sentence has


class _Formatter(click.HelpFormatter):
    """As click's, which neither goes below 50 columns nor narrows the column of names."""

    def __init__(self, width: int | None = None, max_width: int | None = None) -> None:
        import shutil  # nobody waits for it who asks for no help

        columns = min(shutil.get_terminal_size().columns, max_width or MAX_WIDTH)
        super().__init__(width=width or max(columns - 2, _MIN_WIDTH))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl(list(rows), min(col_max, self.width // 3), col_spacing)


class _Context(click.Context):
    formatter_class = _Formatter


class Command(click.Command):
    """A command whose help fits the terminal."""

    context_class = _Context


class Group(click.Group):
    """A group that lists its commands by their whole first sentences, and suggests one for a name that it does not know."""

    context_class = _Context
    command_class = Command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(_WHOLE)) for name, command in found if command])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name.startswith("-") or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        raise click.UsageError(f"No such command {name[:60]!r}.{self._suggestion(ctx, name)}", ctx)

    def _suggestion(self, ctx: click.Context, name: str) -> str:
        from difflib import get_close_matches

        meant = {path.rpartition(" ")[2]: path for path in (*self._inner_paths(ctx), *self.list_commands(ctx))}
        close = get_close_matches(name.lower(), meant, n=1)
        return f" Did you mean {meant[close[0]]!r}?" if close else ""

    def _inner_paths(self, ctx: click.Context) -> list[str]:
        """The commands of the groups in this one: ``bundles list``."""
        inner = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        groups = [(name, group) for name, group in inner if isinstance(group, click.Group)]
        return [f"{name} {one}" for name, group in groups for one in group.list_commands(ctx)]
