"""`spiritlm serve`: a page and an HTTP API for one model."""

import signal
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from spiritlm_pl.cli.batch.items import MODEL, best_device
from spiritlm_pl.interop.release.layout import Variant

if TYPE_CHECKING:
    from fastapi import FastAPI

    from spiritlm_pl.generation import SpiritLM

LOCAL = "127.0.0.1"
SHUTDOWN_SECONDS = 3  # open pages keep a connection for ever


def serve(
    model: Path = MODEL,
    host: str = LOCAL,
    port: int = 7860,
    max_seconds: float = 60.0,
    max_megabytes: float = 20.0,
    max_concurrent: int = 8,
    variant: Variant | None = None,
    device: str | None = None,
    dtype: str | None = None,
    bits: Literal[4, 8] | None = None,
) -> None:
    """Serve a model: a page at /, an HTTP API at /api, and its documentation at /docs.

    Examples:
        spiritlm serve --model quickstart/model
        spiritlm serve --model release --variant expressive --device cuda --max-seconds 30

    Args:
        model: what training has exported: a folder with the folders lm, speech_tokenizer and vocoder; or the
            directory of the published release.
        host: address to listen at; anything but 127.0.0.1 lets others in, and nobody is asked for a password.
        port: to listen at; 0 for any that is free.
        max_seconds: speech in one request, at most.
        max_megabytes: body of one request, at most.
        max_concurrent: requests that wait for the model or use it, at most; 1 to 32.
        variant: base or expressive, where the release holds both.
        device: cpu, cuda, cuda:1 ...; cuda if there.
        dtype: of the weights: float32, bfloat16 ...; as stored if left out.
        bits: quantize the weights (needs bitsandbytes).

    Raises:
        ValueError: if a folder holds something else, or a limit is out of its range.
        FileNotFoundError: if the model is missing.
        ModuleNotFoundError: if gradio is not installed.
        OSError: if the port is taken.
    """
    if find_spec("gradio") is None:
        raise ModuleNotFoundError('spiritlm serve needs gradio: pip install "spiritlm-pl[serve]"')
    with listen(host, port) as listener, TemporaryDirectory(prefix="spiritlm-") as folder:
        from spiritlm_pl.serve.app import build_app
        from spiritlm_pl.serve.session import Limits, Session

        limits = Limits(max_seconds=max_seconds, max_megabytes=max_megabytes, max_concurrent=max_concurrent)
        app = build_app(Session(load_model(model, variant, device, dtype, bits), limits), Path(folder))
        print(f"spiritlm: serving {model} at http://{host}:{listener.getsockname()[1]} (Ctrl-C ends it)", flush=True)
        run_server(app, listener)


def load_model(
    model: Path,
    variant: Variant | None = None,
    device: str | None = None,
    dtype: str | None = None,
    bits: int | None = None,
) -> "SpiritLM":
    """A model folder or the published release, as `spiritlm generate` loads them.

    Raises:
        FileNotFoundError: if there is no language model.
    """
    from transformers.utils.logging import disable_progress_bar

    from spiritlm_pl.generation import LoadOptions, SpiritLM

    disable_progress_bar()  # of reading the weights
    options = LoadOptions(device=best_device(device), dtype=dtype, bits=bits)
    return SpiritLM.from_pretrained(model, variant, options)


def listen(host: str, port: int) -> socket.socket:
    """A socket at an address, before anything slow is loaded.

    Raises:
        ValueError: if the port is out of range.
        OSError: if it is taken, or there is no such address.
    """
    if not 0 <= port <= 65_535:
        raise ValueError(f"port must be in [0, 65535], but is {port} instead")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise OSError(f"host and port must be free, but {host}:{port} is not: {error.strerror}") from None


def run_server(app: "FastAPI", listener: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM; either way the caller's files are removed."""
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=SHUTDOWN_SECONDS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again when it has shut down
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        pass
