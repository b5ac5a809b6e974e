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
SHUTDOWN_SECONDS = 3  # open pages would keep their connections for ever


def serve(
    model: Path = MODEL,
    lm: Path | None = None,
    vocoder: Path | None = None,
    host: str = LOCAL,
    port: int = 7860,
    max_seconds: float = 60.0,
    max_megabytes: float = 20.0,
    max_concurrent: int = 8,
    adapter: Path | None = None,
    variant: Variant | None = None,
    device: str | None = None,
    dtype: str | None = None,
    bits: Literal[4, 8] | None = None,
) -> None:
    """Serve a model: a page at /, an HTTP API at /api, and its documentation at /docs.

    Examples:
        spiritlm serve --model quickstart/model
        spiritlm serve --lm quickstart/tuned
        spiritlm serve --model quickstart/model --vocoder voice/vocoder
        spiritlm serve --model release --variant expressive --device cuda --max-seconds 30

    Args:
        model: model folder that holds the folders lm, speech_tokenizer and vocoder, or the directory of the published
            release.
        lm: folder of the language model that answers in place of the model folder's own, such as a tuned one; MODEL/lm
            if left out.
        vocoder: folder of the vocoder that speaks in place of the model folder's own, such as one of another voice; if
            left out, MODEL/vocoder if it exists.
        host: address to listen at; with any other than 127.0.0.1, other machines can connect, without a password.
        port: port to listen at; 0 for any free one.
        max_seconds: largest length of the speech in one request, in seconds.
        max_megabytes: largest size of the body of one request, in MB.
        max_concurrent: largest number of requests that wait for the model or use it, 1 to 32.
        adapter: folder of an adapter that was trained on this model (LoRA), to use with it; none if left out.
        variant: base or expressive, if the published release holds both.
        device: device to compute on, such as cpu, cuda or cuda:1; if left out, cuda where available, else cpu.
        dtype: number format of the weights, such as float32 or bfloat16; as stored if left out.
        bits: quantize the weights to 8 or 4 bits, which needs bitsandbytes; not quantized if left out.

    Raises:
        ValueError: if a folder does not hold the expected part, or a limit is out of its range.
        FileNotFoundError: if the model is missing.
        ModuleNotFoundError: if gradio is not installed.
        OSError: if the port is taken.
    """
    if find_spec("gradio") is None:
        raise ModuleNotFoundError('spiritlm serve needs gradio: pip install "spiritlm-pl[serve]"')
    with listen(host, port) as listener, TemporaryDirectory(prefix="spiritlm-") as folder:
        from spiritlm_pl.generation.packing import promise_fixed
        from spiritlm_pl.serve.app import build_app
        from spiritlm_pl.serve.session import Limits, Session

        limits = Limits(max_seconds=max_seconds, max_megabytes=max_megabytes, max_concurrent=max_concurrent)
        spirit_lm = load_model(model, variant, device, dtype, bits, vocoder, adapter, lm)
        session = Session(spirit_lm, limits)
        promise_fixed(spirit_lm.model)  # nobody else has it
        session.warm_up()
        app = build_app(session, Path(folder))
        print(f"spiritlm: serving {model} at http://{host}:{listener.getsockname()[1]} (Ctrl-C ends it)", flush=True)
        run_server(app, listener)


def load_model(
    model: Path,
    variant: Variant | None = None,
    device: str | None = None,
    dtype: str | None = None,
    bits: int | None = None,
    vocoder: Path | None = None,
    adapter: Path | None = None,
    lm: Path | None = None,
) -> "SpiritLM":
    """Load a model folder or the published release, with or without an adapter, as `spiritlm generate` does.

    Raises:
        FileNotFoundError: if there is no language model.
        ValueError: if a vocoder or a language model is given for the published release.
    """
    from transformers.utils.logging import disable_progress_bar

    from spiritlm_pl.generation import LoadOptions, SpiritLM
    from spiritlm_pl.generation.loading import ModelFolders
    from spiritlm_pl.interop.release.layout import Release

    for name, part in (("--vocoder", vocoder), ("--lm", lm)):
        if part is not None and Release.is_at(model):
            raise ValueError(
                f"{name} must be left out for the published release, but is {part} instead: spiritlm import-release "
                "makes a model folder of it, whose parts can be others"
            )
    disable_progress_bar()  # the bar of reading the weights would disturb the output
    options = LoadOptions(device=best_device(device), dtype=dtype, bits=bits, adapter=adapter)
    path = model if vocoder is None and lm is None else ModelFolders.find(model, lm, vocoder=vocoder)
    return SpiritLM.from_pretrained(path, variant, options)


def listen(host: str, port: int) -> socket.socket:
    """Open a socket at an address, which shows before anything slow is loaded whether that is possible.

    Raises:
        ValueError: if the port is out of range.
        OSError: if the port is taken, or the machine does not have the address.
    """
    if not 0 <= port <= 65_535:
        raise ValueError(f"port must be in [0, 65535], but is {port} instead")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise OSError(f"host and port must be free, but {host}:{port} is not: {error.strerror}") from None


def run_server(app: "FastAPI", listener: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM, and return so that the caller can remove its files."""
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=SHUTDOWN_SECONDS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again when it has shut down
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        pass
