"""Measure how far people agree beyond chance: Cohen's kappa of two, Fleiss' kappa of many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations

NAN = float("nan")


def cohen(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Compute Cohen's kappa (1960) of two people's answers to the same questions, in order.

    It is NaN where there is no question, or where both always gave the same single answer.
    """
    if len(first) != len(second):
        raise ValueError(f"one person gave {len(first)} answers, and the other {len(second)}")
    if not first:
        return NAN
    n = len(first)
    agreed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    first_counts, second_counts = Counter(first), Counter(second)
    chance = sum(first_counts[answer] * second_counts[answer] for answer in first_counts) / n**2
    return NAN if chance == 1 else (agreed - chance) / (1 - chance)


def fleiss(questions: Sequence[Sequence[Hashable]]) -> float:
    """Compute Fleiss' kappa (1971) of the answers to each question.

    Questions may have different numbers of answers; those with fewer than two are left out. The
    kappa is NaN where no question is left, or where all answers are the same.
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
    """Return Cohen's kappa of every two people, with the number of questions that it is over.

    Args:
        answers: the answers of each person, by question.
        fewest: the number of questions that two people must share.
    """
    kappas = {}
    for first, second in combinations(sorted(answers), 2):
        shared = sorted(answers[first].keys() & answers[second].keys())
        if len(shared) >= fewest:
            kappa = cohen([answers[first][q] for q in shared], [answers[second][q] for q in shared])
            kappas[first, second] = (kappa, len(shared))
    return kappas
