"""How sure a measured share is (Wilson, 1927)."""

import math

Z_95 = 1.959964


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Lower and upper end of the interval of a share, 95 % by default.

    Raises:
        ValueError: if there are no trials, or more successes than trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"successes must be in [0, trials], but are {successes} of {trials} instead")
    share, weight = successes / trials, z * z / trials
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == trials else centre + half)
