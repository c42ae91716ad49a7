"""Search by cosine: `exact` in memory, `approximate` by an index that `build_approximate` makes.

`table` reads the column of vectors of a Lance table.
"""
