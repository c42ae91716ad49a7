"""`python -m r2d2` is `r2d2`."""

from r2d2.entry import main

main()
