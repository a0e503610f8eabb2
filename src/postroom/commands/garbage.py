"""How often a serving process looks for cyclic garbage."""

import gc

# What a request makes lives for some milliseconds, which is many requests: with Python's 700 it grows old, and
# a full collection holds up everybody for milliseconds. A hundred requests' worth costs some megabytes.
_YOUNG = 20_000


def collect_rarely() -> None:
    """Leave alone what was loaded until now, and look through the rest now and then."""
    gc.freeze()
    gc.set_threshold(_YOUNG, 10, 10)
