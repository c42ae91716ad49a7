"""Prices and discounts of an offer in a folded text; one price alone is no advertisement."""

from __future__ import annotations

import re

_NUMBER = r"(?:\d+(?:\.\d+)?|[一二两三四五六七八九十百千]+块?[一二三四五六七八九]?)"
_MEASURE = (  # what follows a number that is no price
    r"(?!\.?\d*\s?(?:度|°|℃|摄氏|零下|分钟|秒|小时|天|年|步|%|米|厘米|毫|公里|千米|公斤|克|层|倍|人|个|件|瓦|分贝|cm|mm|km|kg|db|ms|w\b|\d))"
)
OFFERS = re.compile(
    "|".join(
        (
            r"[¥$]\s*\d.*[¥$]\s*\d",
            r"\d元.*\d元",
            rf"(?:仅售|仅需|到手价?仅?|券后仅|秒杀价|抢购价|券后价?|促销价|活动价|一口价|特价|特惠价|折后价?|现价|团购价|包邮价)\s*:?\s*[¥$]?\s*{_NUMBER}",
            rf"(?:低至|秒杀)\s*[¥$]?\s*{_NUMBER}(?:\s*(?:元|块|折|起|包邮)|{_MEASURE})(?![\u4e00-\u9fff]*[度钟秒温])",
            rf"只要\s*(?:[¥$]\s*{_NUMBER}|{_NUMBER}\s*(?:元|块)|\d+\.9|\d?9(?:$|包邮|,|!))",
            r"(?:9|九)块(?:9|九)|(?<!\d)9\.9\s*(?:包邮|秒杀|抢)",
            r"[0零]元购|买[\d一二三两]+[送赠][\d一二三两]",
            r"满\s*\d+\s*元?\s*(?:立减|[减返赠]\s*\d|[送赠])",
            r"[\d一二三四五六七八九](?:\.\d|[一二三四五六七八九5])?\s*折\s*(?:起|优惠|特惠|封顶|包邮|促销|大促|清仓|抢)",
            r"全场\W?(?:低至)?[\d一二三四五六七八九]?(?:\.\d|[一二三四五六七八九5])?\s*折|全场打折",
        )
    )
)
SIGNS = frozenset("折元块满低售购买送价需要秒到抢券¥$￥场")  # without one of them there is no offer
_MONEY = re.compile(r"纸币|硬币|钞票|人民币|面值|面额|货币|纪念币|邮票|对比|汇率")


def offers(folded: str) -> list[tuple[int, int]]:
    """Where prices and discounts of an offer start and end in a folded text."""
    spans = [match.span() for match in OFFERS.finditer(folded)]
    return [] if spans and _MONEY.search(folded) else spans
