"""Those who ask for the same thing at the same time wait for one answer."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class Flights(Generic[V]):
    """Questions under way: a thousand requests of a key that is not known yet ask the database once."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[V]] = {}

    async def share(self, key: Hashable, ask: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The answer to `ask`, or to the same question that is under way already."""
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(ask())
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        # One who leaves does not take the answer from the others.
        return await asyncio.shield(task)
