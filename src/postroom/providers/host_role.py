"""This server's own AWS credentials, such as an IAM role: found and renewed by botocore, held for a minute.

botocore comes with the extra `postroom[aws]`. It looks into the environment, the files of AWS, web identity,
the container and the instance, and renews what expires well before it does.
https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
"""

import asyncio
import importlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# botocore renews ten minutes before the end at the latest: what is held for one is never out of date.
HOLD_SECONDS = 60.0
WAIT_SECONDS = 5.0  # of a call's time; who gives the credentials is on this machine or close to it


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """What a request is signed with."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(repr=False)


class NoHostRole(Exception):
    """There are no credentials here, or nothing to look for them with: the operator's to mend."""


class HostRoleAway(Exception):
    """Who gives the credentials does not answer; it may in a while."""


class HostRole:
    """The credentials of one process. Asking for them blocks, so it is done in a thread, by one for all."""

    def __init__(self, find: Callable[[], Any] | None = None) -> None:
        self._find = find or _find
        self._found: Any = None  # botocore's own object, which renews itself
        self._held: AwsKeys | None = None
        self._until = 0.0
        self._asking: asyncio.Future[AwsKeys] | None = None
        self._lock = threading.Lock()

    async def keys(self) -> AwsKeys:
        """Those that are good now. Raises NoHostRole or HostRoleAway."""
        if self._held is not None and time.monotonic() < self._until:
            return self._held
        if self._asking is None:
            self._asking = asyncio.ensure_future(asyncio.to_thread(self._ask))
            self._asking.add_done_callback(self._keep)
        try:
            # One who stops waiting does not take the answer from the others.
            async with asyncio.timeout(WAIT_SECONDS):
                return await asyncio.shield(self._asking)
        except TimeoutError:
            raise HostRoleAway("This server's AWS credentials did not come in time.") from None

    def _keep(self, done: "asyncio.Future[AwsKeys]") -> None:
        self._asking = None
        if not done.cancelled() and done.exception() is None:
            self._held, self._until = done.result(), time.monotonic() + HOLD_SECONDS

    def _ask(self) -> AwsKeys:
        with self._lock:
            if self._found is None:
                self._found = self._find()
            return _frozen(self._found)


def _find() -> Any:
    """botocore's credentials of this machine."""
    try:
        # Optional, and heavy to load: only who is set up with a role pays for it.
        session = importlib.import_module("botocore.session").get_session()
    except ImportError:
        raise NoHostRole(
            "This server cannot look for AWS credentials: install postroom[aws]."
        ) from None
    found = _asked(session.get_credentials)
    if found is None:
        raise NoHostRole("This server has no AWS credentials of its own.")
    return found


def _frozen(found: Any) -> AwsKeys:
    frozen = _asked(found.get_frozen_credentials)
    return AwsKeys(frozen.access_key, frozen.secret_key, frozen.token)


def _asked(question: Callable[[], Any]) -> Any:
    """botocore's answer; what it raises may name addresses and files, and is not passed on."""
    wrong = importlib.import_module("botocore.exceptions")
    try:
        return question()
    except (wrong.BotoCoreError, wrong.ClientError, OSError, ValueError, KeyError):
        raise HostRoleAway("This server's AWS credentials could not be asked for.") from None


HOST_ROLE = HostRole()
