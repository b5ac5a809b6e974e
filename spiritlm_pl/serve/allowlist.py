"""List of the paths of Gradio that the page needs; all others are answered with 404.

Gradio serves more than one page needs: downloads of foreign addresses, a proxy, monitoring, calls by name.
"""

import re
from pathlib import Path, PurePosixPath

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_PAGE = r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/(assets|static|svelte)/.*"
_OWN = r"/api/[a-z]+|/docs|/docs/oauth2-redirect|/openapi\.json"
_EVENTS = (
    r"/gradio_api/(queue/join|queue/data|upload|upload_progress|heartbeat/\w+|startup-events|app_id|reset|cancel)/?"
    r"|/gradio_api/theme\.css"
)
_OPEN = re.compile(f"{_PAGE}|{_OWN}|{_EVENTS}")
_FILE = "/gradio_api/file="


class Allowlist:
    """Application wrapper that serves only paths on the list and files of one folder.

    Args:
        app: application that is protected.
        folder: folder with the temporary files of the page.
    """

    def __init__(self, app: ASGIApp, folder: Path) -> None:
        """Keep the folder."""
        self.app, self.folder = app, PurePosixPath(folder)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and self.is_open(scope["path"])):
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await JSONResponse({"detail": "Not Found"}, 404)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def is_open(self, path: str) -> bool:
        """Whether a path, with `%` escapes undone, may be served."""
        if path.startswith(_FILE):
            file = PurePosixPath(path.removeprefix(_FILE))
            return ".." not in file.parts and self.folder in file.parents
        return ".." not in path and _OPEN.fullmatch(path) is not None
