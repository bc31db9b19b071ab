"""One picture, several questions: what a bundle asks, toy questions that the program does not know, several at once."""

from __future__ import annotations

import copy
import pickle
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest

from osteo_edge import Answer, IncompatibleBundleError, ManifestError, OsteoPredictor, Prediction, Status, open_bundle
from osteo_edge.bundle import DEFAULT_BUNDLES, EMBEDDED_FOLDER, bundles_asked, embedded_bundles, shipped_bundles
from osteo_edge.errors import CovariateError, EngineUnavailableError, InferenceError, QualityRejected, UnknownQuestionError
from osteo_edge.findings import PICTURE_ADDS_NOTHING, UNPROVEN, Finding
from osteo_edge.labels import Laterality
from osteo_edge.model import LoadingModel, load_models
from osteo_edge.questions import BONE_DENSITY, PossibleAnswer, Question, check_question, require_together
from osteo_edge.reports.overlay import draw_overlay
from osteo_edge.reports.structured import CSV_COLUMNS, to_rows
from osteo_edge.reports.text import common_parts, to_line, to_text
from osteo_edge.selftest import run_self_test
from osteo_edge.wording import degrees_told, sentence_of_knee, sentences_by_knee
from tests.answers import ARTHROSIS, GRADES, HARDWARE, a_knee, a_prediction, an_answer
from tests.bundles import DENSITY
from tests.making import add_fusion, ask, change_finder, make_ensemble, rewrite_manifest
from tests.osteo_edge.test_predictor import drawn
from tests.osteo_edge.test_structured import SCHEMA

