"""How fast mails leave to a vendor that has no batch call, against what that vendor can take at all."""

from bench import single
from bench.rig import rig
from bench.table import Goal, Row


async def alone(rounds: int, count: int) -> list[Row]:
    """Mails a second of one worker, one HTTP call each."""
    ours, limits = [], []
    async with rig(workers=0, ALLOW_PRIVATE_ADDRESSES="true") as r:
        vendor = await single.start_vendor(r)
        await single.use_vendor(r, vendor)
        for number in range(rounds + 1):
            mine, limit = await single.measure(r, vendor, count)
            if number:
                ours.append(mine)
                limits.append(limit)
    what = "drained mails, one worker process, one HTTP call a mail"
    bare = "the vendor's double asked by a bare client"
    return [
        Row(what, ours, Goal(0.5), bare, limits),
        Row("the same", ours, Goal(2000, own=True)),
    ]
