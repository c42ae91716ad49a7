"""Addresses of the web and of mail in a folded text, also those whose dots are disguised."""

from __future__ import annotations

import re

_TLDS = (
    "com|cn|net|org|edu|gov|cc|top|xyz|vip|shop|site|info|club|online|store|live|link|fun|icu|win"
    "|bet|bid|loan|pro|work|ltd|wang|ren|ink|tech|space|website|cloud|press|host|world|today|love"
    "|plus|video|mobi|biz|asia|red|kim|group|center|city|life|art|tv|tw|hk|mo|jp|kr|ru|de|uk|fr|us"
    "|ca|au|eu|in|me|co|io|la|im|ws|pw|cm|gg|ly|app|run|one|zone|fans|games?|sex|porn|xxx|cam|date"
    "|men|click|buzz|cyou|cfd|sbs|monster|best|lol|wiki|news|page|dev|c0m|tk|ml|ga|cf|gq|my|sg|vn|th"
)
_COMMON = "com|cn|net|org|cc|top|xyz|vip|tv|me|info|club|live|site|shop|icu|app|fun|co|c0m|io|pro"
_FEW = "com|cn|net|org|cc|top|xyz|vip|c0m"
_FILES = (
    "jpe?g|png|gif|psd|ai|pdf|cdr|eps|mp[34]|docx?|pptx?|xlsx?|zip|rar|txt|html?|svg|webp|tiff?|bmp"
    "|max|skp|dwg"
)
_DOMAIN = re.compile(
    rf"(?<![a-z0-9.])((?:[a-z0-9][-a-z0-9]*\.)+(?:{_TLDS}))(?![a-z0-9]|\.[a-z0-9])"
)
_CHINESE_DOMAIN = re.compile(rf"[一-鿿]{{2,}}(?<!域名)(?<!后缀)\.(?:{_FEW})(?![a-z0-9])")
_NAMES_WITH_DOTS = {  # of software, games and music
    "asp.net", "ado.net", "vb.net", "ml.net", "paint.net", "java.net", "dot.net", "socket.io",
    "draw.io", "agar.io", "diep.io", "slither.io", "will.i.am", "i.am", "last.fm", "b.one",
    "no.one",
}  # fmt: skip
_TITLE = re.compile(  # after the name of a film or a company, which invites nobody to a site
    r"\s?(?:标志|logo|商标|图标|徽标|总部|大楼|大厦|封面|海报|剧照|电影|影片|纪录片|专辑|品牌"
    r"|(?:网站|官网)?(?:首页|设计|截图|界面)|程序|框架|教程|教材|编程|公司|办公室)|》"
)
_DOT = (
    r"(?:\s?[。·・•●]\s?|[\W_]{0,2}[点丶][\W_]{0,2}|\s?[\(\[{]\W?[\)\]}]\s?"
    r"|\s?[\(\[{]dot[\)\]}]\s?|\sdot\s)"
)
_LABEL = r"(?<![a-z0-9])(?:[-a-z0-9]*[a-z][-a-z0-9]*|\d{3,})"  # 晚8点TV直播 has none
_SPACED_TLD = r"(?:c\Wo\W?m|co\Wm|c\Wn|n\We\W?t|c[点\W]c)(?![a-z0-9])"
_MAIL_HOSTS = "qq|163|126|139|189|gmail|hotmail|outlook|sina|sohu|foxmail|yahoo|yeah|icloud|aliyun"
_ADDRESSES = tuple(  # a cheap sign, and what to look for where it stands
    (re.compile(sign), re.compile("|".join(patterns)))
    for sign, patterns in (
        (r"https?[:/\\\s]|h[tx]{2}p", (r"h[tx]{2}ps?\s?:\s?[/\\]|(?<![a-z])https?(?=[:/\\])",)),
        (r"www|3w|三w", (r"(?<![a-z])(?:www|3w|三w)[\W_点]{1,3}[a-z0-9]",)),
        (
            r"[。·・•●点丶)\]}][\W_]{0,2}[a-z]|dot",
            (
                rf"{_LABEL}{_DOT}(?:{_COMMON})(?![a-z0-9])",
                rf"{_LABEL}{_DOT}{_SPACED_TLD}",
                r"(?<![a-z0-9.])[a-z]{1,3}点[a-z]{2,3}/[a-z0-9]{3,}",
            ),
        ),
        (
            r"[,、_~^=|]\s?(?:c|n|o|t|x|v)",
            (
                rf"{_LABEL}\s?[,、]\s?(?:{_FEW})(?![a-z0-9])",
                rf"{_LABEL}[_~^=|]{{1,2}}(?:com|cn|net)(?![a-z0-9])",
            ),
        ),
        (
            r"\.\s?[a-z]\W|\s\.|\.\s",
            (
                rf"{_LABEL}\s?\.\s?{_SPACED_TLD}",
                rf"{_LABEL}\s\.\s?(?:{_FEW})(?![a-z0-9])",
            ),
        ),
        (
            r"\.[a-z]{2,6}/",
            (
                r"(?<![a-z0-9.])(?!no\.)[a-z0-9][-a-z0-9]*"
                rf"\.(?!(?:{_FILES})\b)[a-z]{{2,6}}/[a-z0-9?=_%-]{{3,}}",
            ),
        ),
        (
            r"[@#&*]|艾特|at",
            (
                r"[a-z0-9_.+-]{2,}\s?(?:@|[\(\[]at[\)\]]|艾特|\sat\s)\s?"
                rf"[a-z0-9-]+(?:\s?\.\s?|{_DOT})[a-z]{{2,}}",
                rf"[a-z0-9_.+-]{{2,}}\s?(?:[#&*]|at)\s?(?:{_MAIL_HOSTS})(?:\s?\.\s?|{_DOT})",
                r"(?<![a-z])(?:e-?mail|邮箱|mail)[\W_]{0,3}[a-z0-9_.+-]{3,}\s?@",
            ),
        ),
    )
)


def has_address(text: str) -> bool:
    """Whether a text has an address that leads somewhere, rather than the name of a film."""
    if any(sign.search(text) and address.search(text) for sign, address in _ADDRESSES):
        return True
    if "." not in text:
        return False
    for match in _DOMAIN.finditer(text):
        if match[1] not in _NAMES_WITH_DOTS and not _TITLE.match(text, match.end()):
            return True
    return any(not _TITLE.match(text, m.end()) for m in _CHINESE_DOMAIN.finditer(text))