SURE = 0.99  # the likeliest class stands alone


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Copies of the embedded bundle."""
    folder = tmp_path_factory.mktemp("bundles")

    def make(name: str) -> Path:
        return Path(shutil.copytree(EMBEDDED_FOLDER / DENSITY, folder / name))

    return make


@pytest.fixture(scope="module")
def hardware(made: Callable[..., Path]) -> Path:
    return ask(made("hardware"), HARDWARE, enough=SURE)


@pytest.fixture(scope="module")
def grades(made: Callable[..., Path]) -> Path:
    return ask(made("grades"), GRADES, enough=SURE)


@pytest.fixture(scope="module")
def several(hardware: Path, grades: Path) -> Iterator[OsteoPredictor]:
    with OsteoPredictor([DENSITY, hardware, str(grades)], threads=2) as predictor:
        yield predictor


@pytest.fixture(scope="module")
def two_knees() -> np.ndarray:
    return drawn(2, "two_knees")


def without_times(prediction: Prediction) -> dict[str, Any]:
    return prediction.to_dict() | {"timings_ms": None}


class TestAQuestionThatTheProgramDoesNotKnow:
    """Nothing but its bundle is needed."""

    def test_is_answered_by_its_codes_and_its_own_sentences(self, hardware: Path, two_knees: np.ndarray) -> None:
        with OsteoPredictor(hardware) as predictor:
            assert predictor.questions == ("hardware",)
            prediction = predictor.predict(two_knees, source="two.png")
        (answer,) = prediction.answers
        assert (answer.question, answer.title, answer.status) == ("hardware", "hardware in the joint", Status.REPORTED)
        assert answer.answer in ("none_seen", "hardware")
        assert answer.label in ("plain", "metal")
        assert list(answer.probabilities) == ["plain", "metal"]
        assert len(answer.knees) == len(prediction.joints) == 2
        for knee in answer.knees:
            assert knee.answer == HARDWARE.answer_of(knee.label_set).code  # type: ignore[union-attr]
        assert answer.message.endswith("Compare it with earlier pictures.")
        assert "DXA" not in answer.message
        assert prediction.message == answer.message

    def test_goes_through_every_form(self, hardware: Path, two_knees: np.ndarray, tmp_path: Path) -> None:
        with OsteoPredictor(hardware) as predictor:
            prediction = predictor.predict(two_knees, source="two.png", explain=True)
        plain = prediction.to_dict()
        jsonschema.validate(plain, SCHEMA)
        (answer,) = plain["answers"]
        assert answer["lead"] in (0, 1)
        assert {tuple(knee["label_set"]) for knee in answer["knees"]} <= {("plain",), ("metal",)}
        (cells,) = to_rows(prediction)
        row = dict(zip(CSV_COLUMNS, cells, strict=True))
        assert (row["question"], row["knees"], row["knee_label_sets"].count("=")) == ("hardware", "2", 2)
        assert [cell.split("=")[0] for cell in row["probabilities"].split(";")] == ["plain", "metal"]
        text = to_text(prediction, is_verbose=True)
        assert "knee (by its fibula): " in text or "Both knees: " in text
        assert "scores        plain " in text
        assert prediction.save_overlay(tmp_path / "overlay.png").stat().st_size > 0

    def test_passes_its_self_test(self, hardware: Path) -> None:
        results = run_self_test(open_bundle(hardware))
        assert {result.status for result in results} == {"passed"}

    def test_says_nothing_more_than_its_scores_where_it_is_not_proven(
        self, hardware: Path, tmp_path: Path, example: Path
    ) -> None:
        folder = Path(shutil.copytree(hardware, tmp_path / "unproven"))
        rewrite_manifest(folder, lambda manifest: manifest.update(is_proven=False))
        answer = OsteoPredictor(folder).predict(example).first
        assert (answer.status, answer.answer, answer.label) == (Status.REFERRED, None, None)
        assert answer.message == (
            "Right knee (by its fibula): this test cannot tell whether there is hardware. "
            "The test was not shown to tell more than chance. Compare it with earlier pictures."
        )
        assert answer.knees[0].answer is None


class TestSeveralQuestions:
    """A picture is read, checked and searched once, and each is answered as it is alone."""

    def test_are_answered_as_each_alone(self, several: OsteoPredictor, two_knees: np.ndarray, example: Path) -> None:
        for picture in (two_knees, str(example)):
            together = several.predict(picture, explain=True)
            alone = []
            for folder in [bundle.root for bundle in several.bundles]:
                with OsteoPredictor(folder, threads=2) as predictor:
                    alone.append(predictor.predict(picture, explain=True))
            assert together.answers == tuple(one.first for one in alone)
            assert {one.joints for one in alone} == {together.joints}
            for answer, one in zip(together.answers, alone, strict=True):
                for knee, same in zip(answer.knees, one.knees, strict=True):
                    np.testing.assert_array_equal(knee.saliency, same.saliency)
            assert [answer.question for answer in together.answers] == ["bone_density", "hardware", "wear"]
            assert together.answer_to("wear") is together.answers[2]
            with pytest.raises(KeyError, match="'fracture' was not asked; asked: bone_density, hardware, wear"):
                together.answer_to("fracture")

    def test_share_all_but_the_networks(self, several: OsteoPredictor, example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from osteo_edge import respondent
        from osteo_edge.finder.joint_finder import JointFinder
        from osteo_edge.images import quality, reader

        counts: dict[str, int] = {}

        def counted(owner: Any, name: str) -> None:
            real = getattr(owner, name)

            def call(*arguments: Any, **options: Any) -> Any:
                counts[name] = counts.get(name, 0) + 1
                return real(*arguments, **options)

            monkeypatch.setattr(owner, name, call)

        for owner, name in ((reader, "read"), (quality, "assess"), (JointFinder, "find"), (respondent, "prepare_knee")):
            counted(owner, name)
        several.predict(example)
        assert counts == {"read": 1, "assess": 1, "find": 1, "prepare_knee": 1}

    def test_each_has_its_own_status_and_the_picture_the_best(self, several: OsteoPredictor, example: Path) -> None:
        prediction = several.predict(example)
        assert [answer.status.value for answer in prediction.answers] == ["referred", "reported", "reported"]
        assert prediction.status is Status.REPORTED
        assert (prediction.label, prediction.likeliest) == (None, prediction.answers[0].likeliest), "of the first"
        assert prediction.findings == prediction.answers[0].findings
        plain = prediction.to_dict()
        jsonschema.validate(plain, SCHEMA)
        assert (plain["status"], plain["findings"], len(plain["answers"])) == ("reported", [], 3)
        assert [row[CSV_COLUMNS.index("question")] for row in to_rows(prediction)] == list(several.questions)

    def test_a_picture_that_is_refused_is_refused_to_all(self, several: OsteoPredictor) -> None:
        missing, small = several.predict_many(["missing.png", np.zeros((10, 10), np.uint8)])
        for prediction in (missing, small, several.predict(np.full((400, 400), 7, np.uint8))):
            assert prediction.status is Status.REJECTED
            assert len({answer.findings for answer in prediction.answers}) == 1
            assert prediction.message == prediction.answers[0].message, "said once"
            assert to_text(prediction).count("Next: ") <= 1
            assert prediction.to_dict()["findings"] == prediction.to_dict()["answers"][1]["findings"] != []
            jsonschema.validate(prediction.to_dict(), SCHEMA)
            with pytest.raises(QualityRejected):
                prediction.raise_for_status()

    def test_of_many_pictures_side_by_side_and_ahead(
        self, several: OsteoPredictor, two_knees: np.ndarray, example: Path
    ) -> None:
        pictures = [two_knees, str(example), "missing.png", two_knees]
        one_by_one = [without_times(one) for one in several.predict_many(iter(pictures))]
        assert [without_times(one) for one in several.predict_many(pictures)] == one_by_one
        roots = [bundle.root for bundle in several.bundles]
        with OsteoPredictor(roots, threads=2, workers=2) as beside:
            assert [without_times(one) for one in beside.predict_many(pictures)] == one_by_one
        assert not any(thread.name.startswith("osteo-edge") for thread in threading.enumerate())

    @pytest.mark.parametrize("again", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
    def test_are_copied_hashed_and_pickled(self, several: OsteoPredictor, example: Path, again: Callable[[Any], Any]) -> None:
        prediction = several.predict(example)
        assert again(prediction) == prediction
        assert hash(again(prediction)) == hash(prediction)

    def test_the_overlay_shows_the_question_that_is_named(
        self, several: OsteoPredictor, two_knees: np.ndarray, tmp_path: Path
    ) -> None:
        prediction = several.predict(two_knees, explain=True)
        shown = {name: draw_overlay(prediction, question=name) for name in (None, *several.questions)}
        np.testing.assert_array_equal(shown[None], shown["bone_density"])
        assert not np.array_equal(shown[None][:400], shown["wear"][:400])
        prediction.save_overlay(tmp_path / "wear.png", question="wear")
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / "wear.png")), shown["wear"])
        with pytest.raises(KeyError, match="was not asked"):
            draw_overlay(prediction, question="fracture")

    def test_say_what_they_are_and_close_together(self, hardware: Path, example: Path) -> None:
        predictor = OsteoPredictor([DENSITY, hardware], threads=1)
        names = [model.bundle for model in predictor.models]
        assert names == [DENSITY, "knee-hardware"]
        assert all(name in repr(predictor) for name in names)
        assert (predictor.model, predictor.bundle) == (predictor.models[0], predictor.bundles[0])
        predictor.close()
        with pytest.raises(InferenceError, match="was closed"):
            predictor.predict(example)
        for model in predictor._models:
            with pytest.raises(InferenceError, match="was closed"):
                model.engine()


class TestWhichQuestionsAreAsked:
    """Of the embedded bundles, or of those that are named."""

    def test_without_a_name_the_default_ones_and_no_bundle_is_opened(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("osteo_edge.bundle.open_bundle", lambda name: pytest.fail(f"{name} was opened"))
        assert bundles_asked() == DEFAULT_BUNDLES
        assert bundles_asked(["one", Path("two")]) == ("one", Path("two"))

    def test_asked_by_default_is_what_was_shown_to_tell_something(self) -> None:
        """By the manifests, which nobody reads before an answer."""
        proven = {name for name in embedded_bundles() if open_bundle(name).manifest.is_proven}
        assert set(DEFAULT_BUNDLES) == proven

    def test_by_name_of_all_that_are_embedded(self) -> None:
        assert bundles_asked(questions=["bone_density"]) == (DENSITY,)
        assert bundles_asked(questions=["all"]) == shipped_bundles()
        assert set(shipped_bundles()) == set(embedded_bundles())
        assert shipped_bundles()[: len(DEFAULT_BUNDLES)] == DEFAULT_BUNDLES

    def test_by_name_of_those_that_are_named_each_once_in_the_questions_order(self, hardware: Path, grades: Path) -> None:
        named = [DENSITY, hardware, str(grades)]
        for questions, asked in (
            (["wear", "hardware"], (str(grades), hardware)),
            (["wear", "all", "wear"], (str(grades), DENSITY, hardware)),
            (["all"], tuple(named)),
        ):
            assert bundles_asked(named, questions) == asked
        with OsteoPredictor(named, questions=["hardware", "bone_density"], threads=1) as predictor:
            assert predictor.questions == ("hardware", "bone_density")
        with OsteoPredictor(named, questions="wear", threads=1) as predictor:
            assert predictor.questions == ("wear",)

    def test_what_nobody_answers_is_told_with_what_there_is(self, hardware: Path) -> None:
        for questions in ("fracture", ["hardware", "fracture"]):
            with pytest.raises(
                UnknownQuestionError, match="no bundle here answers 'fracture'; there is: hardware, bone_density"
            ):
                OsteoPredictor([hardware, DENSITY], questions=questions)

    def test_models_that_are_being_loaded_are_chosen_already(self, hardware: Path) -> None:
        model = LoadingModel(hardware)
        with pytest.raises(TypeError, match="not among models"):
            OsteoPredictor(model, questions="hardware")
        model.close()


class TestWhatBundlesHaveOfTheirOwn:
    def test_limits_reject_one_question_alone(self, made: Callable[..., Path], example: Path) -> None:
        strict = ask(made("strict"), HARDWARE, quality={"min_side_px": 5000, "min_dynamic_range": 0.05})
        with OsteoPredictor([strict, DENSITY]) as predictor:
            prediction = predictor.predict(example, explain=True)
        rejected, answered = prediction.answers
        assert [finding.code for finding in rejected.findings] == ["too_small"]
        assert (rejected.status, answered.status, prediction.status) == (Status.REJECTED, Status.REFERRED, Status.REFERRED)
        assert rejected.knees == ()
        assert prediction.joints == (answered.knees[0].joint,)
        assert prediction.to_dict()["findings"] == [], "the picture itself is not rejected"
        jsonschema.validate(prediction.to_dict(), SCHEMA)
        assert "This picture is too small." in to_text(prediction)
        assert "Export it at its full size" in to_line(prediction)
        assert draw_overlay(prediction).any(), "of the question that is answered"

    def test_a_finder_of_its_own_is_run_besides(self, made: Callable[..., Path], example: Path) -> None:
        blind = change_finder(ask(made("blind"), HARDWARE), threshold=1000.0)
        with OsteoPredictor([blind, DENSITY]) as predictor:
            prediction = predictor.predict(example)
        rejected, answered = prediction.answers
        assert [finding.code for finding in rejected.findings] == ["no_knee"]
        assert len(answered.knees) == len(prediction.joints) == 1
        other = change_finder(ask(made("other"), HARDWARE), template_constant=0.01)
        with OsteoPredictor([DENSITY, other]) as predictor:
            assert len(predictor._finders) == 2
            assert [len(answer.knees) for answer in predictor.predict(example).answers] == [1, 1]

    def test_what_is_known_is_used_by_the_bundle_that_was_made_for_it(
        self, made: Callable[..., Path], hardware: Path, example: Path
    ) -> None:
        fused = add_fusion(made("fused"))
        known = {"age_years": 67, "sex": "female", "covariates": {"prior_fracture": "yes"}}
        with OsteoPredictor([hardware, fused]) as predictor:
            plain, with_age = predictor.predict(example, **known).answers  # type: ignore[arg-type]
            assert [note.code for note in plain.notes] == ["covariates_not_used"]
            assert dict(with_age.covariates_used) == {"age_years": 67, "sex": 1, "prior_fracture": 1}
            with pytest.raises(CovariateError, match="knows no covariate 'shoe_size'"):
                predictor.predict(example, covariates={"shoe_size": 42})
            child = predictor.predict(example, age_years=8)
            assert (child.status, {one.findings[0].code for one in child.answers}) == (Status.REJECTED, {"immature"})

    def test_a_covariate_of_another_bundle_is_no_mistake(self, made: Callable[..., Path], example: Path) -> None:
        renamed = add_fusion(made("renamed"))

        def rename(manifest: dict[str, Any]) -> None:
            manifest["fusion"]["covariates"][2]["name"] = "prior_surgery"
            manifest["question"] = manifest["question"] | {"name": "density_again"}

        rewrite_manifest(renamed, rename)
        fused = add_fusion(made("fused_too"))
        with OsteoPredictor([fused, renamed]) as predictor:
            first, second = predictor.predict(
                example, age_years=67, sex="female", covariates={"prior_surgery": "no", "prior_fracture": "yes"}
            ).answers
        assert set(first.covariates_used) == {"age_years", "sex", "prior_fracture"}
        assert set(second.covariates_used) == {"age_years", "sex", "prior_surgery"}
        assert [note.code for note in (*first.notes, *second.notes)].count("covariates_not_used") == 2


class TestRefusals:
    def test_two_bundles_of_one_question(self, bundle_copy: Path) -> None:
        for asked in ([DENSITY, bundle_copy], [LoadingModel(DENSITY), LoadingModel(bundle_copy)]):
            with pytest.raises(IncompatibleBundleError, match=r"answer the same question, bone_density; ask one of them"):
                OsteoPredictor(asked)  # type: ignore[arg-type]

    def test_bundles_of_different_body_parts(self) -> None:
        with pytest.raises(IncompatibleBundleError, match="a is of the knee and b of the hip"):
            require_together([("a", BONE_DENSITY, "knee"), ("b", HARDWARE, "hip")])

    def test_nothing_is_loaded_that_does_not_go_together(self, bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("osteo_edge.model.open_member", lambda *_, **__: pytest.fail("was loaded"))
        with pytest.raises(IncompatibleBundleError):
            load_models([DENSITY, bundle_copy])

    def test_what_was_begun_is_closed_where_a_later_bundle_cannot_be_loaded(self, hardware: Path) -> None:
        with pytest.raises(IncompatibleBundleError, match="has no file for litert"):
            load_models([DENSITY, hardware], engine="litert")
        assert not any(thread.name == "osteo-edge-engine" for thread in threading.enumerate())
        with pytest.raises(EngineUnavailableError):
            load_models([DENSITY, hardware], engine="magic")

    @pytest.mark.parametrize(("asked", "fault"), [([], ValueError), (3, TypeError), ([3], TypeError), ([None], TypeError)])
    def test_what_names_no_bundle(self, asked: Any, fault: type[Exception]) -> None:
        with pytest.raises(fault):
            OsteoPredictor(asked)

    def test_models_and_names_are_not_mixed(self, hardware: Path) -> None:
        model = LoadingModel(DENSITY)
        with pytest.raises(TypeError, match="not both"):
            OsteoPredictor([model, hardware])
        model.close()


def test_the_default_is_every_embedded_bundle() -> None:
    with OsteoPredictor() as predictor:
        assert tuple(bundle.manifest.name for bundle in predictor.bundles) == DEFAULT_BUNDLES


def test_engines_of_all_bundles_load_one_after_the_other(hardware: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from osteo_edge import model

    real, under_way, most, order = model.open_member, threading.Semaphore(1), [], []

    def load(bundle: Any, *arguments: Any, **options: Any) -> Any:
        most.append(under_way.acquire(blocking=False))
        order.append(bundle.manifest.name)
        try:
            return real(bundle, *arguments, **options)
        finally:
            under_way.release()

    monkeypatch.setattr(model, "open_member", load)
    models = load_models([hardware, DENSITY])
    for one in models:
        one.wait()
        one.close()
    assert (most, order) == ([True, True], ["knee-hardware", DENSITY])


class TestTheWordsOfKnees:
    """The gravest knee leads, and both are named."""

    LEFT, RIGHT = Laterality.LEFT, Laterality.RIGHT

    def answered(self, *knees: Any, lead: int) -> Answer:
        led = knees[lead]
        status = Status.REPORTED if led.answer else Status.REFERRED
        findings = () if led.answer else (Finding("not_sure", "told"),)
        return an_answer(GRADES, knees=knees, lead=lead, label_set=led.label_set, status=status, findings=findings)

    def test_two_knees_with_their_sides(self) -> None:
        answer = self.answered(a_knee(GRADES, ("w0",), self.RIGHT), a_knee(GRADES, ("w1", "w2"), self.LEFT), lead=1)
        assert answer.message == (
            "Left knee (by its fibula): signs of wear. Right knee (by its fibula): no wear found by this test; it misses cases."
        )
        assert (answer.answer, answer.label) == ("wear", None), "two classes of one answer remain"

    def test_one_that_may_leads_one_that_surely_has_none(self) -> None:
        answer = self.answered(a_knee(GRADES, ("w0",), None), a_knee(GRADES, ("w0", "w1"), self.LEFT), lead=1)
        assert answer.message == (
            "Knee at the right of the picture: this test cannot tell whether there is wear. "
            "Knee at the left of the picture: no wear found by this test; it misses cases."
        )
        assert answer.answer is None

    def test_the_same_side_twice_tells_nothing(self) -> None:
        answer = self.answered(a_knee(GRADES, ("w0",), self.LEFT), a_knee(GRADES, ("w1",), self.LEFT), lead=1)
        assert answer.message == (
            "Knee at the right of the picture: signs of wear. "
            "Knee at the left of the picture: no wear found by this test; it misses cases."
        )

    def test_what_is_the_same_of_both_is_said_once(self) -> None:
        answer = self.answered(a_knee(GRADES, ("w1",), self.RIGHT), a_knee(GRADES, ("w2",), self.LEFT), lead=1)
        assert answer.message == "Both knees: signs of wear."

    def test_one_knee_has_a_side_where_its_fibula_tells_it(self) -> None:
        answer = self.answered(a_knee(GRADES, ("w2",), self.RIGHT), lead=0)
        assert (answer.message, answer.label) == ("Right knee (by its fibula): signs of wear.", "w2")
        assert self.answered(a_knee(GRADES, ("w2",), None), lead=0).message == "Signs of wear."

    def test_each_knee_is_said_in_a_line_and_for_machines(self) -> None:
        answer = self.answered(a_knee(GRADES, ("w0", "w1"), self.RIGHT), a_knee(GRADES, ("w1", "w2"), self.LEFT), lead=1)
        prediction = a_prediction(answer)
        assert to_text(prediction).splitlines()[1:] == [
            "  Left knee (by its fibula): signs of wear.",
            "  Right knee (by its fibula): this test cannot tell whether there is wear.",
        ]
        plain = prediction.to_dict()
        jsonschema.validate(plain, SCHEMA)
        assert [(knee["answer"], knee["message"]) for knee in plain["answers"][0]["knees"]] == [
            (None, "This test cannot tell whether there is wear."),
            ("wear", "Signs of wear."),
        ]
        (cells,) = to_rows(prediction)
        row = dict(zip(CSV_COLUMNS, cells, strict=True))
        assert (row["knee_answers"], row["knee_label_sets"]) == ("right=;left=wear", "right=w0,w1;left=w1,w2")
        of_picture = an_answer(knees=(a_knee(BONE_DENSITY, (), self.RIGHT),))
        assert a_prediction(of_picture).to_dict()["answers"][0]["knees"][0]["message"] is None

    def test_several_questions_stand_each_after_its_title(self) -> None:
        wear = self.answered(a_knee(GRADES, ("w2",), self.RIGHT), lead=0)
        prediction = a_prediction(an_answer(), wear)
        assert prediction.message.startswith("Bone density: No sign found by this test; it misses cases. If you are over 65")
        assert prediction.message.endswith(" Wear: Right knee (by its fibula): signs of wear.")
        assert str(prediction) == f"image.png: reported - {prediction.message}"
        assert to_line(prediction) == (
            "image.png: reported - Bone density: No sign found by this test; it misses cases. "
            "Wear: Right knee (by its fibula): signs of wear."
        )
        assert to_text(prediction).splitlines() == [
            "image.png: reported",
            "  Bone density: reported",
            "    No sign found by this test; it misses cases.",
            "    Next: If you are over 65 or have risk factors, DXA is still advised.",
            "  Wear: reported",
            "    Right knee (by its fibula): signs of wear.",
        ]
        assert common_parts(prediction) == [
            '"No sign found by this test; it misses cases." If you are over 65 or have risk factors, DXA is still advised.'
        ]

    def test_what_an_answer_rests_on_comes_first(self) -> None:
        rests_on = (Finding(PICTURE_ADDS_NOTHING, "from age and sex alone (the picture does not count in it)"),)
        answer = an_answer(HARDWARE, status=Status.REFERRED, findings=rests_on, label_set=("metal",))
        assert answer.message == (
            "From age and sex alone (the picture does not count in it): hardware in the joint. "
            "Compare it with earlier pictures."
        )


class TestDegreesForPeople:
    """What remains of each knee is told by the question's scale, where it has one."""

    LEFT, RIGHT = Laterality.LEFT, Laterality.RIGHT

    def answered(self, *sets: tuple[str, ...], lead: int = 0, **changes: Any) -> Answer:
        sides = (self.RIGHT, self.LEFT)
        knees = tuple(a_knee(ARTHROSIS, one, side) for one, side in zip(sets, sides, strict=False))
        told = ARTHROSIS.answer_of(sets[lead])
        status = Status.REPORTED if told else Status.REFERRED
        plain = {"knees": knees, "lead": lead, "label_set": sets[lead], "status": status} | changes
        return an_answer(ARTHROSIS, **plain)

    @pytest.mark.parametrize(
        ("label_set", "told"),
        [
            (("kl0",), "No definite signs of arthrosis; this misses cases. Grade 0 of 4 (Kellgren-Lawrence)."),
            (("kl0", "kl1"), "No definite signs of arthrosis; this misses cases. Grade 0 or 1 of 4 (Kellgren-Lawrence)."),
            (("kl3",), "Signs of arthrosis. Grade 3 of 4 (Kellgren-Lawrence)."),
            (("kl2", "kl3", "kl4"), "Signs of arthrosis. Grade 2 to 4 of 4 (Kellgren-Lawrence)."),
            (("kl1", "kl2"), "This test cannot tell. It leaves grade 1 or 2 of 4 (Kellgren-Lawrence) open."),
            (("kl0", "kl1", "kl2", "kl3", "kl4"), "This test cannot tell."),
        ],
    )
    def test_of_one_knee(self, label_set: tuple[str, ...], told: str) -> None:
        answer = self.answered(label_set)
        (sentence,) = sentences_by_knee(answer)
        assert sentence == f"Right knee (by its fibula): {told[0].lower()}{told[1:]}"
        assert sentence_of_knee(answer.knees[0], answer) == told
        assert a_prediction(answer).to_dict()["answers"][0]["knees"][0]["message"] == told

    def test_of_two_knees_the_graver_first(self) -> None:
        assert sentences_by_knee(self.answered(("kl0",), ("kl3", "kl4"), lead=1)) == [
            "Left knee (by its fibula): signs of arthrosis. Grade 3 or 4 of 4 (Kellgren-Lawrence).",
            "Right knee (by its fibula): no definite signs of arthrosis; this misses cases. Grade 0 of 4 (Kellgren-Lawrence).",
        ]
        assert sentences_by_knee(self.answered(("kl2",), ("kl2",))) == [
            "Both knees: signs of arthrosis. Grade 2 of 4 (Kellgren-Lawrence)."
        ]
        assert len(sentences_by_knee(self.answered(("kl2",), ("kl3",), lead=1))) == 2, "of one answer, and of other degrees"

    def test_nothing_is_told_where_the_test_does_not_tell(self) -> None:
        unproven = self.answered(("kl2",), status=Status.REFERRED, findings=(Finding(UNPROVEN, "not shown"),))
        assert "rade" not in unproven.message
        assert degrees_told(unproven.knees[0], unproven) == ""

    def test_pictures_of_one_answer_are_told_what_is_next_together(self) -> None:
        """Whatever their degrees."""
        told = [common_parts(a_prediction(self.answered(one))) for one in (("kl2",), ("kl3", "kl4"))]
        assert told == [['"Signs of arthrosis." Ask a doctor if the knee troubles you.']] * 2


