"""Choose smaller numbers of channels to try."""


def fewer_channels(channels: int, shares: tuple[float, ...], step: int) -> tuple[int, ...]:
    """Numbers of channels near some shares, in falling order.

    Args:
        channels: how many there are.
        shares: of them, each between 0 and 1.
        step: of which each number is a multiple; it is at least one step, and less than all.
    """
    rounded = {max(1, round(share * channels / step)) * step for share in shares}
    return tuple(sorted((width for width in rounded if width < channels), reverse=True))
