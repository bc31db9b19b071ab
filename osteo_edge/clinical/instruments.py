"""Published risk scores that anybody may compute: what each asks for, for whom it was made, and what studies reported.

A score tells who should be offered a DXA scan. It is no diagnosis and no probability. FRAX is not here: its formula is not
public.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from osteo_edge.clinical.formulas import orai, osiris, ost, score
from osteo_edge.covariates import AGE, SEX, WEIGHT
from osteo_edge.records import FrozenMapping

ESTROGEN_NOW: Final = "estrogen_use"
ESTROGEN_EVER: Final = "estrogen_ever"
FRACTURE: Final = "prior_fracture"
FRACTURES: Final = "fractures_after_45"
ARTHRITIS: Final = "rheumatoid_arthritis"
MENOPAUSE: Final = "after_menopause"
ASIAN: Final = "asian_ethnicity"
BLACK: Final = "black_ethnicity"

WOMEN_FROM_YEARS: Final = 45.0
# The World Health Organization's classes of bone density are of men from here on.
MEN_FROM_YEARS: Final = 50.0


@dataclass(frozen=True)
class Range:
    """Whole numbers from ``at_least`` to ``at_most``, both among them; None for no limit."""

    at_least: int | None = None
    at_most: int | None = None

    def __contains__(self, value: int) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        if self.at_least is None:
            return f"{self.at_most} or less"
        return f"{self.at_least} or more" if self.at_most is None else f"{self.at_least} to {self.at_most}"


@dataclass(frozen=True)
class Reported:
    """What a study found: of 100 persons with what was looked for, how many are in the range; of 100 without, how many are not.

    Attributes:
        cut_off: the one that the study used, which need not be the one followed here.
        target: what was looked for, by DXA.
        persons: in whom.
        source: of the figures.
    """

    sensitivity_percent: float
    specificity_percent: float
    cut_off: str
    target: str
    persons: str
    source: str


@dataclass(frozen=True)
class Population:
    """For whom a score was made, and where it advises a DXA scan.

    Attributes:
        sex: ``female`` or ``male``.
        from_years: completed years of age.
        referral: the values for which a DXA scan is advised.
        source: of the cut-off.
        after_menopause: whether it was made for women after menopause alone.
        asian: whether it was made for Asian persons alone.
        reported: published figures.
    """

    sex: Literal["female", "male"]
    from_years: float
    referral: Range
    source: str
    after_menopause: bool = False
    asian: bool = False
    reported: tuple[Reported, ...] = ()

    def __str__(self) -> str:
        people = "women" if self.sex == "female" else "men"
        told = f"{'Asian ' if self.asian else ''}{people} of {self.from_years:g} and over"
        return f"{told}, after menopause" if self.after_menopause else told


@dataclass(frozen=True)
class Band:
    """A published name for some of a score's values."""

    name: str
    values: Range


@dataclass(frozen=True)
class Instrument:
    """One published score.

    Attributes:
        code: for machines.
        name, title: as it is called, in short and in full.
        needs: names of what goes into it.
        takes: names of what goes into it where it is given.
        formula: in words.
        populations: at most one a sex.
        bands: published names of its values; empty where there are none.
        compute: from name -> number (yes is 1) to the score.
    """

    code: str
    name: str
    title: str
    needs: tuple[str, ...]
    formula: str
    populations: tuple[Population, ...]
    compute: Callable[[Mapping[str, float]], int]
    takes: tuple[str, ...] = ()
    bands: tuple[Band, ...] = ()

    @property
    def source(self) -> str:
        """The publications that are followed."""
        return "; ".join(population.source for population in self.populations)

    def population_of(self, sex: str) -> Population | None:
        return next((one for one in self.populations if one.sex == sex), None)

    def band_of(self, value: int) -> str | None:
        return next((band.name for band in self.bands if value in band.values), None)


def _ost(known: Mapping[str, float]) -> int:
    return ost(known[AGE], known[WEIGHT])


def _orai(known: Mapping[str, float]) -> int:
    return orai(known[AGE], known[WEIGHT], takes_estrogen=bool(known[ESTROGEN_NOW]))


def _score(known: Mapping[str, float]) -> int:
    return score(
        known[AGE],
        known[WEIGHT],
        has_rheumatoid_arthritis=bool(known[ARTHRITIS]),
        fractures_after_45=int(known[FRACTURES]),
        ever_took_estrogen=bool(known[ESTROGEN_EVER]),
        is_black=bool(known.get(BLACK)),
    )


def _osiris(known: Mapping[str, float]) -> int:
    return osiris(known[AGE], known[WEIGHT], takes_estrogen=bool(known[ESTROGEN_NOW]), had_fracture=bool(known[FRACTURE]))


_KOH: Final = "Koh et al., Osteoporos Int 2001;12:699, doi:10.1007/s001980170070"
_RICHY: Final = "Richy et al., QJM 2004;97:39, doi:10.1093/qjmed/hch002"
_ADLER: Final = "Adler et al., Mayo Clin Proc 2003;78:723, doi:10.4065/78.6.723"
_CRANDALL: Final = "Crandall et al., J Bone Miner Res 2014;29:1661, doi:10.1002/jbmr.2174"
_PECINA: Final = "Pecina et al., J Am Board Fam Med 2016;29:233, doi:10.3122/jabfm.2016.02.150237"
_CADARETTE: Final = "Cadarette et al., CMAJ 2000;162:1289, PMC1232411"
_LYDICK: Final = "Lydick et al., Am J Manag Care 1998;4:37"
_SEDRINE: Final = "Sedrine et al., Gynecol Endocrinol 2002;16:245"

