"""HTTP API that takes JSON and returns JSON and WAV; its documentation is at `/docs`.

Handlers are plain functions, which the server runs on threads, since the model may take long.
"""

import base64
import binascii
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from spiritlm_pl import __version__
from spiritlm_pl.generation import Dialogue, Piece, Speech, StreamedPiece, StreamEnd, Text
from spiritlm_pl.generation.prompt import parse_speech
from spiritlm_pl.generation.sampling import context_length
from spiritlm_pl.generation.stream import speech_string
from spiritlm_pl.generation.vocode import Voice
from spiritlm_pl.runtime.foreign_texts import OWN_MESSAGE, RULE_BEGINS, RULE_ENDS
from spiritlm_pl.serve.audio import decode_audio, encode_wav
from spiritlm_pl.serve.body_limit import BodyLimit
from spiritlm_pl.serve.schemas import (
    Allowed,
    AnswerChoice,
    AnswerPiece,
    ChatRequest,
    GenerateRequest,
    GenerateResponse,
    InfoResponse,
    Problem,
    PromptPiece,
    Sizes,
    Streamed,
    TokenizeRequest,
    TokenizeResponse,
    VocodeRequest,
    VoiceChoice,
    WrittenToken,
)
from spiritlm_pl.serve.session import Busy, Session
from spiritlm_pl.serve.token_view import named_tokens
from spiritlm_pl.streams import PITCH, STYLE, UNIT

RETRY_SECONDS = 5
EVENTS = "text/event-stream"
SHOWN = 60  # largest number of characters of a wrong value in a message
PROBLEMS: dict[int | str, dict[str, Any]] = {
    408: {"model": Problem, "description": "The body came too slowly."},
    413: {"model": Problem, "description": "The body is too large."},
    422: {"model": Problem, "description": "Something in the request is wrong."},
    503: {"model": Problem, "description": "Too many requests wait: see the header Retry-After."},
}


def build_api(session: Session) -> FastAPI:
    """Build the application with all endpoints."""
    app = FastAPI(
        title="spiritlm",
        version=__version__,
        description="A language model that reads and writes, hears and speaks.",
        redoc_url=None,
    )
    app.add_middleware(BodyLimit, max_bytes=session.limits.max_bytes)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _unreadable)
    app.add_exception_handler(ValueError, _refused)
    app.add_exception_handler(Busy, _busy)

    # What a stream holds stands beside the answer as a whole, which FastAPI adds.
    events: dict[int | str, dict[str, Any]] = {
        200: {"content": {EVENTS: {"schema": Streamed.model_json_schema()}}, "description": "The answer."}
    }

    @app.get("/api/info", summary="What is served")
    def info() -> InfoResponse:
        return _info(session)

    @app.post(
        "/api/generate",
        summary="Continue a prompt of text and speech",
        response_model=GenerateResponse,
        responses=PROBLEMS | events,
        response_model_exclude_none=True,
    )
    def generate(request: GenerateRequest) -> Any:
        return _answered(session, request, [_read(piece, session) for piece in request.prompt])

    @app.post(
        "/api/chat",
        summary="Answer turns of a conversation, in the form that the model was tuned on",
        response_model=GenerateResponse,
        responses=PROBLEMS | events,
        response_model_exclude_none=True,
    )
    def chat(request: ChatRequest) -> Any:
        turns = [(one.role, [_read(piece, session) for piece in one.content]) for one in request.messages]
        return _answered(session, request, Dialogue(turns), request.template)

    @app.post("/api/tokenize", summary="Write speech as tokens", responses=PROBLEMS)
    def tokenize(request: TokenizeRequest) -> TokenizeResponse:
        speech = session.read_speech(_decoded(request.audio))
        assert speech.tokens is not None
        assert session.spirit_lm.speech_tokenizer is not None
        return TokenizeResponse(
            tokens=speech_string(speech.tokens, session.spirit_lm.vocabulary),
            units=None if speech.units is None else speech.units.tolist(),
            durations=None if speech.durations is None else speech.durations.tolist(),
            frame_rate=session.spirit_lm.speech_tokenizer.frame_rate,
            seconds=len(speech.waveform) / speech.sample_rate,
        )

    wav: dict[int | str, dict[str, Any]] = {200: {"content": {"audio/wav": {}}, "description": "A 16-bit WAV file."}}

    @app.post(
        "/api/vocode", summary="Speak tokens", responses=PROBLEMS | wav, response_class=Response, response_model=None
    )
    def vocode(request: VocodeRequest) -> Response:
        vocabulary = session.spirit_lm.vocabulary
        if request.units is None:
            tokens = parse_speech(request.tokens or "", vocabulary)
        else:
            tokens = tuple(vocabulary.token(UNIT, unit) for unit in request.units)
        speech = session.vocode(tokens, request.durations, _voice(request))
        return Response(encode_wav(speech.waveform, speech.sample_rate), media_type="audio/wav")

    # Else other methods would go to the page, which has all other paths, and knows nothing of these.
    routes = [route for route in app.routes if isinstance(route, Route)]
    app.router.routes += [Route(route.path, _OtherMethods(route.methods or ())) for route in routes]
    return app


