"""The table of a folder of pictures, which every start of a search brings up to date.

- `open` is the way in. `settings` says where the table is stored and how it was made.
- `plan` compares files and rows, `reading` reads a file, `update` embeds what has changed, `rows`
  and `texts` change the table, and `estimate` tells the disk space before.
- `gallery` searches the table.
"""
