"""All that the program can say on a page, in English: what every catalogue must have.

``python -m tests.messages`` brings the catalogues up to date, to be translated by hand.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import ModuleType

import click

from osteo_edge import findings, wording
from osteo_edge.bundle import embedded_bundles, open_bundle
from osteo_edge.clinical import advice, assessment, instruments, known
from osteo_edge.clinical.instruments import INSTRUMENTS
from osteo_edge.covariates import spoken
from osteo_edge.images.defects import LIMITS
from osteo_edge.kiosk import captions as kiosk_captions
from osteo_edge.questions import BONE_DENSITY, Question
from osteo_edge.reports import risk
from osteo_edge.reports.pages import captions
from osteo_edge.reports.pages.catalogue import CONNECTORS, FOLDER, key_of, read_po

PACKAGE = Path(wording.__file__).parent
# Constants that are codes, or stand in sentences that are listed by themselves.
CODES = {value for value in vars(findings).values() if isinstance(value, str)}
NO_MESSAGES = {captions.PROGRAM_NAME, wording.NO_SIGN, wording.NOT_SURE, "left", "right"} | CODES
# Where a message is put together of parts, all that can come of it: other languages put it together otherwise.
WRITTEN_OUT = {
    "{} knee (by its fibula)": ("right knee (by its fibula)", "left knee (by its fibula)"),
    "knee at the {} of the picture": ("knee at the left of the picture", "knee at the right of the picture"),
    "{} {} taken from the file's own tags": ("{} is taken from the file's own tags", "{} are taken from the file's own tags"),
    "{}, so {} can be neither shown nor ruled out here": (
        "training held no radiograph labelled {} of a person {}, so {} can be neither shown nor ruled out here",
    ),
    "training held no radiograph labelled {} of a person {}": (),
    "{} not tell {} at the bundle's coverage of {}": (
        "the picture does not tell {} at the bundle's coverage of {}",
        "the picture and what is known of the person do not tell {} at the bundle's coverage of {}",
    ),
    "the picture {}: it was turned by {} to be looked at; boxes are places of the picture as it was given": tuple(
        f"the picture {how}: it was turned by {turn} to be looked at; boxes are places of the picture as it was given"
        for how, turn in (
            ("lies on its side", "90 degrees clockwise"),
            ("is upside down", "180 degrees"),
            ("lies on its side", "90 degrees counter-clockwise"),
        )
    ),
    # The finding, and the beginning of a sentence.
    "from {} (the picture was not shown to add to that)": (
        "from {} (the picture was not shown to add to that)",
        "from {} (the picture was not shown to add to that): {}",
    ),
    "from {} alone (the picture does not count in it)": (
        "from {} alone (the picture does not count in it)",
        "from {} alone (the picture does not count in it): {}",
    ),
    "by the file's tags this is a {} knee, by its fibula the other one; the picture may be mirrored": (
        "by the file's tags this is a right knee, by its fibula the other one; the picture may be mirrored",
        "by the file's tags this is a left knee, by its fibula the other one; the picture may be mirrored",
    ),
}
# What stands in the places of messages, where it is words.
WORDS = (
    *("body part", "view", "side", "pixel spacing", "age", "sex", "weight kg"),
    *("of female sex", "of male sex", "under {} years of age", "over {} years of age", "with {}: yes", "with {}: no"),
    *("with {} under {}", "with {} over {}"),
)


def all_messages() -> list[str]:
    """Each once, with ``{}`` where something is put in."""
    found = chain(
        _constants(captions),
        _constants(kiosk_captions),
        _constants(wording),
        (text for pair in (*wording.REJECTIONS.values(), *wording.FOLDERS.values()) for text in pair),
        *(_of_question(question) for question in _questions()),
        _of_bone_density(),
        _of_scores(),
        (open_bundle(name).manifest.intended_use for name in embedded_bundles()),
        finding_messages(),
        (limit.told for limit in LIMITS),
        _returned("osteo_edge/clinical/known.py", "told_back"),
        WORDS,
        _covariates(),
        CONNECTORS,
    )
    whole = (one for text in map(normal, found) for one in WRITTEN_OUT.get(text, (text,)))
    by_key = {key_of(text): text for text in reversed(list(whole)) if re.search("[a-z]|[,;] ", text)}
    return list(reversed(by_key.values()))


def normal(message: str) -> str:
    return re.sub(r"\{\w*(:[^}]*)?\}", "{}", message)


def _constants(module: ModuleType) -> Iterator[str]:
    for name, value in vars(module).items():
        if not name.lstrip("_").isupper():
            continue
        values: Iterable[object] = value.values() if isinstance(value, Mapping) else [value]
        yield from (one for one in values if isinstance(one, str) and one not in NO_MESSAGES)


def _covariates() -> Iterator[str]:
    """What the embedded bundles ask of a person, as they are spoken of."""
    fusions = [open_bundle(name).manifest.fusion for name in embedded_bundles()]
    yield from (spoken(one) for fusion in fusions if fusion for one in fusion.covariates)


def _questions() -> list[Question]:
    return [BONE_DENSITY, *(open_bundle(name).manifest.question for name in embedded_bundles())]


def _of_question(question: Question) -> Iterator[str]:
    yield from (question.title, question.unsure, question.next_step, question.scale)
    yield from (answer.sentence for answer in question.answers)
    yield from _returned("osteo_edge/wording.py", "place_of")
    yield "It leaves {} open."


def _of_bone_density() -> Iterator[str]:
    speech = wording._SPEECHES[BONE_DENSITY.name]
    yield from (speech.unsure, speech.unsure_together, speech.how_much, *speech.without_picture.values())
    yield from _yielded("osteo_edge/wording.py", "reasons")


def _of_scores() -> Iterator[str]:
    yield from (part for row in advice.TABLE for part in (row.sentence, row.source))
    yield "cut-off of {} by its authors; {}"
    yield from (str(population) for one in INSTRUMENTS for population in one.populations)
    yield from (" or ".join(map(str, one.populations)) for one in INSTRUMENTS)
    yield from ("{} or less", "{} or more", "{} to {}")
    yield from (band.name for one in INSTRUMENTS for band in one.bands)
    yield from ("in the range where a DXA scan is advised ({})", "not in the range where a DXA scan is advised ({})")
    yield from (
        "in the range where a DXA scan is advised ({}), published as {}",
        "not in the range where a DXA scan is advised ({}), published as {}",
    )
    yield from (instruments.FRAX, risk.INTENDED_USE)
    yield from (meaning.removeprefix("yes or no: ") for meaning in known.MEANINGS.values())
    yield from (assessment.WITH_RACE, assessment.WITHOUT_RACE, assessment.MENOPAUSE_NOT_SAID)
    yield from _returned("osteo_edge/clinical/assessment.py", "_not_of")
    yield from ("not computed: made for {}, not for women", "not computed: made for {}, not for men")
    yield "not computed: made for {}; {}"


def finding_messages() -> Iterator[str]:
    """The messages of all findings that modules make, but those that pass on what an error says."""
    for tree in _trees("Finding("):
        for statement in tree.body:
            for call in ast.walk(statement):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Finding" and len(call.args) == 2:
                    yield from _texts(call.args[1], [statement, tree])


def _trees(word: str) -> Iterator[ast.Module]:
    """The modules of the runtime in which a word stands."""
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if word in text:
            yield ast.parse(text)


def _texts(node: ast.expr, places: list[ast.AST]) -> Iterator[str]:
    """A literal, or what was assigned to the name."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield _template(node, places)
    elif isinstance(node, ast.Name):
        for place in places:
            yield from _assigned(node.id, place, places)


