"""The verdict of the load benchmark."""

from collections import Counter

import pytest

from benchmarks.serve_load import Seen


@pytest.mark.parametrize(
    ("statuses", "memory", "part"),
    [
        ({200: 9}, [300, 500, 500, 509], None),
        ({200: 9, 503: 4}, [300, 500, 505, 500], None),
        ({200: 9, 500: 2}, [500] * 4, "2 times 500"),
        ({200: 9, "ReadError": 1}, [500] * 4, "1 times ReadError"),
        ({200: 9}, [300, 500, 500, 511], "2.2% in the last half"),
        ({200: 9}, [300, 500, 511, 500], "2.2% in the last half"),
        ({503: 9}, [500] * 4, "no answer"),
    ],
)
def test_the_verdict(statuses, memory, part):
    seen = Seen(Counter(statuses), [0.1] * statuses.get(200, 0), memory)
    problems = "; ".join(seen.problems())
    assert part in problems if part else problems == ""
