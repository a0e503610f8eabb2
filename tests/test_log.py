"""Log lines: a static event and identifiers, and nothing that a driver or vendor may have quoted."""

import json
import logging

import pytest

from postroom import log
from postroom.log import JsonFormatter, ReadableFormatter, configure_logging


def quote_an_address() -> None:
    raise ValueError("bob@example.com is not deliverable")


def a_record(**extra: object) -> logging.LogRecord:
    with pytest.raises(ValueError, match="deliverable") as caught:
        quote_an_address()
    about = (caught.type, caught.value, caught.tb)
    return logging.getLogger("test").makeRecord(
        "postroom.test", logging.ERROR, __file__, 1, "mail not sent", (), about, extra=extra
    )


def test_a_line_of_production_is_one_json_object_with_its_identifiers() -> None:
    token = log.request_id.set("req-1")
    try:
        line = json.loads(JsonFormatter().format(a_record(mail="m-1")))
    finally:
        log.request_id.reset(token)
    assert line["event"] == "mail not sent"
    assert line["mail"] == "m-1"
    assert line["request_id"] == "req-1"
    assert line["level"] == "error"


@pytest.mark.parametrize("formatter", [JsonFormatter(), ReadableFormatter()])
def test_an_exception_is_named_and_located_but_never_quoted(formatter: logging.Formatter) -> None:
    line = formatter.format(a_record())
    assert "ValueError" in line
    assert "quote_an_address" in line
    assert "bob" not in line
    assert "\n" not in line or isinstance(formatter, ReadableFormatter)


def test_libraries_that_would_log_addresses_are_quiet() -> None:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    try:
        configure_logging("json", "info")
        for name in ("httpx", "uvicorn.access", "arq"):
            assert not logging.getLogger(name).isEnabledFor(logging.INFO)
    finally:
        root.handlers[:], root.level = before