def _assigned(name: str, place: ast.AST, places: list[ast.AST]) -> Iterator[str]:
    for one in ast.walk(place):
        targets = one.targets if isinstance(one, ast.Assign) else [one.target] if isinstance(one, ast.AnnAssign) else []
        if any(isinstance(target, ast.Name) and target.id == name for target in targets) and one.value is not None:
            yield from _texts(one.value, places)


def _template(node: ast.JoinedStr, places: list[ast.AST]) -> str:
    """With ``{}`` in place of values, but for a name that stands for a text itself."""
    parts = []
    for value in node.values:
        if isinstance(value, ast.Constant):
            parts.append(str(value.value))
        elif isinstance(value, ast.FormattedValue) and isinstance(value.value, ast.Name):
            inner = list(dict.fromkeys(chain.from_iterable(_assigned(value.value.id, place, places) for place in places)))
            parts.append(inner[0] if len(inner) == 1 else "{}")
        else:
            parts.append("{}")
    return "".join(parts)


def _function(path: str, name: str) -> ast.FunctionDef:
    tree = ast.parse((PACKAGE.parent / path).read_text(encoding="utf-8"))
    return next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name)


def _returned(path: str, name: str) -> Iterator[str]:
    """What a function returns, also on one branch of a condition."""
    function = _function(path, name)
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and node.value is not None:
            values = [node.value.body, node.value.orelse] if isinstance(node.value, ast.IfExp) else [node.value]
            for value in values:
                yield from _texts(value, [function])


def _yielded(path: str, name: str) -> Iterator[str]:
    function = _function(path, name)
    for node in ast.walk(function):
        if isinstance(node, ast.Yield) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)


def input_error_codes() -> set[str]:
    """Of all errors that stand for a picture which cannot be read."""
    codes = set()
    for tree in _trees("ImageError"):
        for call in ast.walk(tree):
            name = getattr(call.func, "id", "") if isinstance(call, ast.Call) else ""
            if name.endswith("ImageError") or name == "ImageTooLargeError":
                given = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
                codes |= {text for one in given for text in _texts(one, [tree])}
    return codes


def bring_up_to_date(path: Path, messages: list[str]) -> list[str]:
    """Leave out of a catalogue what nobody says any more, and add what is missing, without a translation.

    Returns:
        The messages that have none.
    """
    text = path.read_text(encoding="utf-8")
    there = read_po(text)
    wanted = {key_of(message): message for message in messages}
    kept = {message: translation for message, translation in there.items() if message and key_of(normal(message)) in wanted}
    known = {key_of(normal(message)) for message in kept}
    kept |= {message: "" for key, message in wanted.items() if key not in known}
    head = text.partition("\n\n")[0]
    blocks = [f"msgid {_quoted(message)}\nmsgstr {_quoted(translation)}" for message, translation in kept.items()]
    path.write_text("\n\n".join([head, *blocks]) + "\n", encoding="utf-8")
    return [message for message, translation in kept.items() if not translation]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


if __name__ == "__main__":
    for catalogue in sorted(FOLDER.glob("*.po")):
        for missing in bring_up_to_date(catalogue, all_messages()):
            click.echo(f"{catalogue.name}: {missing}")
