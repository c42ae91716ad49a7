"""How far people agree beyond chance: Cohen's kappa of two, Fleiss' kappa of many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations

NAN = float("nan")


def cohen(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """Cohen's kappa (1960) of two people's answers to the same questions, in the same order.

    NaN where there is no question, or where both gave one answer throughout.
    """
    if len(one) != len(other):
        raise ValueError(f"{len(one)} answers, but {len(other)} of the other")
    if not one:
        return NAN
    n = len(one)
    agreed = sum(a == b for a, b in zip(one, other, strict=True)) / n
    first, second = Counter(one), Counter(other)
    chance = sum(first[answer] * second[answer] for answer in first) / n**2
    return NAN if chance == 1 else (agreed - chance) / (1 - chance)


def fleiss(questions: Sequence[Sequence[Hashable]]) -> float:
    """Fleiss' kappa (1971) of the answers to each question.

    Questions need not have equally many answers: each counts by its own agreement, those with fewer
    than two are left out. NaN where none is left, or all answers are one.
    """
    counts = [Counter(answers) for answers in questions if len(answers) > 1]
    if not counts:
        return NAN
    agreed = 0.0
    total: Counter[Hashable] = Counter()
    for count in counts:
        n = count.total()
        agreed += sum(k * (k - 1) for k in count.values()) / (n * (n - 1))
        total.update(count)
    agreed /= len(counts)
    chance = sum((k / total.total()) ** 2 for k in total.values())
    return NAN if chance == 1 else (agreed - chance) / (1 - chance)


def pairwise_cohen(
    answers: Mapping[str, Mapping[str, str]], fewest: int = 5
) -> dict[tuple[str, str], tuple[float, int]]:
    """Cohen's kappa of every two people, and over how many questions.

    Args:
        answers: of each person, by question.
        fewest: questions that two must share.
    """
    kappas = {}
    for one, other in combinations(sorted(answers), 2):
        shared = sorted(answers[one].keys() & answers[other].keys())
        if len(shared) >= fewest:
            kappa = cohen([answers[one][q] for q in shared], [answers[other][q] for q in shared])
            kappas[one, other] = (kappa, len(shared))
    return kappas