_OSTEOPOROSIS: Final = "T <= -2.5 at the femoral neck"
_ANY_SITE: Final = "T <= -2.5 at the femoral neck or the lumbar spine"
_LOW: Final = "T <= -2 at the femoral neck or the lumbar spine"
_WHI: Final = "5,165 women of 50 to 64, Women's Health Initiative, USA"
_LIEGE: Final = "4,035 white women after menopause, one clinic, Belgium"
_MAYO: Final = "290 women of 50 to 64, one clinic, USA"

OST: Final = Instrument(
    code="ost",
    name="OST",
    title="Osteoporosis Self-assessment Tool",
    needs=(AGE, SEX, WEIGHT),
    formula="(kilograms - years) / 5, decimals dropped",
    populations=(
        Population(
            "female",
            WOMEN_FROM_YEARS,
            Range(at_most=1),
            _RICHY,
            after_menopause=True,
            reported=(
                Reported(85, 37, "below 2", "T <= -2.5 at the lumbar spine", _LIEGE, _RICHY),
                Reported(97, 34, "below 2", "T <= -2.5 at the total hip", _LIEGE, _RICHY),
                Reported(79.8, 66.3, "below 2", _OSTEOPOROSIS, _WHI, _CRANDALL),
                Reported(56, 69, "below 2", _ANY_SITE, _MAYO, _PECINA),
            ),
        ),
        Population(
            "male",
            MEN_FROM_YEARS,
            Range(at_most=3),
            _ADLER,
            reported=(
                Reported(
                    93,
                    66,
                    "3",
                    "T <= -2.5 at spine, total hip or femoral neck",
                    "181 men of two clinics of a veterans' hospital, USA",
                    _ADLER,
                ),
            ),
        ),
    ),
    compute=_ost,
)
OSTA: Final = Instrument(
    code="osta",
    name="OSTA",
    title="Osteoporosis Self-assessment Tool for Asians",
    needs=(AGE, SEX, WEIGHT, ASIAN),
    formula="(kilograms - years) / 5, decimals dropped",
    populations=(
        Population(
            "female",
            WOMEN_FROM_YEARS,
            Range(at_most=-1),
            _KOH,
            after_menopause=True,
            asian=True,
            reported=(
                Reported(91, 45, "-1 or less", "T <= -2.5", "women after menopause in eight Asian countries", _KOH),
                Reported(
                    57.0,
                    69.3,
                    "-1 or less",
                    "T <= -2.5 at the lumbar spine",
                    "498 women after menopause, Taiwan",
                    "Li, Tzu Chi Med J 2008;20(3)",
                ),
            ),
        ),
    ),
    compute=_ost,
    bands=(Band("low", Range(at_least=0)), Band("medium", Range(-4, -1)), Band("high", Range(at_most=-5))),
)
ORAI: Final = Instrument(
    code="orai",
    name="ORAI",
    title="Osteoporosis Risk Assessment Instrument",
    needs=(AGE, SEX, WEIGHT, ESTROGEN_NOW),
    formula="age 75 and over 15, 65 to 74 9, 55 to 64 5; weight below 60 kg 9, below 70 kg 3; no estrogen now 2",
    populations=(
        Population(
            "female",
            WOMEN_FROM_YEARS,
            Range(at_least=9),
            _CADARETTE,
            reported=(
                Reported(93.3, 46.4, "9 or more", _LOW, "450 women of 45 and over, Canada", _CADARETTE),
                Reported(52, 67, "9 or more", _ANY_SITE, _MAYO, _PECINA),
            ),
        ),
    ),
    compute=_orai,
)
SCORE: Final = Instrument(
    code="score",
    name="SCORE",
    title="Simple Calculated Osteoporosis Risk Estimation",
    needs=(AGE, SEX, WEIGHT, ARTHRITIS, FRACTURES, ESTROGEN_EVER),
    takes=(BLACK,),
    formula="5, but not for Black women as published; rheumatoid arthritis 4; each fracture of wrist, hip or rib after 45 4, "
    "at most 12; 3 for each ten years; estrogen never 1; less 1 for each ten pounds",
    populations=(
        Population(
            "female",
            WOMEN_FROM_YEARS,
            Range(at_least=6),
            _LYDICK,
            after_menopause=True,
            reported=(
                Reported(89, 50, "6 or more", "T <= -2", "women after menopause of 45 and over, 89 of 100 white, USA", _LYDICK),
                Reported(74.0, 70.8, "8 or more", _OSTEOPOROSIS, _WHI, _CRANDALL),
                Reported(74, 42, "6 or more", _ANY_SITE, _MAYO, _PECINA),
            ),
        ),
    ),
    compute=_score,
)
OSIRIS: Final = Instrument(
    code="osiris",
    name="OSIRIS",
    title="Osteoporosis Index of Risk",
    needs=(AGE, SEX, WEIGHT, ESTROGEN_NOW, FRACTURE),
    formula="kilograms / 5 and years / 5, each cut to a whole number, their difference; estrogen now +2; a bone that broke in "
    "a slight fall -2",
    populations=(
        Population(
            "female",
            WOMEN_FROM_YEARS,
            Range(at_most=0),
            _SEDRINE,
            after_menopause=True,
            reported=(Reported(78.5, 51.4, "+1", "T <= -2.5", "1,303 women after menopause, one clinic, Belgium", _SEDRINE),),
        ),
    ),
    compute=_osiris,
    bands=(Band("low", Range(at_least=1)), Band("medium", Range(-3, 0)), Band("high", Range(at_most=-4))),
)
INSTRUMENTS: Final = (OST, OSTA, ORAI, SCORE, OSIRIS)
BY_CODE: Final[Mapping[str, Instrument]] = FrozenMapping({one.code: one for one in INSTRUMENTS})

FRAX: Final = "FRAX is not computed: its formula is not public. Its own web site computes it."
