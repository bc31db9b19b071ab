"""Catalogues: every language can say all that the program can, and what it cannot is told to be English."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from osteo_edge import wording
from osteo_edge.cli.pages import LANGUAGES as OFFERED
from osteo_edge.printable import printable
from osteo_edge.reports.pages import captions
from osteo_edge.reports.pages.catalogue import ENGLISH, FOLDER, LANGUAGES, Text, catalogue_of, key_of, read_po
from osteo_edge.reports.pages.html import FONTS
from tests.messages import all_messages, bring_up_to_date, input_error_codes, normal

OTHERS = [language for language in LANGUAGES if language != ENGLISH]


def test_the_languages_that_are_offered_are_there() -> None:
    assert tuple(LANGUAGES) == OFFERED


@pytest.fixture(scope="module")
def said_by_the_program() -> list[str]:
    return all_messages()


def test_messages_are_found_where_the_program_makes_them(said_by_the_program: list[str]) -> None:
    """The search sees constants, literals, f-strings and what names stand for."""
    assert len(said_by_the_program) > 250
    for message in (
        wording.BURNED_IN,
        "No knee was found in this picture.",
        "the shorter side has {} px; at least {} are needed",
        "by the file's tags this is no view from the front ({})",
        "Signs of osteoarthritis.",
        "this person is below {}",
    ):
        assert message in said_by_the_program


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_has_every_message_and_no_other(language: str, said_by_the_program: list[str]) -> None:
    """``python -m tests.messages`` puts what is missing into ``catalogues/LANGUAGE.po``, to be translated there."""
    messages = catalogue_of(language).messages
    wanted, there = ({key_of(normal(one)) for one in some} for some in (said_by_the_program, messages))
    assert wanted - there == set()
    assert there - wanted == set()
    assert [one for one, translation in messages.items() if not translation] == []


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_keeps_what_is_put_in(language: str) -> None:
    for message, translation in catalogue_of(language).messages.items():
        there = re.findall(r"\{(?:n|\d)?\}", translation)
        assert len(there) == len(re.findall(r"\{n?\}", message)), message
        seen = re.sub("\u2066([^\u2066\u2069]*)\u2069", r"\1", translation)  # what keeps its direction
        assert printable(seen) == seen
        assert translation.strip()[:1] != "{" or len(translation) > 3


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_is_a_draft_until_a_speaker_has_read_it(language: str) -> None:
    assert catalogue_of(language).is_draft
    assert catalogue_of(language).has(captions.DRAFT)


@pytest.mark.parametrize(
    ("english", "told"),
    [
        (
            "Signs of osteoarthritis. Grade 2 to 4 of 4 (Kellgren-Lawrence).",
            "Señales de artrosis. Grado 2 a 4 de 4 (Kellgren-Lawrence).",
        ),
        ("signs of osteoarthritis.", "señales de artrosis."),
        ("The shorter side has 100 px; at least 256 are needed.", "El lado más corto tiene 100 px; se necesitan al menos 256."),
        (
            "Not in the range where a DXA scan is advised (9 or more)",
            "Fuera del intervalo en que se aconseja una DXA (9 o más)",
        ),
        (
            "Not computed: made for women of 45 and over, after menopause; this person is below 45",
            "No calculado: hecho para mujeres de 45 años o más, después de la menopausia; esta persona tiene menos de 45 años",
        ),
        (
            "From age and sex (the picture was not shown to add to that): this test cannot tell.",
            "A partir de edad y sexo (no se ha demostrado que la imagen añada algo): esta prueba no puede decirlo.",
        ),
        (
            "Cut-off of OST (1 or less) and ORAI (9 or more) by its authors; the bundle's own evidence, as its card gives it.",
            "Punto de corte de OST (1 o menos) y ORAI (9 o más), según sus autores; "
            "la evidencia del propio modelo, como la da su ficha.",
        ),
        (
            "Ask a doctor. DXA is advised for women of 65 and over.",
            "Consulte a un médico. Se aconseja una DXA a las mujeres de 65 años o más.",
        ),
    ],
)
def test_a_sentence_is_put_together_of_messages(english: str, told: str) -> None:
    assert catalogue_of("es").say(english) == (Text(told),)


def test_what_has_no_translation_is_english_and_known_to_be() -> None:
    said = catalogue_of("es").say("Ask a doctor. Bring your cat. Bring your dog. Ask a doctor.")
    assert said == (Text("Consulte a un médico."), Text("Bring your cat. Bring your dog.", True), Text("Consulte a un médico."))


def test_places_may_stand_in_another_order() -> None:
    message = "The picture does not tell kl1 from kl2 at the bundle's coverage of 90%."
    assert catalogue_of("hi").word(message) == "मॉडल के 90% कवरेज पर तस्वीर इनमें भेद नहीं कर सकती: kl1, kl2।"


def test_numbers_and_codes_keep_their_direction_in_arabic() -> None:
    assert catalogue_of("ar").word("-1 or less") == "\u2066-1\u2069 أو أقل"
    assert catalogue_of("ar").isolated("kl0, kl1") == "\u2066kl0, kl1\u2069"
    assert catalogue_of("es").isolated("kl0") == "kl0"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('msgid "a"\nmsgstr "b"\nmsgid "a"\nmsgstr "c"\n', "twice"),
        ('msgid "a"\nmsgplural "b"\n', "msgplural"),
        ("a line\n", "neither"),
        ('msgid "a\nmsgstr "b"\n', "Unterminated"),
    ],
)
def test_a_damaged_catalogue_is_told(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_po(text)


def test_every_reason_why_a_file_is_not_read_can_be_said() -> None:
    assert input_error_codes() <= {*captions.UNREAD, *wording.REJECTIONS, *wording.FOLDERS}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_fonts_have_every_letter_of_the_language(language: str, said_by_the_program: list[str]) -> None:
    fonttools = pytest.importorskip("fontTools.ttLib")
    letters = set("".join(catalogue_of(language).messages.values()) or "".join(said_by_the_program)) - set("{}")
    for weight in ("Regular", "Bold"):
        files = [FONTS / f"{family}-{weight}.ttf" for family in ("NotoSans", "NotoSansDevanagari", "NotoNaskhArabic")]
        known = {chr(code) for file in files for code in fonttools.TTFont(file).getBestCmap()}
        assert letters - known == set()


def test_catalogues_are_brought_up_to_date(tmp_path: Path, said_by_the_program: list[str]) -> None:
    source = FOLDER / "es.po"
    copy = tmp_path / "es.po"
    copy.write_bytes(source.read_bytes())
    assert bring_up_to_date(copy, said_by_the_program) == []
    assert copy.read_bytes() == source.read_bytes()
    changed = [*said_by_the_program[1:], "a new {} of it"]
    assert bring_up_to_date(copy, changed) == ["a new {} of it"]
    assert set(read_po(source.read_text())) - set(read_po(copy.read_text())) == {said_by_the_program[0]}
