"""The knees of a picture: what the finder proposes, as far as the gate lets it pass."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from osteo_edge.finder.orientation import Seen, best_of_other_views, look
from osteo_edge.finder.poses import MAX_HITS, choose
from osteo_edge.findings import NO_KNEE, NOT_A_KNEE, ONE_LEFT_OUT, Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from osteo_edge.arrays import Floats, Pixels
    from osteo_edge.finder.joint_finder import JointFinder
    from osteo_edge.finder.poses import Hit
    from osteo_edge.gates.knee import KneeGate
    from osteo_edge.joints import Joint

# Where no hit reaches the finder's own threshold, one by so much below it will do if the gate takes it for a knee and nothing
# fits the picture turned as well: deformed and stretched knees give such. docs/gates.md tells how many are found so.
FAINTER_BY: Final = 0.6
# A joint that looks this much like a knee from the front is upright, whatever its score, and no other view need be looked at:
# `python -m benchmarks turned` gives the same of 746 pictures, each five ways, with this and without.
SURE_LIKENESS: Final = 0.95


def look_for_joints(finder: JointFinder, gate: KneeGate | None, pixels: Pixels) -> Seen:
    """Find one joint or two, whichever way up the picture is.

    Args:
        gate: None where joints of another part of the body are looked for.
        pixels: (height, width), as they were given, bone bright.
    """
    if gate is None:
        return look(finder, pixels)
    gated = _GatedFinder(finder, gate)
    seen = look(gated, pixels)
    if seen.joints:
        return replace(seen, notes=gated.left_out()) if gated.refused else seen
    if gated.refused and seen.finding and seen.finding.code == NO_KNEE:
        return replace(seen, finding=gated.no_knee())
    return seen


@dataclass
class _GatedFinder:
    """A finder of whose hits those are left that look like a knee.

    Attributes:
        refused: likenesses of what the finder would have taken for a knee in the last view in which knees were chosen.
        likest: the highest likeness of what was taken there.
    """

    finder: JointFinder
    gate: KneeGate
    refused: list[float] = field(default_factory=list)
    likest: float = 0.0

    @property
    def threshold(self) -> float:
        return self.finder.threshold

    def find(self, pixels: Pixels) -> tuple[Joint, ...]:
        """As ``JointFinder.find``."""
        return self.finder.find(pixels, self.knees_in)

    def examine(self, pyramid: list[Floats], hits: int = MAX_HITS) -> list[Hit]:
        """As ``JointFinder.examine``."""
        return [hit for hit, likeness in self._judged(pyramid, hits) if likeness >= self.gate.limit]

    def is_sure(self, joints: Sequence[Joint]) -> bool:
        """As ``JointFinder.is_sure``, or by how much like a knee they look."""
        return self.likest >= SURE_LIKENESS or self.finder.is_sure(joints)

    def knees_in(self, pyramid: list[Floats]) -> list[Hit]:
        """As ``JointFinder.knees_in``; and the faint one, where nothing fits the picture turned or inverted as well."""
        judged = self._judged(pyramid, MAX_HITS)
        passing = [hit for hit, likeness in judged if likeness >= self.gate.limit]
        taken = choose([hit for hit, _ in judged], self.threshold)
        self.refused = [likeness for hit, likeness in judged if hit in taken and likeness < self.gate.limit]
        knees = choose(passing, self.threshold)
        self.likest = max((likeness for hit, likeness in judged if hit in knees), default=0.0)
        return knees or self._faint(passing, pyramid[0])

    def _judged(self, pyramid: list[Floats], hits: int) -> list[tuple[Hit, float]]:
        found = self.finder.examine(pyramid, hits)
        return list(zip(found, self.gate.likenesses(pyramid, found), strict=True))

    def _faint(self, passing: list[Hit], work: Floats) -> list[Hit]:
        faint = choose(passing, self.threshold - FAINTER_BY)
        return faint if faint and best_of_other_views(self, work) < passing[0].score else []

    def no_knee(self) -> Finding:
        likeness, limit = max(self.refused), self.gate.limit
        told = f"what was found does not look like a knee (likeness {likeness:.2f}; at least {limit:.2f} is needed)"
        return Finding(NOT_A_KNEE, told)

    def left_out(self) -> tuple[Finding, ...]:
        told = f"a second joint is left out, it does not look like a knee (likeness {max(self.refused):.2f})"
        return (Finding(ONE_LEFT_OUT, told),)
