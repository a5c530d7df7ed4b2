"""How many seeds a paired t-test needs to show a difference; pure."""

import math

from scipy.special import nctdtr, stdtrit

# The chance to show a difference that is there.
POWER = 0.8
MOST_SEEDS = 1000


def seeds_needed(difference: float, spread: float, level: float = 0.05) -> int | None:
    """Return the fewest seeds with which a two-sided paired t-test shows a difference in 80 % of all cases.

    spread: the standard deviation of paired differences over seeds. level: of the test. None for more than MOST_SEEDS,
    and where nothing can be said: no difference, or an unknown spread.
    """
    if math.isnan(difference) or math.isnan(spread) or difference == 0:
        return None
    if spread == 0:
        return 2
    ratio = abs(difference) / spread
    # Power grows with the number of seeds.
    low, high = 1, 2
    while power(ratio, high, level) < POWER:
        low, high = high, 2 * high
        if low >= MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(ratio, middle, level) >= POWER else (middle, high)
    return high if high <= MOST_SEEDS else None


def power(ratio: float, seeds: int, level: float = 0.05) -> float:
    """Return the chance that a two-sided paired t-test shows a difference, on its true side.

    ratio: of the true mean difference to the standard deviation of the differences (Cohen's d of pairs), positive. The
    statistic has a noncentral t distribution (Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988).
    """
    return float(1 - nctdtr(seeds - 1, ratio * math.sqrt(seeds), stdtrit(seeds - 1, 1 - level / 2)))
