"""Log lines: a static event and identifiers, as JSON in production and readable in development."""

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

import orjson

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {k: v for k, v in record.__dict__.items() if k not in _STANDARD}


def _trace(record: logging.LogRecord) -> str | None:
    """Where it happened, without the exception's text: texts of drivers and vendors may quote addresses."""
    if not record.exc_info or record.exc_info[1] is None:
        return None
    places = []
    trace = record.exc_info[1].__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rsplit('/src/')[-1]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return f"{type(record.exc_info[1]).__name__} at " + " > ".join(places[-8:])


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_extras(record),
        }
        if (rid := request_id.get()) is not None:
            line["request_id"] = rid
        if (trace := _trace(record)) is not None:
            line["exception"] = trace
        return orjson.dumps(line, default=str).decode()


class ReadableFormatter(logging.Formatter):
    """One short line for a person's terminal."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        extras = "".join(f" {k}={v}" for k, v in _extras(record).items())
        trace = _trace(record)
        tail = f"\n    {trace}" if trace else ""
        return f"{at} {record.levelname.lower():7} {record.getMessage()}{extras}{tail}"


def configure_logging(form: str, level: str) -> None:
    """Send every log line of this process to stdout in the given form."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter() if form == "json" else ReadableFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Access lines of the server would repeat paths with addresses in them; httpx would log vendors' URLs.
    for noisy in ("uvicorn.access", "httpx", "httpcore", "arq"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
