"""The timing of a tenth of the requests, for Sentry. Wrapped around the shell only where a DSN is set.

One rule: a trace is named by its route's template and holds times, a status and an id; nothing that a client sent.
"""

from __future__ import annotations

import sentry_sdk
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.shell import endpoint, request_id


class Traced:
    """ASGI around the shell; whether a request is among the tenth is decided by Sentry as it begins."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                transaction.set_http_status(message["status"])
            await send(message)

        with (
            sentry_sdk.isolation_scope(),
            sentry_sdk.start_transaction(op="http.server", name=scope["method"], source="route") as transaction,
        ):
            await self.app(scope, receive, noted)
            named = f"{scope['method']} {endpoint(scope)}"
            sentry_sdk.get_current_scope().set_transaction_name(named, source="route")
            transaction.set_tag("request_id", request_id(scope))
