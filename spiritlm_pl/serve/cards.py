"""The turns of a prompt and the words of an answer, as the page shows them."""

import base64
from collections.abc import Sequence
from html import escape

import torch
from torch import Tensor

from spiritlm_pl.generation import FinishReason, Piece, Speech, Text
from spiritlm_pl.serve.audio import encode_wav

NOTHING = "(nothing: the model ended at once)"
CUT_OFF = "(cut off: no new tokens were left)"


def turn_html(number: int, piece: Piece) -> str:
    """One turn of a prompt: its words, or a player of its speech."""
    if isinstance(piece, Text):
        return _card(number, "text", escape(piece.text))
    if not isinstance(piece.audio, Tensor):
        return _card(number, "speech", f"{len(piece.tokens or ())} tokens")
    wav = base64.b64encode(encode_wav(piece.waveform, piece.sample_rate)).decode()
    player = f'<audio controls preload="metadata" src="data:audio/wav;base64,{wav}"></audio>'
    return _card(number, "speech", player)


def _card(number: int, kind: str, content: str) -> str:
    return f'<div class="turn"><span class="turn-kind">{number} · {kind}</span><div>{content}</div></div>'


def answer_text(pieces: Sequence[Piece], finish_reason: FinishReason) -> str:
    """What was said, speech in brackets, and whether it was cut off."""
    lines = [piece.text if isinstance(piece, Text) else _spoken(piece) for piece in pieces]
    return "\n".join([*lines, CUT_OFF] if finish_reason == "length" else lines) or NOTHING


def _spoken(piece: Speech) -> str:
    if not isinstance(piece.audio, Tensor):
        return f"[speech, {len(piece.tokens or ())} tokens; there is no vocoder to hear them]"
    return f"[speech, {len(piece.waveform) / piece.sample_rate:.1f} s]"


def answer_speech(pieces: Sequence[Piece]) -> tuple[int, Tensor] | None:
    """Sample rate and samples (S,) of all speech, one after the other; None where there is none."""
    spoken = [piece for piece in pieces if isinstance(piece, Speech) and isinstance(piece.audio, Tensor)]
    if not spoken:
        return None
    return spoken[0].sample_rate, torch.cat([piece.waveform for piece in spoken])
