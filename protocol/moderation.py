"""POST /v1/moderations: a verdict on each text, in the standard's shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from msgspec import Struct

CATEGORIES: Final = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
"""The standard's; an answer has all of them, and after them those of the policy that matched."""


class ModerationResult(Struct, frozen=True, kw_only=True):
    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, tuple[Literal["text"], ...]]

    @classmethod
    def of(cls, scores: Mapping[str, float]) -> ModerationResult:
        """The verdict on one text: `scores` has the categories that matched, each with its score above 0."""
        all_scores = {**dict.fromkeys(CATEGORIES, 0.0), **scores}
        return cls(
            flagged=any(score > 0 for score in all_scores.values()),
            categories={category: score > 0 for category, score in all_scores.items()},
            category_scores=all_scores,
            category_applied_input_types=dict.fromkeys(all_scores, ("text",)),
        )


class ModerationAnswer(Struct, frozen=True, kw_only=True):
    """`model` names the policy and its version: that is what judged."""

    id: str
    model: str
    results: tuple[ModerationResult, ...]


def moderation_answer(
    answer_id: str, policy: str, verdicts: Iterable[Mapping[str, float]]
) -> ModerationAnswer:
    """One result for each text, in the order of the texts."""
    return ModerationAnswer(
        id=answer_id, model=policy, results=tuple(ModerationResult.of(scores) for scores in verdicts)
    )
