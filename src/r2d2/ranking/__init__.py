"""Ranking: the first stage by cosine, the second by match score, and the metrics of both."""
