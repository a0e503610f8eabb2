"""Addresses that pose as others, or are larger than any may be."""

import pytest

from postroom.crypto import recipient_key
from postroom.domain.accept import bare_address
from postroom.domain.mailboxes import mailbox

INDEX_KEY = b"k" * 32


@pytest.mark.parametrize(
    ("posing", "goes_out"),
    [
        ("ann@ex\u0430mple.com", "ann@xn--exmple-4nf.com"),  # a Cyrillic a
        ("ann@\u0435xample.com", "ann@xn--xample-2of.com"),  # a Cyrillic e
        ("x@b\u00fccher.example", "x@xn--bcher-kva.example"),
        ("x@bu\u0308cher.example", "x@xn--bcher-kva.example"),  # the same, of two characters
        ("ann@\uff45xample.com", "ann@example.com"),  # a wide e is an e
        ("ann@example\u3002com", "ann@example.com"),  # as an ideographic full stop is a dot
    ],
)
def test_an_international_domain_goes_out_in_the_form_that_poses_as_nobody(
    posing: str, goes_out: str
) -> None:
    assert mailbox(posing) == goes_out
    assert mailbox(f"Ann <{posing}>") == f"Ann <{goes_out}>"


def test_a_suppressed_address_is_the_same_in_each_of_its_spellings() -> None:
    spellings = ("x@b\u00fccher.example", "x@bu\u0308cher.example", "X@xn--bcher-kva.example")
    keys = {recipient_key(INDEX_KEY, bare_address(mailbox(one))) for one in spellings}
    assert len(keys) == 1


@pytest.mark.parametrize(
    "address",
    [
        "\u0430nn@example.com",  # a Cyrillic a before the @: no provider takes it
        "j\u00f6rg@example.com",
        "\u202eann@example.com",  # turns the reading direction
        "\u202emoc.knab@ann <ann@example.com>",
        "\u2066knab\u2069 <ann@example.com>",
        "a\u200dnn@example.com",  # a joiner that nobody sees
        "ann@exa\u200dmple.com",
        "ann@example.com\u200b",
        "ann@ex\u0000ample.com",
        "ann@example.com.",
        "ann@-example.com",
        "ann@[127.0.0.1]",
        "ann@localhost",
        "ann(comment)@example.com",
        "ann@xn--",
    ],
)
def test_what_hides_in_an_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="Invalid recipient"):
        mailbox(address)


@pytest.mark.parametrize(
    "address",
    [
        f"{'a' * 65}@example.com",
        f"a@{'b' * 64}.com",
        f"a@{'.'.join(['b' * 60] * 5)}.com",
        f"{'a' * 64}@{'.'.join(['b' * 63] * 3)}.com",
        f"{'n' * 600} <ann@example.com>",
        f"{'a.' * 5_000_000}a@example.com",
        f"{'<' * 1_000_000}ann@example.com{'>' * 1_000_000}",
    ],
)
def test_an_address_larger_than_any_may_be_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="Invalid recipient"):
        mailbox(address)


def test_the_largest_address_that_may_be_is_taken() -> None:
    domain = f"{'.'.join(['b' * 60] * 3)}.com"
    largest = f"{'a' * 64}@{domain}"
    assert len(largest) == 251
    assert mailbox(largest) == largest
