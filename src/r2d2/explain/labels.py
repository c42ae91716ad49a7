"""The texts of a panel, in Chinese and in English."""

from __future__ import annotations

from dataclasses import dataclass

from r2d2.explain.evidence import Evidence
from r2d2.explain.maps import FULL


@dataclass(frozen=True)
class PanelLabels:
    """The texts of a panel in one language; those with braces are filled in."""

    by_part: str  # under the picture that shows the word of each part
    within: str  # tells what grey means
    scale_start: str  # left of the colour scale, at the noise itself
    scale_end: str  # right of the colour scale
    unreadable: str  # for an entity that the model cannot read
    unknown: str  # for an entity whose map has nothing to show
    even: str  # for an entity that matches without a part that stands out
    strongest: str  # the value of an entity's strongest part, with its effect on the cosine
    strongest_alone: str  # the same without the effect on the cosine
    cosine: str
    match: str  # follows the cosine
    noise: str
    draws: str  # follows the noise
    nothing_known: str

    def of_entity(self, evidence: Evidence, index: int, *, dropping: bool) -> str:
        """Return the line under the map of an entity."""
        if not evidence.readable[index]:
            return self.unreadable
        if not evidence.known(index):
            return self.unknown
        times = float(evidence.strength(index).max())
        if times <= 1:
            return self.even
        if not dropping:
            return self.strongest_alone.format(times=times)
        return self.strongest.format(effect=float(evidence.maps[index].max()), times=times)

    def facts(
        self, evidence: Evidence, cosine: float, match: float | None, draws: int
    ) -> list[str]:
        """Return the lines under the title."""
        scores = self.cosine.format(cosine)
        if match is not None:
            scores += self.match.format(match)
        lines = [scores]
        if evidence.words:
            noise = self.noise.format(noise=evidence.noise, words=evidence.words)
            lines.append(noise + (self.draws.format(draws) if draws else ""))
        if not any(evidence.known(index) for index in range(len(evidence.maps))):
            lines.append(self.nothing_known)
        return lines


ENGLISH = PanelLabels(
    by_part="the word of each part",
    within="grey: within the noise",
    scale_start="noise",
    scale_end=f"{FULL:g} times or more",
    unreadable="the model cannot read it",
    unknown="nothing known",
    even="matches, but no part stands out",
    strongest="up to +{effect:.3f}, {times:.1f} times the noise",
    strongest_alone="up to {times:.1f} times the noise",
    cosine="cosine {:.2f}",
    match="   match {:.2f}",
    noise="noise {noise:.3f}: {words} words",
    draws=", {} random draws of parts",
    nothing_known="Nothing known: unrelated words match this picture as well.",
)
CHINESE = PanelLabels(
    by_part="各部位对应的词",
    within="灰色：在噪声以内",
    scale_start="噪声",
    scale_end=f"{FULL:g} 倍及以上",
    unreadable="模型读不懂这个词",
    unknown="模型没有把握，不作标注",
    even="与图相符，但没有突出的部位",
    strongest="最高 +{effect:.3f}，为噪声的 {times:.1f} 倍",
    strongest_alone="最高为噪声的 {times:.1f} 倍",
    cosine="余弦 {:.2f}",
    match="   匹配 {:.2f}",
    noise="噪声 {noise:.3f}：由 {words} 个无关的词估计",
    draws="，随机遮挡 {} 次",
    nothing_known="没有可说的：无关的词与这张图同样相符。",
)


def labels_for(text: str) -> PanelLabels:
    """Return the Chinese labels for a text that has Chinese characters, otherwise the English."""
    return CHINESE if any("\u4e00" <= character <= "\u9fff" for character in text) else ENGLISH
