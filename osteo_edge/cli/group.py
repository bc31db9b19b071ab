"""The commands, one module each, imported when it is asked for; what went wrong becomes a line and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module

import click

from osteo_edge import __version__
from osteo_edge.cli import exit_codes
from osteo_edge.cli.help import Group
from osteo_edge.cli.terminal import tell, tell_misuse, tell_text
from osteo_edge.errors import OsteoEdgeError
from osteo_edge.printable import printable

_COMMANDS = {
    name: name
    for name in ("predict", "report", "risk", "watch", "receive", "kiosk", "audit", "bundles", "tune", "bench", "doctor")
}
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EPIPE)
_PURPOSE = (
    "osteo-edge screens knee radiographs for low bone density. It is a research screening aid, not a medical device "
    "and not a diagnosis; only DXA measures bone density."
)


class _CommandsOnDemand(Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"osteo_edge.cli.{_COMMANDS[cmd_name]}").command
        return command

    def _suggestion(self, ctx: click.Context, name: str) -> str:
        """A path instead of a command is what a newcomer tries first."""
        if os.path.exists(name):
            import shlex

            return f" For an answer to a picture or a folder: osteo-edge predict {printable(shlex.quote(name))}"
        return super()._suggestion(ctx, name)


@click.group(
    cls=_CommandsOnDemand,
    help=_PURPOSE,
    epilog="\b\nExample: osteo-edge predict image.png",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="osteo-edge", message=f"%(prog)s %(version)s\n{_PURPOSE}")
@click.option(
    "--verbose",
    is_flag=True,
    help="Tell more: with predict also scores and times; of a fault of osteo-edge itself the traceback.",
)
def cli(verbose: bool) -> None:
    """Every command is a module of its own."""


def run(arguments: list[str]) -> int:
    """Run one command and tell its fault, if any; returns a code of ``exit_codes``."""
    if sys.stdout is None:
        return _told("standard output is closed, so no answer could be printed", exit_codes.OUTPUT)
    try:
        return cli.main(arguments, prog_name="osteo-edge", standalone_mode=False) or exit_codes.ANSWERED
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        return _told("interrupted", exit_codes.INTERRUPTED)
    except click.ClickException as error:
        tell_misuse(error)
        return exit_codes.USAGE
    except OsteoEdgeError as error:
        return _told(str(error), exit_codes.of_error(error))
    except SystemExit:
        return exit_codes.OUTPUT  # click's way out when the reader of our output went away, as `head` does
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return _told(f"the output cannot be written: {error.strerror}", exit_codes.OUTPUT)
        from osteo_edge.headroom import ADVICE, shortage  # there already where anything was predicted

        if (reason := shortage(error)) is not None:  # a library that could not even be loaded, for one
            return _told(f"too little memory ({reason}); {ADVICE}", exit_codes.MEMORY)
        return _internal_fault(error, arguments)


def _internal_fault(error: Exception, arguments: list[str]) -> int:
    if "--verbose" in arguments:
        import traceback

        tell_text("".join(traceback.format_exception(error)), err=True, nl=False)
    return _told(
        f"a fault of osteo-edge itself ({type(error).__name__}: {str(error)[:200]}); "
        "'osteo-edge --verbose ...' tells more; please report it",
        exit_codes.INTERNAL,
    )


def _told(message: str, code: int) -> int:
    tell(f"osteo-edge: {message}", err=True)
    return code