class TestWhichKneeLeads:
    """By the answers that remain possible, then by the label's expected place."""

    @pytest.mark.parametrize(
        ("first", "second", "lead"),
        [
            ([0, 5, 0], [5, 0, 0], 0),
            ([5, 0, 0], [0, 5, 0], 1),
            ([0, 5, 0], [0, 0, 5], 1),
            ([1.0, 1.0, 0], [5, 0, 0], 0),
            ([5, 0, 0], [1.0, 1.0, 0], 1),
            ([0, 5, 0], [1.0, 0, 1.0], 0),
            ([0, 5, 0], [0, 0, 0.1], 0),  # the second's expected place is higher, and it may have none
            ([5, 0, 0], [5, 0, 0], 0),
        ],
    )
    def test_leads(self, grades: Path, example: Path, first: list[float], second: list[float], lead: int) -> None:
        from osteo_edge.covariates import Person
        from osteo_edge.joints import Joint
        from osteo_edge.respondent import Case, MemberAnswer, Respondent

        model = LoadingModel(grades)
        knees = np.array([first, second], np.float32)
        features = [np.zeros((1, 2, 2, 4), np.float32)] * 2
        joints = tuple(Joint(x, 100.0, 50.0, 1.0, None) for x in (100.0, 300.0))
        answer = Respondent(model).answer(
            Case(Person(), joints=joints), [MemberAnswer(knees.mean(axis=0).astype(float), knees, features)], explain=False
        )
        model.close()
        assert answer.lead == lead
        assert answer.label_set == answer.knees[lead].label_set
        assert answer.probabilities == answer.knees[lead].probabilities


