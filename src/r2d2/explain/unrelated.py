"""Everyday words from many subjects, which serve as a baseline for the maps of entities.

The effect of a part of a picture on an entity is compared with its effect on these words. They are
single words because entities are; search compares whole texts (index/unrelated_texts.txt). A
picture may show a few of them, so only quantiles over all of them are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from torch import Tensor

from r2d2.models import ImageTextModel
from r2d2.readable import token_spans

LEAST = 40  # the number of words that a model must be able to read for usable quantiles
_LIST = """
苹果 香蕉 西瓜 面包 蛋糕 米饭 面条 咖啡 牛奶 啤酒 小狗 小猫 金鱼 小鸟 马 牛 老虎 猴子 蛇 蝴蝶
花 树 草地 山 大海 河流 太阳 月亮 星星 下雨 下雪 汽车 自行车 火车 飞机 船 房子 学校 医院 桥
椅子 床 灯 钟表 电话 电脑 书 铅笔 剪刀 钥匙 帽子 裙子 鞋 眼镜 雨伞 背包 戒指 足球 篮球 游泳
跑步 滑雪 跳舞 吉他 钢琴 鼓 男人 女人 孩子 婴儿 老人 医生 警察 厨师 老师 农民 手 眼睛 嘴 笑脸
生气 哭泣 睡觉 红心 箭头 数字 国旗 禁止 绿色 蓝色 方块 三角形 礼物 气球 火 冰 钱 枪 地图 邮件
"""
WORDS = tuple(_LIST.split())


@dataclass(frozen=True)
class UnrelatedWords:
    """Words with their embeddings."""

    texts: tuple[str, ...]
    embeddings: Tensor  # (u, d), float32, on the CPU

    def __len__(self) -> int:
        return len(self.texts)


_embeddings: WeakKeyDictionary[ImageTextModel, UnrelatedWords] = WeakKeyDictionary()


def unrelated_words(model: ImageTextModel, texts: Sequence[str]) -> UnrelatedWords:
    """Return the words of which the model knows every character.

    Words that contain one of `texts`, or are contained in one, are left out.
    """
    if model not in _embeddings:
        readable = tuple(word for word in WORDS if not any(unreadable(model, word)))
        embeddings = model.encode_texts(readable or WORDS[:1]).embedding.float().cpu()
        _embeddings[model] = UnrelatedWords(readable, embeddings)
    words = _embeddings[model]
    kept = [
        number
        for number, word in enumerate(words.texts)
        if not any(word in text or text in word for text in texts)
    ]
    return UnrelatedWords(tuple(words.texts[number] for number in kept), words.embeddings[kept])


def unreadable(model: ImageTextModel, text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the characters, and then the English words, of a text that the model cannot read."""
    tokens = token_spans(text, model.tokenizer)
    unknown = (name for name in tokens.names(tokens.unknown) if any(map(str.isalnum, name)))
    return tuple(unknown), tokens.names(tokens.english)
