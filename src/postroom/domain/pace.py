"""Never more than R calls in any sliding second to one provider account, whoever makes them.

An account has R slots; a call occupies one from its grant until one second after it has arrived. Slots that
are missing (after FLUSHALL, a failover) are made as used just now, so lost state means silence, not a burst.
The clock is Redis's own. docs/architecture.md tells the protocol and its bound.
"""

import asyncio
from dataclasses import dataclass
from time import time
from typing import Any

from postroom.domain.connections import OpenConnection
from postroom.resources import Redis

WINDOW = 1.002  # seconds for which a call counts after it arrived
# A call counts from its arrival, which the answer proves; a slower answer is taken to have arrived by then.
TRANSIT = 0.25
HOLD = 1.5  # a granted slot frees itself, should its worker die
AHEAD = 0.02  # granted early, with the moment it may be used, so that claiming happens before it
FIRST = 0.2  # a refused transactional take keeps bulk away for this long
FASTEST = 1000  # calls a second; an account that allows more needs no pacing
LONGEST_PAUSE = 60.0
PROBE_EVERY = 300.0

_HEAD = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local slots, state = KEYS[1], KEYS[2]
local function read(name) return tonumber(redis.call('HGET', state, name) or 0) end
local function write(name, value) redis.call('HSET', state, name, string.format('%.0f', value)) end
"""

# ARGV: wanted, stream, configured rate (0: none), default rate (0: none), probe
_TAKE = (
    _HEAD
    + f"""
local want, stream, probe = tonumber(ARGV[1]), ARGV[2], ARGV[5] == '1'
local rate = tonumber(redis.call('HGET', state, 'limit') or ARGV[4])
local set = tonumber(ARGV[3])
if set > 0 and (rate == 0 or set < rate) then rate = set end
if rate > {FASTEST} then rate = 0 end
local ready = read('until')
if ready > now then return {{string.format('%.0f', ready - now)}} end
if probe then
  want = 1
  write('until', now + {PROBE_EVERY * 1e6:.0f})
