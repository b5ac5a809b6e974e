"""Application of page and API together, which restricts what the page's framework serves."""

import os
from pathlib import Path
from typing import NoReturn

import gradio as gr
from fastapi import FastAPI

from spiritlm_pl.serve.allowlist import Allowlist
from spiritlm_pl.serve.api import build_api
from spiritlm_pl.serve.components import CSS
from spiritlm_pl.serve.page import build_page
from spiritlm_pl.serve.session import Session
from spiritlm_pl.serve.token_view import tokens_css

MOST_VISITORS = 256  # number of users whose prompts are kept; the oldest are dropped first


def build_app(session: Session, folder: Path) -> FastAPI:
    """Build the whole application.

    Args:
        session: session of the model that is served.
        folder: folder for temporary files, which the page may serve; the caller removes it.
    """
    return mount_page(build_api(session), session, folder)


def mount_page(app: FastAPI, session: Session, folder: Path) -> FastAPI:
    """Put the page at `/` of an application.

    Args:
        app: application that has the API.
        session: session of the model that is served.
        folder: folder for temporary files.
    """
    folder = folder.resolve()
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    assert hasattr(gr.processing_utils, "async_ssrf_protected_download"), "Gradio downloads with something else"
    gr.processing_utils.async_ssrf_protected_download = _no_download  # since an upload may also be given as an address
    page = build_page(session)
    page.queue(max_size=session.limits.max_concurrent, api_open=False)
    page.state_session_capacity = MOST_VISITORS
    page.has_launched = True  # otherwise Gradio does not check that a named file was uploaded
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        allowed_paths=[],
        max_file_size=session.limits.max_bytes,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        show_error=False,
        theme=gr.themes.Default(primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=CSS + tokens_css(session.spirit_lm.vocabulary),
    )
    app.add_middleware(Allowlist, folder=folder)
    return app


async def _no_download(url: str, cache_dir: str) -> NoReturn:
    raise gr.Error("audio must be uploaded, but is an address instead", print_exception=False)
