"""The same route at both doors: for programs with a secret key, for members with a bearer token."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Response

from postroom.api.deps import AsAdmin, AsViewer, ByKey
from postroom.api.envelope import errors

Handler = Callable[..., Awaitable[Response]]

BY_KEY, BY_BEARER = "/api/mail", "/api/projects/{projectId}/mail"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a route takes and answers, for the OpenAPI document."""

    summary: str
    answers: type[Any]
    errors: tuple[int, ...] = ()
    body: dict[str, Any] | None = None
    more: dict[str, Any] = field(default_factory=dict)


def both(router: APIRouter, method: str, path: str, shape: Shape) -> Callable[[Handler], Handler]:
    """Let a handler stand at both doors; its parameter `caller` is whoever came in.

    Reading is for every member, anything else for its admins.
    """
    member = AsViewer if method == "GET" else AsAdmin

    def stand(handler: Handler) -> Handler:
        for prefix, door, statuses in (
            (BY_KEY, ByKey, (401, 403, 429)),
            (BY_BEARER, member, (401, 403, 404)),
        ):
            router.add_api_route(
                prefix + path,
                _at(door, handler),
                methods=[method],
                summary=shape.summary,
                response_model=shape.answers,
                responses=errors(*statuses, *shape.errors),
                openapi_extra=shape.body,
                **shape.more,
            )
        return handler

    return stand


def _at(door: Any, handler: Handler) -> Handler:
    """The handler as FastAPI shall see it at this door."""
    signature = inspect.signature(handler, eval_str=True)
    parameters = [
        p.replace(annotation=door) if p.name == "caller" else p
        for p in signature.parameters.values()
    ]

    async def endpoint(**given: Any) -> Response:
        return await handler(**given)

    endpoint.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # read by inspect
    endpoint.__name__ = handler.__name__
    endpoint.__doc__ = handler.__doc__
    return endpoint
