"""The command line's entry: one module a command, imported when it is asked for."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

from osteo_edge import __version__
from osteo_edge.cli import exit_codes
from osteo_edge.errors import OsteoEdgeError

_COMMANDS = {"predict": "predict", "bundles": "bundles", "doctor": "doctor"}
_PURPOSE = (
    "osteo-edge screens knee radiographs for low bone density. It is a research screening aid, not a medical device "
    "and not a diagnosis; only DXA measures bone density."
)


class _CommandsOnDemand(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"osteo_edge.cli.{_COMMANDS[cmd_name]}").command
        return command


@click.group(cls=_CommandsOnDemand, help=_PURPOSE, epilog="Example: osteo-edge predict image.png")
@click.version_option(__version__, prog_name="osteo-edge", message=f"%(prog)s %(version)s\n{_PURPOSE}")
@click.option("--verbose", is_flag=True, help="Log what is done, and show the traceback of a fault, on standard error.")
def cli(verbose: bool) -> None:
    if verbose:
        import logging

        logging.basicConfig(stream=sys.stderr, level=logging.DEBUG, format="osteo-edge: %(levelname)s: %(message)s")


def main() -> None:
    """Run the command line and end the process with a code of ``exit_codes``."""
    # OpenCV logs every refused file on standard error; the reason is in our answer. Read when cv2 is loaded.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    code = _flushed(_run(sys.argv[1:]))
    # Taking numpy, OpenCV and the engine apart again would cost a tenth of a cold prediction and free nothing
    # that the system does not free at once.
    os._exit(code)


def _flushed(code: int) -> int:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # a full disk, or a reader that went away
        return exit_codes.OUTPUT
    return code


def _run(arguments: list[str]) -> int:
    try:
        return cli.main(arguments, prog_name="osteo-edge", standalone_mode=False) or exit_codes.ANSWERED
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        click.echo("osteo-edge: interrupted", err=True)
        return exit_codes.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return exit_codes.USAGE
    except OsteoEdgeError as error:
        click.echo(f"osteo-edge: {error}", err=True)
        return exit_codes.of_error(error)
    except BrokenPipeError:
        return exit_codes.OUTPUT  # the reader of our output went away, as `head` does
    except Exception as error:
        if "--verbose" in arguments:
            import traceback

            traceback.print_exc()
        click.echo(f"osteo-edge: a fault of osteo-edge itself ({type(error).__name__}: {str(error)[:200]!r})", err=True)
        click.echo("osteo-edge: run 'osteo-edge --verbose ...' for the details, and report it", err=True)
        return exit_codes.INTERNAL
