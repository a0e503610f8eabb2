"""`make bench`: ratios measured in one run on one machine, as a table of medians.

Each pair is measured in alternating rounds, both sides warmed up; a run fails loudly when an answer is not
200 or when mails handed over differ from mails accepted. `python -m bench NAME...` measures parts; with `--write`
their rows take the place of those that stand in docs/benchmarks.md.
"""

import argparse
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic

from bench import accepts, alone, drains, footprint, history
from bench.load import run_async
from bench.table import Place, Row, machine, table

__all__ = ["machine"]

PLACE = Place(Path(__file__).parent.parent / "docs" / "benchmarks.md", "bench")
Bench = Callable[[int, int], Awaitable[list[Row]]]


# name -> what measures it, and the usual number of requests in a round
BENCHES: dict[str, tuple[Bench, int]] = {
    "accept": (accepts.accept, 12_000),
    "tail": (accepts.tail, 12_000),
    "drain": (drains.drain, 20_000),
    "single": (alone.alone, 8_000),
    "pace": (drains.pace, 12_000),
    "latency": (drains.latency, 100),
    "history": (history.history, 10_000_000),
    "two": (accepts.two, 12_000),
    "memory": (footprint.memory, 1_000_000),
    "cold": (footprint.cold, 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(BENCHES), help=", ".join(BENCHES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="times the usual number of requests"
    )
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    args = parser.parse_args()
    if unknown := set(args.names) - set(BENCHES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    measured: dict[str, list[Row]] = {}
    for name in [name for name in BENCHES if name in args.names]:
        bench, count = BENCHES[name]
        began = monotonic()
        print(f"measuring {name} ...", file=sys.stderr)
        measured[name] = run_async(bench(args.rounds, max(1, int(count * args.scale))))
        for row in measured[name]:
            print(row.line(name), file=sys.stderr)
        print(f"measured {name} in {monotonic() - began:.0f} s", file=sys.stderr)
        if args.write:
            # After each part: what was measured is kept, should a later part fail.
            PLACE.write(table(measured, PLACE.read(), list(BENCHES), args.rounds))
    print(table(measured, "", list(BENCHES), args.rounds))


if __name__ == "__main__":
    main()
