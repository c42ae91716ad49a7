"""The one exception for what a user can mend."""


class R2D2Error(Exception):
    """Something the user can mend: the message names the thing and the remedy, in one line.

    `r2d2.cli` alone turns it into exit code 2; everything else lets it pass.
    """
