"""Mail addresses as they may go out: `address` and `Name <address>`."""

import re

from email_validator import EmailNotValidError, validate_email

INVALID_RECIPIENT = "Invalid recipient email format."

# What nearly every address looks like; anything else goes the thorough way.
_PLAIN = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]"
)
_NAMED = re.compile(r'\s*(?P<name>"(?:[^"\\]|\\.)*"|[^<>"]*?)\s*<(?P<address>[^<>\s]+)>\s*')
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def bare(address: str) -> str:
    """A single address in the form that goes out; raises ValueError."""
    if _is_plain(address):
        return address
    try:
        found = validate_email(address, check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError:
        raise ValueError(INVALID_RECIPIENT) from None
    # An international domain goes out in its ASCII form, in which it cannot pose as another.
    return found.ascii_email or address


def _is_plain(address: str) -> bool:
    plain = _PLAIN.fullmatch(address) is not None
    return plain and len(address) <= 254 and address.find("@") <= 64


def mailbox(value: str) -> str:
    """`address` or `Name <address>`, without anything that could break out of a header."""
    if _is_plain(value):
        return value
    if len(value) > 600 or _CONTROL.search(value):
        raise ValueError(INVALID_RECIPIENT)
    named = _NAMED.fullmatch(value)
    if named is None:
        return bare(value.strip())
    name = named["name"]
    address = bare(named["address"])
    return f"{name} <{address}>" if name else address
