"""Room for large bodies: so many bytes of them at a time in a process; the next ones wait, unread, for theirs."""

import asyncio
from collections import deque

from postroom.errors import Overloaded

LARGE = 1_000_000  # bytes: whatever is smaller needs no room of its own
ROOM = 80_000_000
WAIT_SECONDS = 15.0
FULL = "Too many large requests at the moment. Please try again."


class Room:
    """Bytes to be had and to be given back, first come, first served."""

    def __init__(self, size: int = ROOM, seconds: float = WAIT_SECONDS) -> None:
        self._size = size
        self._free = size
        self._seconds = seconds
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, wanted: int) -> int:
        """Wait for so many bytes, or for all there are; how many they are. Raises Overloaded after a while."""
        wanted = min(wanted, self._size)
        if not self._line and wanted <= self._free:
            self._free -= wanted
            return wanted
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (wanted, turn)
        self._line.append(place)
        try:
            async with asyncio.timeout(self._seconds):
                await turn
        except BaseException as ended:
            self._step_out(place)
            if isinstance(ended, TimeoutError):
                raise Overloaded(FULL, retry_after=self._seconds) from None
            raise
        return wanted

    def give_back(self, taken: int) -> None:
        self._free += taken
        self._let_in()

    def _step_out(self, place: tuple[int, "asyncio.Future[None]"]) -> None:
        """Leave the line; what was given in the same moment is given back."""
        wanted, turn = place
        if turn.done() and not turn.cancelled():
            self.give_back(wanted)
        elif place in self._line:
            self._line.remove(place)
            self._let_in()

    def _let_in(self) -> None:
        while self._line and self._line[0][0] <= self._free:
            wanted, turn = self._line.popleft()
            # Somebody who has stopped waiting is stepping out and takes nothing.
            if not turn.done():
                self._free -= wanted
                turn.set_result(None)
