"""Features of several processes, in one."""


def gather_from(local, whole):
    """What gathers each of the tensors `local`, a process's share, to its tensor of `whole`."""

    def gather(x):
        return next(full for part, full in zip(local, whole, strict=True) if part is x)

    return gather
