"""What a panel says beside its pictures, in Chinese and in English."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from r2d2.explain.explanation import FULL

if TYPE_CHECKING:
    from r2d2.explain.explanation import Explanation


@dataclass(frozen=True)
class Labels:
    """In one language."""

    by_part: str  # under the words by part
    within: str  # what grey means
    scale_start: str  # before the colours, of the noise itself
    scale_end: str  # behind them
    of_entity: Callable[[Explanation, int], str]  # under the map of an entity
    facts: Callable[[Explanation], list[str]]  # under the title


def _entity(found: Explanation, index: int) -> str:
    if not found.evidence.readable[index]:
        return "the model cannot read it"
    if not found.evidence.known(index):
        return "nothing known"
    most = float(found.evidence.strength(index).max())
    if most <= 1:
        return "matches, but no part stands out"
    size = f"+{float(found.maps[index].max()):.3f}, " if found.way.dropping else ""
    return f"up to {size}{most:.1f} times the noise"


def _entity_zh(found: Explanation, index: int) -> str:
    if not found.evidence.readable[index]:
        return "模型读不懂这个词"
    if not found.evidence.known(index):
        return "模型没有把握，不作标注"
    most = float(found.evidence.strength(index).max())
    if most <= 1:
        return "与图相符，但没有突出的部位"
    size = f" +{float(found.maps[index].max()):.3f}，" if found.way.dropping else ""
    return f"最高{size}为噪声的 {most:.1f} 倍"


def _facts(found: Explanation) -> list[str]:
    match = "" if found.match is None else f"   match {found.match:.2f}"
    lines = [f"cosine {found.cosine:.2f}{match}"]
    if found.evidence.words:
        draws = f", {found.draws} random draws of parts" if found.draws else ""
        lines.append(f"noise {found.evidence.noise:.3f}: {found.evidence.words} words{draws}")
    if not any(found.known):
        lines.append("Nothing known: unrelated words match this picture as well.")
    return lines


def _facts_zh(found: Explanation) -> list[str]:
    match = "" if found.match is None else f"   匹配 {found.match:.2f}"
    lines = [f"余弦 {found.cosine:.2f}{match}"]
    if found.evidence.words:
        draws = f"，随机遮挡 {found.draws} 次" if found.draws else ""
        lines.append(
            f"噪声 {found.evidence.noise:.3f}：由 {found.evidence.words} 个无关的词估计{draws}"
        )
    if not any(found.known):
        lines.append("没有可说的：无关的词与这张图同样相符。")
    return lines


ENGLISH = Labels(
    by_part="the word of each part",
    within="grey: within the noise",
    scale_start="noise",
    scale_end=f"{FULL:g} times or more",
    of_entity=_entity,
    facts=_facts,
)
CHINESE = Labels(
    by_part="各部位对应的词",
    within="灰色：在噪声以内",
    scale_start="噪声",
    scale_end=f"{FULL:g} 倍及以上",
    of_entity=_entity_zh,
    facts=_facts_zh,
)


def labels_for(text: str) -> Labels:
    """Chinese ones for a Chinese text."""
    return CHINESE if any("\u4e00" <= character <= "\u9fff" for character in text) else ENGLISH
