"""Limits of the size and duration of request bodies, whatever length their headers declare."""

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

READ_SECONDS = 60.0  # for reading the whole body
HEARD_OUT = 4  # times the limit: so much is read and dropped, since a client that still sends would not see the answer


class BodyLimit:
    """Application wrapper that answers 413 or 408 as soon as a body is too large or takes too long.

    Args:
        app: application that is protected.
        max_bytes: largest size of one body in bytes.
        read_seconds: longest time for reading one body, in seconds.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, read_seconds: float = READ_SECONDS) -> None:
        """Keep the limits."""
        self.app, self.max_bytes, self.read_seconds = app, max_bytes, read_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        promised, waits = headers.get(b"content-length", b""), b"expect" in headers
        known = int(promised) if promised.isdigit() else 0
        deadline = asyncio.get_running_loop().time() + self.read_seconds
        received, whole = 0, False

        async def limited() -> Message:
            nonlocal received, whole
            if whole:  # further messages only tell that the connection is lost
                return await receive()
            if waits and known > self.max_bytes:  # the client has not sent anything yet
                raise self._too_large()
            while True:
                try:
                    async with asyncio.timeout_at(deadline):
                        message = await receive()
                except TimeoutError:
                    raise self._too_slow() from None
                received += len(message.get("body", b""))
                whole = not message.get("more_body", False)
                if max(received, known) <= self.max_bytes:
                    return message
                if whole or max(received, known) > HEARD_OUT * self.max_bytes:
                    raise self._too_large()

        await self.app(scope, limited, send)

    def _too_slow(self) -> HTTPException:
        detail = f"body must arrive within {self.read_seconds:g} s, but has not"
        return HTTPException(408, detail, {"Connection": "close"})

    def _too_large(self) -> HTTPException:
        detail = f"body must have at most {self.max_bytes} bytes, but has more"
        return HTTPException(413, detail, {"Connection": "close"})