class _OtherMethods:
    """Application that answers 405, and names the methods that a path has."""

    def __init__(self, methods: Collection[str]) -> None:
        """Keep the methods of the path."""
        self.allowed = ", ".join(sorted(methods))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse one request."""
        raise HTTPException(405, headers={"Allow": self.allowed})


def _answered(
    session: Session, request: AnswerChoice, prompt: Sequence[Piece] | Dialogue, template: str | None = None
) -> GenerateResponse | StreamingResponse:
    """Return an answer as a whole, or while it is made."""
    voice, warnings = _voice(request), session.warnings(prompt) or None
    if request.stream:
        items = session.stream(prompt, request.output, request.settings(), voice, template)
        return StreamingResponse((_event(item, session, warnings) for item in items), media_type=EVENTS)
    answer = session.answer(prompt, request.output, request.settings(), voice, None, template)
    return GenerateResponse(
        pieces=[_written(piece, session) for piece in answer.pieces],
        prompt_tokens=_tokens(answer.prompt_tokens, session),
        tokens=_tokens(answer.tokens, session),
        finish_reason=answer.finish_reason,
        warnings=warnings,
    )


def _event(item: StreamedPiece | StreamEnd, session: Session, warnings: list[str] | None) -> str:
    """Return a server-sent event with what is new of an answer."""
    if isinstance(item, StreamEnd):
        told = Streamed(finish_reason=item.finish_reason, warnings=warnings)
    else:
        told = Streamed(number=item.number, **_written(item.piece, session).model_dump())
    return f"data: {told.model_dump_json(exclude_none=True)}\n\n"


def _read(piece: PromptPiece, session: Session) -> Piece:
    if piece.text is not None:
        return Text(piece.text)
    if piece.tokens is not None:
        return Speech(tokens=parse_speech(piece.tokens, session.spirit_lm.vocabulary))
    return Speech(*decode_audio(_decoded(piece.audio or ""), session.limits.max_seconds))


def _written(piece: Piece, session: Session) -> AnswerPiece:
    if isinstance(piece, Text):
        return AnswerPiece(text=piece.text)
    tokens = None if piece.tokens is None else speech_string(piece.tokens, session.spirit_lm.vocabulary)
    if piece.audio is None:
        return AnswerPiece(tokens=tokens)
    audio = base64.b64encode(encode_wav(piece.waveform, piece.sample_rate)).decode()
    return AnswerPiece(audio=audio, seconds=len(piece.waveform) / piece.sample_rate, tokens=tokens)


def _tokens(ids: Sequence[int], session: Session) -> list[WrittenToken]:
    named = named_tokens(ids, session.spirit_lm.vocabulary, session.spirit_lm.text_tokenizer)
    return [WrittenToken(id=token.id, kind=token.kind, name=token.name) for token in named]


def _voice(choice: VoiceChoice) -> Voice:
    return Voice(choice.speaker, choice.style)


def _decoded(audio: str) -> bytes:
    try:
        return base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"audio must be a file in base64, but is {_shown(audio)} instead") from None


def _info(session: Session) -> InfoResponse:
    spirit_lm, vocabulary = session.spirit_lm, session.spirit_lm.vocabulary
    return InfoResponse(
        version=__version__,
        architecture=type(spirit_lm.model).__name__,
        parameters=sum(parameter.numel() for parameter in spirit_lm.model.parameters()),
        context=context_length(spirit_lm.model),
        expressive=vocabulary.expressive,
        vocabulary=Sizes(
            text=vocabulary.num_text,
            units=vocabulary.size(UNIT),
            pitches=vocabulary.size(PITCH),
            styles=vocabulary.size(STYLE),
            streams=[asdict(stream) for stream in vocabulary.streams],
        ),
        reads_speech=spirit_lm.speech_tokenizer is not None,
        speaks=spirit_lm.vocoder is not None,
        sample_rate=None if spirit_lm.vocoder is None else spirit_lm.vocoder.sample_rate,
        speakers=list(session.speakers),
        styles=list(session.styles),
        templates=list(spirit_lm.templates),
        limits=Allowed(**asdict(session.limits)),
    )


def _shown(value: Any) -> str:
    """Return a value as a message shows it, shortened before it is printed, since it may be large."""
    if isinstance(value, (list, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, str):
        return repr(value if len(value) <= SHOWN else f"{value[:SHOWN]}...")
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _sentence(error: Any) -> str:
    """Reword an error of pydantic like those of this package."""
    name = ".".join(str(part) for part in error["loc"] if part != "body") or "body"
    kind, message = error["type"], error["msg"]
    if kind == "missing":
        return f"{name} must be given, but is missing"
    if kind == "extra_forbidden":
        return f"{name} must be left out: there is no such option"
    if kind == "json_invalid":
        return f"body must be JSON, but is not: {error.get('ctx', {}).get('error', '')}"
    if kind == "value_error":
        return f"{name} {message.removeprefix(OWN_MESSAGE)}"
    rule = message.split(RULE_BEGINS, 1)[-1].split(RULE_ENDS)[0]
    return f"{name} must {rule}, but is {_shown(error.get('input'))} instead"


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _problem(422, _sentence(error.errors()[0]))


async def _unreadable(request: Request, error: Exception) -> Response:
    """Answer to a body that is no text as to one that is no JSON."""
    assert isinstance(error, HTTPException)
    if error.status_code == 400:
        return _problem(422, "body must be JSON in UTF-8, but is not")
    return await http_exception_handler(request, error)


async def _refused(request: Request, error: Exception) -> Response:
    return _problem(422, str(error))


async def _busy(request: Request, error: Exception) -> Response:
    return _problem(503, str(error), {"Retry-After": str(RETRY_SECONDS)})


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"detail": " ".join(detail.split())}, status, headers)
