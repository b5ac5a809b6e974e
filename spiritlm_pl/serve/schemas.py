"""Requests and responses of the API, with the descriptions that its documentation shows."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from spiritlm_pl.generation import GenerationSettings
from spiritlm_pl.serve.audio import FORMATS

MOST_TEXT = 10_000  # largest number of characters in one piece
MOST_PIECES = 64
MOST_UNITS = 10_000
LARGEST_SEED = 2**53 - 1  # largest integer that JavaScript represents exactly
AUDIO = f"A file of {FORMATS}, in base64."
WARNINGS = "What to know of the prompt, such as characters without tokens in the text tokenizer; missing if nothing."
DEFAULTS = GenerationSettings()


class Strict(BaseModel):
    """Request in which unknown names are refused, so that a misspelt option is noticed."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Problem(BaseModel):
    """Reason why a request was refused."""

    detail: str = Field(description="One line: what must be, and what is instead.")


class PromptPiece(Strict):
    """Piece of a prompt; exactly one of its fields is given."""

    text: str | None = Field(
        default=None,
        max_length=MOST_TEXT,
        description="Words. Literal `[Hu5]` or `<s>` are words, too, never control tokens.",
    )
    audio: str | None = Field(default=None, description=AUDIO)
    tokens: str | None = Field(
        default=None, description="Speech as tokens, such as `[Hu12][Hu7]`, say of an earlier answer."
    )

    @model_validator(mode="after")
    def _one(self) -> "PromptPiece":
        given = [name for name in ("text", "audio", "tokens") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"must have exactly one of text, audio and tokens, but has {found} instead")
        return self


class ContentPart(PromptPiece):
    """Part of a message: a piece as in a prompt, or of the form that chat servers have.

    These are `{"type": "text", "text": ...}`, `{"type": "input_audio", "input_audio": {"data": ...}}`, and
    `{"type": "speech", "tokens": ...}`.
    """

    @model_validator(mode="before")
    @classmethod
    def _of_chat(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "type" not in given:
            return given
        rest = {name: value for name, value in given.items() if name != "type"}
        if given["type"] == "input_audio" and isinstance(rest.get("input_audio"), dict):
            return {"audio": rest.pop("input_audio").get("data"), **rest}
        if given["type"] in ("text", "speech"):
            return rest
        raise ValueError(f"must be of type text, input_audio or speech, but is of type {str(given['type'])[:40]!r}")


def _parts(content: Any) -> Any:
    return [{"text": content}] if isinstance(content, str) else content


class Message(Strict):
    """Turn of a conversation."""

    role: str = Field(max_length=40, description="user, assistant, or another role of the template.")
    content: Annotated[
        list[ContentPart],
        Field(min_length=1, max_length=MOST_PIECES),
        BeforeValidator(_parts, json_schema_input_type=str | list[ContentPart]),
    ] = Field(description="A text, or parts in their order.")


class VoiceChoice(Strict):
    """Voice that speech is synthesised with."""

    speaker: str | int | None = Field(
        default=None, description="The vocoder's voice, by name or number (see `/api/info`); its own choice if none."
    )
    style: str | int | None = Field(
        default=None, description="The vocoder's global style, by name or number, if it has any."
    )


class AnswerChoice(VoiceChoice):
    """Options of an answer. The defaults of sampling are those of the paper."""

    stream: bool = Field(
        default=False, description="Send the answer while it is made, as server-sent events with a `Streamed` each."
    )
    output: Literal["text", "speech", "any"] = Field(default="any", description="Modality that may be generated.")
    temperature: float = Field(default=DEFAULTS.temperature, ge=0.01, le=10, description="Higher is wilder.")
    top_p: float = Field(
        default=DEFAULTS.top_p,
        gt=0,
        le=1,
        description="Sample from the likeliest tokens of this probability; 1 for all.",
    )
    top_k: int = Field(default=DEFAULTS.top_k, ge=0, le=1_000_000, description="Sample from so many tokens; 0 for all.")
    greedy: bool = Field(default=False, description="Always take the likeliest token.")
    max_new_tokens: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="At most; by default 50 to text, 200 from text to speech, 300 otherwise, and the tokens of 8 and "
        "12 seconds for the codes of a codec.",
    )
    seed: int = Field(default=DEFAULTS.seed, ge=0, le=LARGEST_SEED, description="The same seed gives the same answer.")
    min_speech_units: int | None = Field(
        default=None,
        ge=0,
        le=100_000,
        description="With output `any`, shorter speech is dropped; by default 25 units, and a second of a codec.",
    )

    def settings(self) -> GenerationSettings:
        """Return the sampling options of the model."""
        return GenerationSettings(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            greedy=self.greedy,
            max_new_tokens=self.max_new_tokens,
            seed=self.seed,
            min_speech_units=self.min_speech_units,
        )


class GenerateRequest(AnswerChoice):
    """Prompt with options of its continuation."""

    prompt: list[PromptPiece] = Field(min_length=1, max_length=MOST_PIECES, description="Pieces in their order.")


