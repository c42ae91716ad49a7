"""Ways to reach a seller, as they stand in texts: numbers, accounts and addresses.

The name of a service alone, as in a caption of its logo, is no contact; nor is a number without a
word that says whose it is, unless it has the form of a telephone number.
"""

from __future__ import annotations

import re

from r2d2.corpus.texts.accounts import has_account, invites
from r2d2.corpus.texts.folding import NUMERALS, close_up, with_digits
from r2d2.corpus.texts.numbers import has_number
from r2d2.corpus.texts.web_addresses import has_address

_LETTER_OR_DIGIT = re.compile(r"[a-z0-9]")
_RUN_OF_NUMERALS = re.compile(rf"(?:[\d{NUMERALS}][\W_il]{{0,3}}){{5}}")


def has_contact(folded: str) -> bool:
    """Whether a folded text tells how to reach someone."""
    if not _LETTER_OR_DIGIT.search(folded) and not _RUN_OF_NUMERALS.search(folded):
        return invites(folded)
    closed = close_up(folded)
    texts = [folded] if closed == folded else [folded, closed]
    if any(has_address(text) or has_account(text) or invites(text) for text in texts):
        return True
    return any(has_number(with_digits(text)) for text in texts if _RUN_OF_NUMERALS.search(text))
