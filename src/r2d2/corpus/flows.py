"""Clicks and impressions of many rows at once, by the rule that drops each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.funnel import COUNTED, Flow


def flows_of(
    amounts: Mapping[str, npt.NDArray[np.int64]],
    verdict: npt.NDArray[np.integer[Any]],
    rules: Sequence[str],
) -> dict[str, Flow]:
    """How much of each sum is kept and dropped.

    Args:
        amounts: name: of each row (n,).
        verdict: of each row (n,) 0, or the number from 1 of the rule that drops it.
        rules: their names.

    Returns:
        By name; nothing where all amounts are 0.
    """
    flows = {}
    for name in COUNTED:
        column = amounts.get(name, np.zeros(len(verdict), dtype=np.int64))
        seen, kept = int(column.sum()), int(column[verdict == 0].sum())
        by_rule = {}
        if kept < seen:
            sums = ((rule, int(column[verdict == n].sum())) for n, rule in enumerate(rules, 1))
            by_rule = {rule: amount for rule, amount in sums if amount}
        flows[name] = Flow(seen, kept, by_rule)
    return flows if any(flow.seen for flow in flows.values()) else {}


def amounts_of(rows: pa.Table) -> dict[str, npt.NDArray[np.int64]]:
    """Clicks and impressions (n,) of pairs or images; null is none."""
    return {
        name: pc.fill_null(rows[name].cast(pa.int64()), 0).to_numpy()
        for name in COUNTED
        if name in rows.column_names
    }


def totals(rows: pa.Table) -> dict[str, int]:
    """The sums of all rows."""
    amounts = amounts_of(rows)
    return {name: int(amounts[name].sum()) if name in amounts else 0 for name in COUNTED}
