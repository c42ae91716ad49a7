"""Accounts of WeChat and other services in a folded text, and invitations to add one."""

from __future__ import annotations

import re

_GAP = r"[\W_]{0,3}"  # between characters that are taken apart
_WECHAT = (  # names that mean nothing else
    rf"(?:[微薇徽]{_GAP}(?:信|❤)|(?<![a-z])[vw]{_GAP}(?:信|芯|❤)|[卫威]{_GAP}❤"
    rf"|(?<![a-z])wei{_GAP}xin|[微薇徽威]\W?(?:x(?:in)?(?![a-z])|我)|(?<![a-z])wei信"
    rf"|(?<![a-z])we\W?chat|(?<![a-z])v?[vw]{_GAP}x(?:in)?|绿(?:色)?泡泡)"
)
_WECHAT_SOUND = (  # words of their own: 威信, 微芯
    rf"(?:[威维卫围唯为薇微征]{_GAP}(?:信|芯|心|星)|[微薇徽]{_GAP}号)"
)
_SERVICE = (
    r"(?:telegram|电报|纸飞机|小飞机|(?<![a-z])(?:tg|line|ins|ig|fb|dy|ks|xhs)|skype|instagram"
    r"|facebook|twitter|推特|脸书|kakao(?:talk)?|snapchat|discord|whats?app|陌陌|探探|抖音|dou音|抖yin|d音|快手|快shou"
    r"|小红书|小红薯|微博|公众号|公号|视频号|b站|支付宝|旺旺|闲鱼|potato|蝙蝠)"
)
_ID = r"([a-z0-9][-_a-z0-9]{4,19})(?![-_a-z0-9])"
_ID_WITH_DIGIT = r"((?=[-_a-z]*\d)[a-z0-9][-_a-z0-9]{4,19})(?![-_a-z0-9.])"
_MARK = (  # between a name and what is surely an account of it
    r"[\W_]{0,3}(?:(?:号码?|hao(?:ma)?(?![a-z])|账号|帐号|(?<![a-z])id(?![a-z])|联系|同号|搜索?|频道|群组?|关注|[:@])"
    r"[\W_]{0,2})+@?"
)
_PRODUCT = re.compile(  # what looks like an account and is none
    r"\d+(?:[x×*]\d+)+"
    r"|(?:iphone|ipad|ios|mate|redmi|mi|note|oppo|vivo|nova|galaxy|android|windows|win|mac|ps|rtx"
    r"|gtx|cs|office|photoshop|harmony|macos|pro|v|ver|version|top|no)[-_]?\d+[a-z]*"
    r"|\d+(?:px|cm|mm|mb|gb|tb|kb|ml|kg|dpi|mah|fps|hz|k|p|w|v|a|s|g)"
    r"|(?:19|20)\d\d(?:[-_]?\d\d){0,2}(?:[-_](?:19|20)\d\d)?|\d{1,4}"
    r"|logo|icons?|wechat|weixin|emoji|banner|design|poster|template|sticker|telegram|tiktok"
)
_FIRST = (  # characters with which a pattern below may begin; the search is faster for it
    r"(?=[微薇徽威卫维围唯为征绿电纸小推脸陌探抖快公视支旺闲蝙飞加+私@\W_]|^|(?<![a-z])[a-z])"
)
_ACCOUNT = re.compile(
    _FIRST
    + "(?:"
    + "|".join(
        (
            _WECHAT + _MARK + _ID,
            _WECHAT + r"[\W_]{0,3}" + _ID_WITH_DIGIT,
            rf"(?<![a-z])v{_GAP}x[\W_]{{1,3}}" + _ID,  # means nothing else
            _WECHAT_SOUND + _MARK + _ID,
            _WECHAT_SOUND + r"[\W_]{0,3}" + _ID_WITH_DIGIT,
            r"(?:加|\+|私|(?:^|[\W_])(?=[vw微薇威徽卫]\s?:))\s?(?:我|个|下)?\s?[vw微薇威徽卫][\W_]{0,3}"
            + _ID_WITH_DIGIT,
            _SERVICE + _MARK + _ID,
            _SERVICE + r"\s?" + _ID_WITH_DIGIT,
            r"@" + _ID + r"[\W_]{0,3}(?:telegram|tg|电报)",
            r"飞机(?:群|频道)?[\W_]{0,2}(?:号[\W_]{0,2}|@)" + _ID,
            r"飞机\s?:\s?" + _ID_WITH_DIGIT,
        )
    )
    + ")"
)
_ADD = r"(?:加|\+|家|伽|添加|联系|咨询)[\W_]{0,2}"
_WHOM = r"(?:我|个|下|本人|客服|老师|小编|店主)?[\W_]{0,2}"
_END = (  # what follows the short name of a service; 加V领毛衣 is a pullover
    r"(?=$|[\W_]|[看聊送进拉了详咨拿获免备发索]|领(?:$|[\W_]|[取资福红奖优券免教学课书完全]))"
)
_INVITATION = re.compile(
    "|".join(
        (
            rf"(?<![a-z0-9]){_ADD}{_WHOM}的?\s?(?:{_WECHAT}|[卫威]信)(?![a-z])",
            rf"(?:加|家|伽|添加|(?<![a-z0-9])\+)[\W_]{{0,2}}(?:我|个|下)?{_GAP}[vw微薇威徽]{_END}",
            rf"(?:{_WECHAT}|[威维卫]信|(?<![a-z])[vq]|微|薇)(?:电话|手机|qq)?同(?:号|步|电话|手机)",
            r"(?<![显稍略轻])[微薇v]我(?=$|[\W_]|[了聊领拿])",
        )
    )
)
_INVITATION_SIGN = re.compile(r"[加家伽添联咨+]|[微薇v]我|同[号步电手]")
_LESSON = re.compile(  # a picture of how it is done
    r"怎么|怎样|如何|步骤|教程|方法|截图|界面|图标|图解|好友|群聊|功能|设置|表情|海报|素材|模板|流程"
)
_LONG_ENOUGH = re.compile(r"[-_a-z0-9]{5}")  # to be an account


def has_account(text: str) -> bool:
    """Whether a text names an account."""
    return _LONG_ENOUGH.search(text) is not None and any(
        not _PRODUCT.fullmatch(next(group for group in match.groups() if group))
        for match in _ACCOUNT.finditer(text)
    )


def invites(text: str) -> bool:
    """Whether a text asks its readers to add someone, without a lesson in how that is done."""
    return (
        _INVITATION_SIGN.search(text) is not None
        and _INVITATION.search(text) is not None
        and not _LESSON.search(text)
    )
