"""How good a model is: recall of both stages, matching, and the report of a run."""
