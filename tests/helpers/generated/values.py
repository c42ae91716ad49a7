"""Generated values: captions, what stands where a caption is missing, and splits."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

PHRASES = (
    "一只白色的小狗在雪地里奔跑", "两个孩子坐在河边的石头上", "红色的汽车停在路口",
    "窗台上的花开了",
    "老人在公园里打太极", "蓝天下面是一片金黄的麦田", "桌上放着一杯热茶", "妈妈牵着女儿的手过马路",
    "夜晚的城市灯火通明", "猫睡在沙发上", "运动员跳过了横杆", "海边的灯塔和白色的浪花",
)  # fmt: skip
# Missing, in a typed file; and what cannot be a caption
GAPS = (None, math.nan, "", "  ", "null", "None", "NaN", "nan", "N/A", "\\N")
NO_TEXTS = (5, 2.5, True, {"a": "猫"}, ["x"], math.inf, "\ud800", "小\0狗", "小\ufffd狗")
CSV_GAPS = ("", " ", "NaN", "null", "None", "\\N", "N/A", "#N/A", "<NA>")
SPLITS = {
    "train": ("train", "Train", " TRAINING ", "trn", "训练集", "训练", "訓練集", "ｔｒａｉｎ"),
    "val": ("val", "valid", "Validation", "DEV", "验证集", "验证", "驗證集", "development"),
    "test": ("test", "TEST ", "testing", "tst", "测试集", "测试", "測試集"),
    "test_novel": ("test_novel",),
    "2019": ("2019",),
}
BAD_SPLITS = ({"a": 1}, [1], 1.5, True, "a\nb", "长" * 65)
LABELS = {1: (1, "1", 1.0, True, "true", "1.0"), 0: (0, "0", 0.0, False, "False", "0.0")}
BAD_LABELS = (2, -1, "yes", 0.5, math.inf, [1], {})


class Values:
    """Values out of one source of chance. Every caption is another, by the number in it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._count = 0

    def one_in(self, number: int) -> bool:
        return self.rng.randrange(number) == 0

    def caption(self, *, line: bool = False, plain: bool = False) -> tuple[str, str]:
        """A caption as it is written, and as it must be in the table.

        Args:
            line: it stands in a line of text: no tabs and line breaks.
            plain: it has common characters alone, which any encoding has.
        """
        self._count += 1
        text = f"{self.rng.choice(PHRASES)}{self._count}"
        if self.one_in(3):
            text += self.rng.choice(
                (", 还有,三只", "，看雨", "。", " 的照片", "!", "（一）", "；好")
            )
        if plain:
            return text, text
        if self.one_in(3):
            text = self.rng.choice(
                ("🐶{}", "{}👨‍👩‍👧", "說{}", "{}\u2028下", "cafe\u0301{}", "{}\x85好", "“{}”",
                 '{}"好"', "'{}'", "None {}", "nan{}", "{}#1", "{}%20", "{}\\n", "<b>{}</b>",
                 "{}𠮷",
                 "{}\u200d", "=1+{}", "-{}", "{};{{}}", "{}\x1c1")
            ).replace("{}", text, 1)  # fmt: skip
        if not line and self.one_in(6):
            text = text[:3] + self.rng.choice(("\n", "\r\n", "\t", "\n\n")) + text[3:]
        written = text
        if self.one_in(4):
            written = self.rng.choice((" {}", "{} ", "\ufeff{}", "\u3000{}\u3000", "{}\xa0"))
            written = written.replace("{}", text, 1)
        return written, text

    def no_caption(self) -> Any:
        """What a typed file may have in the place of a caption."""
        return self.rng.choice(GAPS if self.one_in(2) else NO_TEXTS)

    def captions(self) -> tuple[list[Any], list[str], int]:
        """A list as it is written, its good texts, and how many of it are none."""
        written: list[Any] = []
        good = []
        for _ in range(self.rng.randrange(1, 4)):
            if self.one_in(4):
                written.append(self.no_caption())
            else:
                said, text = self.caption()
                written.append(said)
                good.append(text)
        return written, good, len(written) - len(good)

    def split(self, names: Sequence[str] = tuple(SPLITS)) -> tuple[str, str]:
        """As it is written, and as it must be."""
        name = self.rng.choice(names)
        return self.rng.choice(SPLITS[name]), name

    def label(self) -> tuple[Any, int]:
        label = self.rng.choice((0, 1))
        return self.rng.choice(LABELS[label]), label
