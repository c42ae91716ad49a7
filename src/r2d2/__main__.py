"""`python -m r2d2` is `r2d2`."""

from r2d2.cli import main

main()
