"""A check of our own for schemathesis, which loads it by SCHEMATHESIS_HOOKS.

Its own check of valid data cannot be used: no schema says which bytes are a picture, which words a
model reads, which columns a gallery has. What a schema can say is refused with the code `invalid`.
"""

import schemathesis

BEYOND_A_SCHEMA = (
    "there is no column", "not in the text", "there is no layer",
    "is compared with", "the condition", "dropping reads no attention",
    "where is no JSON", "where:", "where.",  # a text that holds JSON, in a form
    # it does not always keep to a oneOf
    "a text or an image", "a row: one of the two", "a text is searched among images",
    "an image has no words", "are of the second stage",
)  # fmt: skip
LISTS = {"/match": "text", "/explain": "only"}  # fields of forms that may stand several times


@schemathesis.hook
def filter_case(context, case):
    """In a form a list of one text is that text, so what is meant as no list looks as one."""
    name = LISTS.get(case.operation.path)
    form = case.media_type == "multipart/form-data" and isinstance(case.body, dict)
    return not form or name is None or isinstance(case.body.get(name, []), list)


@schemathesis.check
def valid_requests_are_well_formed(context, response, case):
    if not case.meta.generation.mode.is_positive or response.status_code != 422:
        return
    told = response.json()
    known = any(part in told["error"] for part in BEYOND_A_SCHEMA)
    assert told["code"] != "invalid" or known, told["error"]
