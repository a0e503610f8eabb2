"""Mail addresses as they may go out: `address` and `Name <address>`."""

import re
from email.utils import getaddresses, parseaddr

from email_validator import EmailNotValidError, validate_email

from postroom.lines import breaks_line

INVALID_RECIPIENT = "Invalid recipient email format."

# What nearly every address looks like; anything else goes the thorough way.
_PLAIN = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]"
)
# They turn the reading direction, so that a name can look like another address.
_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_NAMED = re.compile(r'\s*(?P<name>"(?:[^"\\]|\\.)*"|[^<>"]*?)\s*<(?P<address>[^<>\s]+)>\s*')


def bare(address: str) -> str:
    """A single address in the form that goes out; raises ValueError."""
    if _is_plain(address):
        return address
    try:
        # Strict: what is before the @ has at most 64 characters, as RFC 5321 has it (4.5.3.1.1).
        found = validate_email(
            address, check_deliverability=False, allow_smtputf8=False, strict=True
        )
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
    if len(value) > 600 or "\t" in value or breaks_line(value) or _TURNS.search(value):
        raise ValueError(INVALID_RECIPIENT)
    named = _NAMED.fullmatch(value)
    if named is None:
        return bare(value.strip())
    name = named["name"]
    address = bare(named["address"])
    return _together(name, address) if name else address


def _together(name: str, address: str) -> str:
    """Name and address, so that everybody who reads them finds this address and no other."""
    for written in (name, _quoted(name)):
        made = f"{written} <{address}>"
        # A name may look like a list of addresses, or like a group of them.
        if parseaddr(made)[1] == address and len(getaddresses([made])) == 1:
            return made
    raise ValueError(INVALID_RECIPIENT)


def _quoted(name: str) -> str:
    escaped = name.strip('"').replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
