"""What is told of a corpus: report, card, statistics, and a share of it."""
