"""Numbers that look random but depend on their argument alone. Imports nothing of tabnas."""

import numpy as np
from numpy.typing import NDArray


def mixed(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Murmur3's finaliser: (n,) → (n,), one to one."""
    values = values ^ values >> np.uint32(16)
    values *= np.uint32(0x85EBCA6B)
    values ^= values >> np.uint32(13)
    values *= np.uint32(0xC2B2AE35)
    return values ^ values >> np.uint32(16)


def uniform(seed: int, start: int, n: int) -> NDArray[np.float64]:
    """(n,) numbers in [0, 1) for start, start + 1, …: splitmix64 of that counter, from a state made of the seed."""
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    values = state + np.arange(start + 1, start + n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    numbers: NDArray[np.float64] = ((values ^ values >> np.uint64(31)) >> np.uint64(11)) * 0.5**53
    return numbers
