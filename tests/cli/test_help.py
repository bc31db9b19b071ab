"""Help that fits the terminal, in whole sentences, by -h everywhere; suggestions for what was mistyped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from osteo_edge.cli.group import cli, run


def every_command(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from every_command(command, *path, name)
        else:
            yield (*path, name)


COMMANDS = tuple(every_command(cli))


def help_of(command: tuple[str, ...], columns: int, option: str = "--help") -> str:
    done = CliRunner().invoke(cli, [*command, option], env={"COLUMNS": str(columns)}, prog_name="osteo-edge")
    assert done.exit_code == 0, done.output
    return done.output


def said_by(*arguments: str) -> str:
    done = CliRunner().invoke(cli, arguments, prog_name="osteo-edge")
    assert done.exit_code == 2
    return done.stderr


def test_every_command_is_looked_at() -> None:
    assert {("predict",), ("doctor",), ("bundles",), ("bundles", "install")} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_line_of_help_is_cut(command: tuple[str, ...]) -> None:
    wide, narrow = help_of(command, 80), help_of(command, 40)
    for columns, text in ((80, wide), (40, narrow)):
        lines = text.partition("Example")[0].splitlines()  # an example can be copied only in one line
        assert [line for line in lines if len(line.rstrip()) > columns] == []
    assert [line for line in wide.splitlines() if len(line) > 80] == []
    words = [re.split(r"[\s-]+", text) for text in (wide, narrow)]
    assert words[0] == words[1], "a word was cut or lost"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_h_is_help_everywhere(command: tuple[str, ...]) -> None:
    assert help_of(command, 80, "-h") == help_of(command, 80)


@pytest.mark.parametrize("command", [(), ("bundles",)], ids=" ".join)
def test_without_a_command_the_help_stands_on_lines_of_its_own(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run(list(command))
    said = "".join(capsys.readouterr())
    assert said.splitlines() == help_of(command, 80).splitlines()


def test_commands_are_listed_by_whole_sentences() -> None:
    for group in ((), ("bundles",)):
        text = " ".join(help_of(group, 80).partition("Commands:")[2].split())
        assert "..." not in text
        for path in COMMANDS:
            if path[:-1] == group and path != group:
                one = cli if not path[:-1] else cli.get_command(click.Context(cli), path[0])
                command = one.get_command(click.Context(one), path[-1])
                first = " ".join((command.help or "").partition("\n\n")[0].split()).partition(". ")[0]
                assert first.rstrip(".") + "." in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predct", "x.png"], "No such command 'predct'. Did you mean 'predict'?"),
        (["Predict"], "Did you mean 'predict'?"),
        (["bundles", "lst"], "Did you mean 'list'?"),
        (["install", "x.zip"], "Did you mean 'bundles install'?"),
        (["predict", "--fromat", "json", "x.png"], "Did you mean"),
    ],
)
def test_what_was_mistyped_gets_a_suggestion(arguments: list[str], said: str) -> None:
    assert said in said_by(*arguments)


def test_nothing_near_gets_none_and_a_picture_is_sent_to_predict(tmp_path: Path) -> None:
    assert "mean" not in said_by("zzz")
    picture = tmp_path / "my knee.png"
    picture.write_bytes(b"")
    assert f"osteo-edge predict '{picture}'" in said_by(str(picture))