end
if rate == 0 then
  local free = {{'0'}}
  for i = 1, want do for _, v in ipairs({{'-1', '0', '0', '0'}}) do free[#free + 1] = v end end
  return free
end
local many = math.max(1, math.floor(rate))
local window = rate < 1 and {WINDOW * 1e6:.0f} / rate or {WINDOW * 1e6:.0f}
local have = redis.call('ZCARD', slots)
if have > many then redis.call('ZREMRANGEBYRANK', slots, 0, have - many - 1) end
if have < many then
  for i = 0, many - 1 do
    redis.call('ZADD', slots, 'NX', string.format('%.0f', now + window + {TRANSIT * 1e6:.0f}), i)
  end
end
local first = read('first')
if stream ~= '0' and first > now then return {{string.format('%.0f', first - now)}} end
local last, soon = read('last'), now + {AHEAD * 1e6:.0f}
local free = redis.call('ZRANGEBYSCORE', slots, '-inf', soon, 'WITHSCORES')
local grants, left = {{'0'}}, #free / 2
local wait
for i = 1, #free, 2 do
  if want == 0 then break end
  local at = math.max(tonumber(free[i + 1]), now)
  if left <= many / 2 then at = math.max(at, last + 1000000 / rate) end
  if at > soon then wait = at - soon; break end
  local stamp = string.format('%.0f', at + {HOLD * 1e6:.0f} + window - {WINDOW * 1e6:.0f})
  redis.call('ZADD', slots, stamp, free[i])
  grants[#grants + 1] = free[i]
  grants[#grants + 1] = stamp
  grants[#grants + 1] = string.format('%.0f', at - now)
  grants[#grants + 1] = string.format('%.0f', window)
  last, left, want = at, left - 1, want - 1
end
if #grants > 1 then
  write('last', last)
  if stream == '0' then redis.call('HDEL', state, 'first') end
  return grants
end
if not wait then
  local next = redis.call('ZRANGE', slots, 0, 0, 'WITHSCORES')
  wait = math.max(tonumber(next[2]) - soon, last + 1000000 / rate - soon, 1000)
end
if stream == '0' then write('first', now + wait + {FIRST * 1e6:.0f}) end
return {{string.format('%.0f', wait)}}
"""
)

# ARGV: slot, stamp, µs since sent (-1: not used), µs it took, learned limit (or ''), pause in µs (or ''),
#       strike (1: a failure, 0: an answer, -1: neither), the slot's window in µs, µs until the vendor's window
#       turns of which nothing is left (or '')
_GIVE = (
    _HEAD
    + f"""
local slot, stamp, ago, took = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if slot ~= '-1' then
  local score = redis.call('ZSCORE', slots, slot)
  if score and string.format('%.0f', tonumber(score)) == stamp then
    local at = now
    if ago >= 0 then
      at = now - ago + math.min(took, {TRANSIT * 1e6:.0f}) + tonumber(ARGV[8])
    end
    redis.call('ZADD', slots, string.format('%.0f', at), slot)
  end
end
if ARGV[5] ~= '' then redis.call('HSET', state, 'limit', ARGV[5]) end
local pause = tonumber(ARGV[6]) or 0
local spent = tonumber(ARGV[9]) or 0
if spent > 0 then
  -- As many calls as the vendor counts are ours: the slots keep the next one out of this window. Else somebody
  -- else calls in the account's name, and only the vendor knows when there is room again.
  local busy = redis.call('ZCOUNT', slots, string.format('(%.0f', now), '+inf')
  if busy < (tonumber(ARGV[5]) or redis.call('ZCARD', slots)) or busy == 0 then pause = math.max(pause, spent) end
end
if ARGV[7] == '1' then
  local strikes = redis.call('HINCRBY', state, 'strikes', 1)
  pause = math.max(pause, math.min({LONGEST_PAUSE * 1e6:.0f}, 1000000 * 2 ^ (strikes - 1)))
elseif ARGV[7] == '0' then
  redis.call('HDEL', state, 'strikes')
end
if pause > 0 then write('until', math.max(read('until'), now + pause)) end
return string.format('%.0f', pause)
"""
)


@dataclass(frozen=True, slots=True)
class Slot:
    """Leave for one call, from the loop's time `at` on."""

    number: str
    stamp: str
    at: float
    window: str = "0"  # µs for which a call of this account counts

    @property
    def is_counted(self) -> bool:
        """Whether this account's calls are counted at all."""
        return self.number != "-1"


@dataclass(frozen=True, slots=True)
class Leave:
    """Slots to call with now, or the seconds to wait before asking again."""

    slots: tuple[Slot, ...]
    wait: float = 0.0


def _keys(connection_id: int) -> list[str]:
    return [f"pace:{connection_id}", f"paused:{connection_id}"]


@dataclass(frozen=True, slots=True)
class Rate:
    """How often an account may be called: what its owner set, and what the vendor is known for."""

    set_by_owner: float | None = None
    usual: float | None = None
    probe: bool = (
        False  # the account is stopped: one call each five minutes, to see whether it was mended
    )


def rate_of(connection: OpenConnection) -> Rate:
    """How often this account may be called."""
    return Rate(
        set_by_owner=connection.info.rate_per_second,
        usual=connection.provider.capabilities.rate_per_second,
        probe=connection.info.stopped,
    )


async def take(redis: Redis, connection_id: int, want: int, stream: int, rate: Rate) -> Leave:
    """Ask leave for up to `want` calls. Raises RedisError: without a shared pace there are no calls."""
    answer = await redis.register_script(_TAKE)(
        keys=_keys(connection_id),
        args=[want, stream, rate.set_by_owner or 0, rate.usual or 0, int(rate.probe)],
    )
    wait = float(answer[0]) / 1e6
    grants = [v.decode() for v in answer[1:]]
    # Counted from before the question was asked would be too early by its way there; from after it, never.
    now = asyncio.get_running_loop().time()
    slots = [
        Slot(grants[i], grants[i + 1], now + float(grants[i + 2]) / 1e6, grants[i + 3])
        for i in range(0, len(grants), 4)
    ]
    return Leave(tuple(slots), wait)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a call taught about the account."""

    sent: float | None = None  # the loop's time of sending; None: the slot was not used
    took: float = 0.0
    limit: float | None = None
    pause: float | None = None
    spent: float | None = None  # until the vendor's window turns, of which nothing is left
    strike: bool | None = None  # a failure of the account's, or an answer; None says nothing

    @property
    def is_plain(self) -> bool:
        """Whether it says no more than that the account answers, or not even that."""
        return (self.limit, self.pause, self.spent) == (None, None, None) and not self.strike


async def give(redis: Redis, connection_id: int, slot: Slot, lesson: Lesson) -> float:
    """Give a slot back with what its call taught; the seconds for which the account now pauses."""
    ago = -1.0
    if lesson.sent is not None:
        ago = (asyncio.get_running_loop().time() - lesson.sent) * 1e6
    paused = await redis.register_script(_GIVE)(
        keys=_keys(connection_id),
        args=[
            slot.number,
            slot.stamp,
            f"{ago:.0f}",
            f"{lesson.took * 1e6:.0f}",
            "" if lesson.limit is None else lesson.limit,
            "" if lesson.pause is None else f"{lesson.pause * 1e6:.0f}",
            -1 if lesson.strike is None else int(lesson.strike),
            slot.window,
            "" if lesson.spent is None else f"{lesson.spent * 1e6:.0f}",
        ],
    )
    return float(paused) / 1e6


async def pause(redis: Redis, connection_id: int, seconds: float) -> None:
    """Let the account rest, whoever asks. Raises RedisError."""
    await give(redis, connection_id, Slot("-1", "", 0), Lesson(pause=seconds))


async def resume(redis: Redis, connection_id: int) -> None:
    """Forget pauses and strikes: the account was mended. Raises RedisError."""
    client: Any = redis  # redis-py types hash commands as sync or async
    await client.hdel(f"paused:{connection_id}", "until", "strikes")


async def is_paused(redis: Redis, connection_id: int) -> bool:
    """Whether the account rests for longer than a moment. Raises RedisError."""
    client: Any = redis
    until = await client.hget(f"paused:{connection_id}", "until")
    return until is not None and float(until) / 1e6 > time() + 1


@dataclass(frozen=True, slots=True)
class Seen:
    """How an account is called at the moment."""

    limit: float | None  # calls a second; None: nobody set one
    calls: int | None  # in the last second; None: nobody counts
    paused: float  # seconds for which it still rests


async def seen(redis: Redis, connection_id: int, rate: Rate) -> Seen:
    """Look without asking leave. Raises RedisError."""
    client: Any = redis
    slots, state = _keys(connection_id)
    learned, until = await client.hmget(state, "limit", "until")
    limit = float(learned) if learned else rate.usual
    if rate.set_by_owner and (limit is None or rate.set_by_owner < limit):
        limit = rate.set_by_owner
    now = time()
    calls = await client.zcount(slots, now * 1e6, "+inf") if limit else None
    return Seen(limit, calls, max(0.0, float(until or 0) / 1e6 - now))
