"""Search in two stages, from Python, the command line and a server.

- `query`: a question and its answer. `searcher`: answers questions from a model and a gallery.
- `first_stage` (vectors and words), `second_stage` (cross encoders) and `confidence` (how sure the
  results are) are its steps.
- `display`: results in a terminal and as JSON. `batch_search`: a file of queries.
- `serve`: the HTTP server and its page.
- `shipped`: writes the index of the emoji corpus that comes with the package.

The indexes themselves are in `r2d2.index`.
"""
