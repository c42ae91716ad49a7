"""Ways to reach a seller, and the prices of one, as they stand in texts.

The name of a service alone, as in a caption of its logo, is no contact, and one price is no spam.
"""

from __future__ import annotations

import re

_WECHAT = r"(?:微信|薇信|威信|徽信|v信|wei?xin|wechat|(?<![a-z])[vw]x)"
_QQ = r"(?:(?<![a-z])q{2}|扣扣|企鹅)"
_DOMAINS = "com|cn|net|org|cc|top|xyz|vip|shop|site|info"

CONTACTS = re.compile(  # of a text in lower case
    "|".join(
        (
            r"(?<!\d)(?:\+?86[-\s]?)?1[3-9]\d[-\s]?\d{4}[-\s]?\d{4}(?!\d)",  # mobile phones
            r"(?<!\d)0\d{2,3}[-\s]\d{7,8}(?!\d)",
            r"(?<!\d)[48]00[-\s]\d{3,4}[-\s]?\d{3,4}(?!\d)",
            _QQ + r"\s*(?:号码?|群)?\s*[:：]?\s*[1-9]\d{4,10}(?!\d)",
            _WECHAT + r"\s*(?:号|[:：])+\s*[a-z0-9][-_a-z0-9]{4,19}",
            _WECHAT + r"\s*(?=[-_a-z]*\d)[a-z0-9][-_a-z0-9]{4,19}",
            r"(?:加|\+|➕)\s*(?:我|个)?\s*(?:" + _WECHAT + "|" + _QQ + r"|v)(?![a-z])",
            r"[\w.+-]+@[a-z0-9-]+(?:\.[a-z0-9-]+)+",
            r"https?://|www\.",
            rf"(?<![a-z0-9])[a-z0-9-]+\.(?:{_DOMAINS})(?![a-z0-9])",
        )
    )
)
PRICES = re.compile(
    "|".join(
        (
            r"(?:[¥￥$]\s*\d.*){2}",
            r"(?:\d元.*){2}",
            r"(?:仅售|只要|低至|到手价?|秒杀)\s*[¥￥]?\s*\d",
            r"满\s*\d+\s*元?\s*[减送返]",
            r"\d\s*折(?:起|优惠|特惠|封顶)",
            r"全场.{0,4}折",
        )
    )
)
SIGNS = re.compile(  # without one of them a text holds neither
    r"[0-9@.]|微信|薇信|威信|徽信|v信|[vw]x|weixin|wexin|wechat|qq|扣扣|\+|加v|➕|www|http|全场",
    re.I,
)
