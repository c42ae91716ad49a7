"""The index that `r2d2 index` makes of a pairs table, and the galleries that read it.

- `layout`: the columns, tables and metadata that an index consists of.
- `build`, `embed`: embed the rows and texts that have no vector yet. `table_texts` reads the texts.
- `vectors`: search by cosine, exact or with Lance's approximate index.
- `text`: how queries and texts are cut into terms, and search by these words.
- `calibration`, `calibrate`: the figures by which a search says how sure a result is.
- `gallery`: a table, the emoji corpus, or rows in memory, under one protocol.
- `export`: the vectors as a Parquet file.
"""
