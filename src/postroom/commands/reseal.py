"""`postroom reseal`: encrypt everything anew under the first ENCRYPTION_KEY."""

import argparse

from postroom.commands.session import run_with_resources
from postroom.domain.reseal import reseal


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Encrypt everything anew under the first key of ENCRYPTION_KEY. Afterwards the other keys"
        " can be taken out of it, once every process runs with the new first key."
    )


def run(args: argparse.Namespace) -> int:
    counts = run_with_resources(reseal)
    for table, count in counts.items():
        print(f"{table:18} {count.resealed}")
    if lost := sum(count.lost for count in counts.values()):
        print(f"{lost} values could not be opened with any key, and were left as they are.")
        return 1
    print("Everything is sealed under the first key.")
    return 0
