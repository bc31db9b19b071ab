"""Int8 files within a budget: which layers, which ranges, which rounding, and what each costs.

``records`` is what is handed on, ``representative`` the knees that ranges come from, ``groups`` the layers that go together,
``ranges`` and ``rounding`` the arithmetic, ``integers`` and ``litert`` the writers, ``making`` from recipe to file,
``agreement``, ``damage`` and ``speed`` the measures, ``searching`` the choice, ``aware`` fine-tuning where all else falls
short.
"""

from export.quantization.agreement import AgreementBench, agreement_of
from export.quantization.damage import group_damages
from export.quantization.groups import groups_of
from export.quantization.integers import require_seven_bits
from export.quantization.making import Maker, make
from export.quantization.records import Exact, Found, Measured, RepresentativeSet
from export.quantization.representative import representative_set
from export.quantization.searching import search
from export.quantization.speed import paired_speed

__all__ = [
    "AgreementBench",
    "Exact",
    "Found",
    "Maker",
    "Measured",
    "RepresentativeSet",
    "agreement_of",
    "group_damages",
    "groups_of",
    "make",
    "paired_speed",
    "representative_set",
    "require_seven_bits",
    "search",
]
