"""Numbers of telephones, of QQ and of its groups in a folded text with all numerals as digits."""

from __future__ import annotations

import re

_GAP = r"[\W_]{0,2}"  # between characters that are taken apart
_MOBILE = re.compile(  # with letters that are typed for 0 and 1
    r"(?<![\da-z.])(?:\+?(?:00)?86[\W_]{0,2})?(1[\W_]{0,2}[3-9](?:[\W_]{0,2}[\doil]){9})(?![\da-z])"
)
_MOBILE_GROUPS = {  # digits between separators, as people write them
    (11,), (3, 4, 4), (3, 3, 5), (4, 4, 3), (3, 8), (7, 4), (5, 6), (4, 7), (6, 5), (3, 2, 2, 4),
    (3, 2, 2, 2, 2), (3, 2, 3, 3), (4, 3, 4), (1, 2, 4, 4), (1, 2, 8), (1, 10),
}  # fmt: skip
_CALL = (
    r"(?:电话|手机号?码?|热线|致电|拨打|来电|联系方式|联系我?们?|联系人|咨询|客服|订购|预约|座机|固话|传真"
    r"|(?<![a-z])(?:tel|phone|call|whats?app)|☎|📞|📱|📲)"
)
_AFTER_CALL = _CALL + r"[\W_]{0,3}(?:号码?|是|为)?[\W_]{0,3}"
_TELEPHONE = re.compile(
    "|".join(
        (
            r"(?<!\d)\(?0\d{2,3}(?:\)\s?|[-—–\s]{1,2})\d{3,4}[-—–\s]?\d{4}(?!\d)",
            r"(?<!\d)[48]00[-—–](?:\d{3}[-—–]?\d{4}|\d{4}[-—–]?\d{3})(?!\d)",
            _AFTER_CALL + r"[48](?:[\W_]{0,3}0){2}(?:[\W_]{0,3}\d){7}(?!\d)",
            _AFTER_CALL + r"\(?\d(?:[\W_]{0,2}\d){6,11}(?!\d)",
            r"(?<![\da-z])\+\s?\d{1,3}(?:[\s-]\(?\d{3,5}\)?){2,4}(?!\d)",
        )
    )
)
# No count of things, no size of a picture.
_NUMBER = r"([1-9](?:[\W_]{0,2}\d){4,10})(?!\d|\s?[只个多余万元块件条人年月张款集]|[x×*]\d)"
_QQ_NAME = (
    rf"(?:(?<![a-z])q{_GAP}q(?![a-z])|[扣抠叩蔻口]{_GAP}[扣抠叩蔻口q]|[球扣]{_GAP}[球q]"
    rf"|(?<![a-z])q{_GAP}[球扣]|秋秋|丘丘|求求|企{_GAP}鹅|扣号|鹅号)"
)
_GROUP = r"(?:(?:q|扣|球|鹅|粉丝|交流|聊天|加|进|入|建|vip|福利)\W?[群裙]|[群裙](?:号|\s?:))"
_BETWEEN = (  # a name and its number
    r"(?:[\W_]|号码?|账号|帐号|(?<![a-z])id(?![a-z])|是|为|同号|搜索?|联系|加|我|群|裙){0,8}"
)
_QQ = re.compile(
    "|".join(
        (
            rf"(?:{_QQ_NAME}|{_GROUP}){_BETWEEN}{_NUMBER}",
            r"[群裙]\s?([1-9]\d{7,9})(?!\d|\s?[只个多余万元块件条人年月])",
            rf"(?:加|\+|私|联系)\s?(?:我|个|下)?\s?[q扣]{_GAP}{_NUMBER}",
            rf"(?<![a-z0-9])[q扣]\s?[:号群裙]+\s?{_NUMBER}",
            r"(?<![a-z0-9])[q扣]\s?([1-9]\d{6,10})(?![\da-z]|\s?[个颗元])",
        )
    )
)
_YEARS = re.compile(r"(?:(?:19|20)\d\d\D*)+")


def has_number(text: str) -> bool:
    """Whether a text has a number by which someone is reached."""
    for match in _MOBILE.finditer(text):
        groups = tuple(len(group) for group in re.findall(r"[\doil]+", match[1]))
        if sum(map(str.isdigit, match[1])) >= 7 and (
            groups in _MOBILE_GROUPS or groups.count(1) >= 6 or re.search(_CALL, text)
        ):
            return True
    if _TELEPHONE.search(text):
        return True
    return any(
        not _YEARS.fullmatch(next(group for group in match.groups() if group))
        for match in _QQ.finditer(text)
    )