@pytest.mark.parametrize(("unit", "members"), [("picture", 1), ("knee", 2)])
def test_a_cascade_stops_where_it_is_sure_of_what_is_asked(
    made: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, unit: Any, members: int
) -> None:
    """Of the mean of two knees, or of each of them."""
    from osteo_edge.respondent import MemberAnswer, Respondent

    folder = ask(made(f"cascade-{unit}"), replace(GRADES, unit=unit))
    model = LoadingModel(make_ensemble(folder, {"kind": "cascade", "exits": [0.9]}))
    knees = np.array([[9, 0, 0], [0.5, 0, 0]], np.float32)
    one = MemberAnswer(knees.mean(axis=0).astype(float), knees, [])
    monkeypatch.setattr(Respondent, "_run_member", lambda *_: one)
    assert len(Respondent(model).run(defaultdict(list))) == members
    model.close()


def question(**changes: Any) -> Question:
    return replace(GRADES, **changes)


class TestManifests:
    @pytest.mark.parametrize(
        ("asked", "labels", "field"),
        [
            (question(name="Wear"), None, "question.name"),
            (question(name="all"), None, "question.name"),
            (question(title=""), None, "question.title"),
            (question(title="w" * 61), None, "question.title"),
            (question(unsure="no"), None, "question.unsure"),
            (question(unsure=""), None, "question.unsure"),
            (question(unsure="Red \x1b[31m sentence."), None, "question.unsure"),
            (question(title="two\nlines"), None, "question.title"),
            (question(next_step="and so on"), None, "question.next_step"),
            (question(answers=GRADES.answers[:1]), ("w0",), "labels"),
            (question(answers=()), None, "question.answers"),
            (question(answers=GRADES.answers[::-1]), None, "question.answers"),
            (question(), ("w0", "w1"), "question.answers"),
            (question(), ("w0", "w2", "w1"), "question.answers"),
            (question(), ("w0", "w1", "W2"), "labels"),
            (question(), ("w0", "w1", "w1"), "labels"),
            (question(), tuple(f"w{number}" for number in range(17)), "labels"),
            (question(answers=(*GRADES.answers, PossibleAnswer("empty", (), "Nothing."))), None, "question.answers"),
            (question(answers=(GRADES.answers[0], replace(GRADES.answers[1], code="no_wear"))), None, "question.answers"),
            (question(answers=(GRADES.answers[0], replace(GRADES.answers[1], sentence="x"))), None, "question.answers"),
            (question(name="bone_density"), None, "question.answers"),
            (question(degrees=("0", "1"), scale="{}"), None, "question.degrees"),
            (question(degrees=("0", "1", "1"), scale="{}"), None, "question.degrees"),
            (question(degrees=("0", "1", " "), scale="{}"), None, "question.degrees"),
            (question(degrees=("0", "1", "2" * 21), scale="{}"), None, "question.degrees"),
            (question(degrees=("0", "1", "2"), scale="of 2"), None, "question.scale"),
            (question(degrees=("0", "1", "2"), scale="{} of {}"), None, "question.scale"),
            (question(degrees=("0", "1", "2"), scale="{}" + "w" * 59), None, "question.scale"),
            (question(scale="grade {}"), None, "question.scale"),
            (replace(BONE_DENSITY, degrees=("0", "1", "2"), scale="{}"), BONE_DENSITY.labels, "question.degrees"),
            (replace(BONE_DENSITY, unit="knee"), BONE_DENSITY.labels, "question.unit"),
            (replace(BONE_DENSITY, title="osteoporosis diagnosis"), BONE_DENSITY.labels, "question.title"),
        ],
    )
    def test_a_question_that_does_not_fit_is_named(self, asked: Question, labels: tuple[str, ...] | None, field: str) -> None:
        with pytest.raises(ManifestError, match=f"^manifest.json: {field}"):
            check_question(asked, GRADES.labels if labels is None else labels)

    def test_what_fits_is_taken(self) -> None:
        for asked in (BONE_DENSITY, GRADES, HARDWARE, question(degrees=("0", "1", "2"), scale="grade {} of 2")):
            check_question(asked, asked.labels)

    @pytest.mark.parametrize(
        ("label_set", "told"),
        [
            (("kl3",), "grade 3 of 4 (Kellgren-Lawrence)"),
            (("kl2", "kl3"), "grade 2 or 3 of 4 (Kellgren-Lawrence)"),
            (("kl1", "kl2", "kl3"), "grade 1 to 3 of 4 (Kellgren-Lawrence)"),
            ((), ""),
        ],
    )
    def test_labels_have_degrees_for_people(self, label_set: tuple[str, ...], told: str) -> None:
        grades = tuple(f"kl{grade}" for grade in range(5))
        asked = question(
            answers=(PossibleAnswer("none", grades[:2], "None."), PossibleAnswer("some", grades[2:], "Some.")),
            degrees=tuple("01234"),
            scale="grade {} of 4 (Kellgren-Lawrence)",
        )
        check_question(asked, grades)
        assert asked.degrees_of(label_set) == told
        assert replace(asked, degrees=(), scale="").degrees_of(label_set) == ""

    def test_the_words_of_bone_density_are_the_program_s(self, bundle_copy: Path, example: Path) -> None:
        """Whatever a bundle of that question says: the advice belongs to the sentences."""

        def change(manifest: dict[str, Any]) -> None:
            manifest["question"]["unsure"] = "Buy our pills."
            manifest["question"]["next_step"] = "Buy our pills."

        message = OsteoPredictor(rewrite_manifest(bundle_copy, change)).predict(example).message
        assert "pills" not in message
        assert message.startswith("This test cannot tell from this picture.")

    def test_the_embedded_bundle_asks_about_bone_density(self) -> None:
        assert open_bundle(DENSITY).manifest.question == BONE_DENSITY


def test_a_set_within_one_answer_is_reported(bundle_copy: Path, example: Path) -> None:
    """How low bone density is need not be known to report that it is."""
    swapped = [[0.0, 0, 0], [0, 0, 0], [0, 0, 0]]
    folder = rewrite_manifest(
        bundle_copy,
        lambda manifest: manifest.update(
            is_proven=True,
            fusion=None,
            ensemble={"kind": "stacking", "layers": [{"kernel": swapped, "bias": [0, 5.0, 5.0], "activation": "linear"}]},
        ),
    )
    answer = OsteoPredictor(folder).predict(example).first
    assert answer.label_set == ("osteopenia", "osteoporosis")
    assert (answer.status, answer.answer, answer.label) == (Status.REPORTED, "higher_chance", None)
    assert answer.message == "Higher chance of low bone density: ask about a DXA scan. How low, it cannot tell."