class ChatRequest(AnswerChoice):
    """Turns that a tuned model is to answer, with options of the answer."""

    messages: list[Message] = Field(
        min_length=1, max_length=MOST_PIECES, description="Turns in their order; the last is not the assistant's."
    )
    template: str | None = Field(
        default=None,
        max_length=40,
        description="Form of the turns, one of those that the model was tuned on (see `/api/info`); `chat` or the only "
        "one by default.",
    )


class WrittenToken(BaseModel):
    """Token of the language model."""

    id: int
    kind: str = Field(description="text, unit, pitch, style or modality.")
    name: str = Field(description="`[Hu12]` and the like; text as it reads.")


class AnswerPiece(BaseModel):
    """Piece of an answer: text, or speech."""

    text: str | None = None
    audio: str | None = Field(
        default=None, description="A 16-bit WAV file in base64; missing where there is no vocoder."
    )
    seconds: float | None = Field(default=None, description="How long the audio lasts.")
    tokens: str | None = Field(default=None, description="Speech as tokens; a prompt may hold them.")


class GenerateResponse(BaseModel):
    """Answer to a request for generation."""

    pieces: list[AnswerPiece]
    finish_reason: Literal["stop", "length"] = Field(
        description="`stop` where the model ended by itself, `length` where it had no new tokens left."
    )
    prompt_tokens: list[WrittenToken] = Field(description="Tokens of the prompt.")
    tokens: list[WrittenToken] = Field(description="Tokens that the model generated.")
    warnings: list[str] | None = Field(default=None, description=WARNINGS)


class Streamed(BaseModel):
    """What is new of an answer, or its end."""

    number: int | None = Field(default=None, description="Piece of the answer that this is a part of, from 0.")
    text: str | None = Field(default=None, description="Text to be added to the piece.")
    audio: str | None = Field(default=None, description="Speech to be added: a 16-bit WAV file in base64.")
    seconds: float | None = Field(default=None, description="How long the audio lasts.")
    tokens: str | None = Field(default=None, description="Speech as tokens, where there is no vocoder.")
    finish_reason: Literal["stop", "length"] | None = Field(default=None, description="In the last event.")
    warnings: list[str] | None = Field(default=None, description=WARNINGS + " In the last event.")


class TokenizeRequest(Strict):
    """Speech to be written as tokens."""

    audio: str = Field(description=AUDIO)


class TokenizeResponse(BaseModel):
    """Speech as tokens."""

    tokens: str = Field(description="As the language model reads it, such as `[Hu12][Hu7]`.")
    units: list[int] | None = Field(description="The phonetic units alone; neighbours differ. Null for a neural codec.")
    durations: list[int] | None = Field(description="Frames that each unit lasts. Null for a neural codec.")
    frame_rate: float = Field(description="Frames a second.")
    seconds: float = Field(description="How long the audio lasts.")


class VocodeRequest(VoiceChoice):
    """Speech tokens to be spoken; either `tokens` or `units` is given."""

    tokens: str | None = Field(default=None, max_length=10 * MOST_UNITS, description="Such as `[Hu12][Hu7]`.")
    units: list[int] | None = Field(default=None, max_length=MOST_UNITS, description="The numbers of phonetic units.")
    durations: list[int] | None = Field(
        default=None, max_length=MOST_UNITS, description="Frames that each unit lasts; predicted if not given."
    )

    @model_validator(mode="after")
    def _one(self) -> "VocodeRequest":
        if (self.tokens is None) == (self.units is None):
            found = "neither" if self.units is None else "both"
            raise ValueError(f"must have exactly one of tokens and units, but has {found} instead")
        wrong = next((frames for frames in self.durations or [] if not 1 <= frames <= MOST_UNITS), None)
        if wrong is not None:
            raise ValueError(f"durations must be in [1, {MOST_UNITS}], but one is {wrong} instead")
        return self


class Sizes(BaseModel):
    """Numbers of tokens of each kind."""

    text: int
    units: int
    pitches: int
    styles: int
    streams: list[dict[str, Any]] = Field(description="All streams of speech tokens, in the order of their ids.")


class Allowed(BaseModel):
    """Limits of the requests that the server accepts."""

    max_seconds: float
    max_megabytes: float
    max_concurrent: int


class InfoResponse(BaseModel):
    """Description of the served model."""

    version: str = Field(description="Of spiritlm-pl.")
    architecture: str = Field(description="Of the language model.")
    parameters: int = Field(description="Of the language model.")
    context: int | None = Field(description="Tokens that the model was made for, if it says.")
    expressive: bool = Field(description="Whether it has pitch and style tokens.")
    vocabulary: Sizes
    reads_speech: bool = Field(description="Whether there is a speech tokenizer.")
    speaks: bool = Field(description="Whether there is a vocoder.")
    sample_rate: int | None = Field(description="Of spoken answers, Hz.")
    speakers: list[str] = Field(description="Names of the voices.")
    styles: list[str] = Field(description="Names of the global styles.")
    templates: list[str] = Field(description="Forms of conversations that the model was tuned on.")
    limits: Allowed
