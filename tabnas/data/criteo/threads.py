"""Work in threads, which pyarrow and NumPy keep busy. Imports nothing of tabnas."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

N_THREADS = min(4, os.cpu_count() or 1)  # each has a block in memory

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
    """Each item with function(item), in order; no more than N_THREADS + 1 items are there at once."""
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(N_THREADS) as threads:
        for item in items:
            waiting.append((item, threads.submit(function, item)))
            if len(waiting) > N_THREADS:
                first, result = waiting.popleft()
                yield first, result.result()
        while waiting:
            first, result = waiting.popleft()
            yield first, result.result()
