"""Components of the page: turns of a prompt, text of an answer, and the two panes that hold them.

Tests find the parts by their `elem_id`.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

import gradio as gr
import torch
from torch import Tensor

from spiritlm_pl.generation import FinishReason, GenerationSettings, Piece, Speech, Text
from spiritlm_pl.generation.asking import CHAT
from spiritlm_pl.serve.audio import encode_wav
from spiritlm_pl.serve.schemas import LARGEST_SEED
from spiritlm_pl.serve.session import Session

Said: TypeAlias = tuple[str, Piece]  # who says a piece of the prompt: user or assistant
CONTINUED = ("to be continued as it is", "")
NOTHING = "(nothing: the model ended at once)"
CUT_OFF = "(cut off: no new tokens were left)"


def turn_html(number: int, said: Said) -> str:
    """Return the HTML of one piece of a prompt: who says it, and its words, or a player of its speech."""
    role, piece = said
    if isinstance(piece, Text):
        return _card(number, f"text of {role}", escape(piece.text))
    if not isinstance(piece.audio, Tensor):
        return _card(number, f"speech of {role}", f"{len(piece.tokens or ())} tokens")
    wav = base64.b64encode(encode_wav(piece.waveform, piece.sample_rate)).decode()
    player = f'<audio controls preload="metadata" src="data:audio/wav;base64,{wav}"></audio>'
    return _card(number, f"speech of {role}", player)


def _card(number: int, kind: str, content: str) -> str:
    return f'<div class="turn"><span class="turn-kind">{number} · {kind}</span><div>{content}</div></div>'


def answer_text(pieces: Sequence[Piece], finish_reason: FinishReason) -> str:
    """Return the text of an answer, with its speech in brackets and a note if it was cut off."""
    lines = [piece.text if isinstance(piece, Text) else _spoken(piece) for piece in pieces]
    return "\n".join([*lines, CUT_OFF] if finish_reason == "length" else lines) or NOTHING


def _spoken(piece: Speech) -> str:
    if not isinstance(piece.audio, Tensor):
        return f"[speech, {len(piece.tokens or ())} tokens; there is no vocoder to hear them]"
    return f"[speech, {len(piece.waveform) / piece.sample_rate:.1f} s]"


def answer_speech(pieces: Sequence[Piece]) -> tuple[int, Tensor] | None:
    """Return sample rate and samples (S,) of all speech, concatenated; None if there is no speech."""
    spoken = [piece for piece in pieces if isinstance(piece, Speech) and isinstance(piece.audio, Tensor)]
    if not spoken:
        return None
    return spoken[0].sample_rate, torch.cat([piece.waveform for piece in spoken])


OUTPUTS = [("text", "text"), ("speech", "speech"), ("free", "any")]
CSS = """
.gradio-container > main {max-width: 1180px; margin: auto}
.turn {display: flex; flex-direction: column; gap: 2px; overflow-wrap: anywhere}
.turn-kind, .hint {opacity: .65}
.turn-kind {font-size: 12px}
.hint {margin: 4px 0}
.turn audio, #answer_audio audio {width: 100%; height: 40px}
.remove {max-width: 40px; min-width: 40px !important; align-self: center}
#speech [data-testid="upload-text"] {min-height: 110px; padding-top: 28px; font-size: 14px; line-height: 1.4}
#speech [data-testid="upload-icon"] {display: none}
"""


@dataclass(frozen=True)
class PromptPane:
    """Components of the left pane, which holds the prompt.

    Attributes:
        text: text box for typing a turn.
        audio: box for recordings and uploads of speech.
        add: button that makes turns of both boxes.
        clear: button that empties the prompt and the boxes.
        choices: inputs for the options of generation, in the order of the handler's arguments.
        generate: button that asks for an answer.
    """

    text: gr.Textbox
    audio: gr.Audio
    add: gr.Button
    clear: gr.Button
    choices: list[gr.components.Component]
    generate: gr.Button


@dataclass(frozen=True)
class AnswerPane:
    """Components of the right pane, which holds the answer.

    Attributes:
        text: text of the answer, with the length of its speech.
        notes: what the user should know of the prompt.
        player: player of all speech of the answer.
        picture: waveform and spectrogram of the speech.
        tokens: all tokens of the answer, coloured by kind.
        go_on: button that adds the answer to the prompt.
    """

    text: gr.Textbox
    notes: gr.HTML
    player: gr.Audio
    picture: gr.Plot
    tokens: gr.HTML
    go_on: gr.Button

    @property
    def parts(self) -> list[gr.components.Component]:
        """All components, in the order of the attributes."""
        return [self.text, self.notes, self.player, self.picture, self.tokens, self.go_on]


def header(session: Session) -> None:
    """Lay out the title and the name of the model."""
    vocabulary = session.spirit_lm.vocabulary
    sizes = [f"{vocabulary.num_text:,} text tokens"]
    sizes += [f"{stream.num_tokens:,} {stream.plural}" for stream in vocabulary.streams]
    kind = "Expressive" if vocabulary.expressive else "Base" if vocabulary.layout.phonetic else "Codec"
    gr.Markdown(f"## spiritlm\n{kind} model: {', '.join(sizes)}")


def prompt_pane(session: Session) -> PromptPane:
    """Lay out the left pane below the turns."""
    defaults = GenerationSettings()
    text = gr.Textbox(label="Text", placeholder="Words to be continued; Enter adds them", elem_id="text", max_lines=6)
    audio = gr.Audio(
        label="Speech: upload a file or record",
        sources=["upload", "microphone"],
        type="filepath",
        elem_id="speech",
        editable=False,
        buttons=[],
        visible=session.spirit_lm.speech_tokenizer is not None,
    )
    with gr.Row():
        add = gr.Button("Add to the prompt", elem_id="add", size="sm")
        clear = gr.Button("Clear all", elem_id="clear", size="sm")
    with gr.Row():
        output = gr.Radio(OUTPUTS, value="any", label="Answer with", elem_id="output", scale=3)
        speaker = gr.Dropdown(
            list(session.speakers),
            value=session.speaker,
            label="Voice",
            elem_id="speaker",
            visible=bool(session.speakers),
            scale=2,
        )
        style = gr.Dropdown(
            list(session.styles),
            value=session.style,
            label="Style",
            elem_id="style",
            visible=bool(session.styles),
            scale=2,
        )
    templates = sorted(session.spirit_lm.templates, key=lambda name: name != CHAT)
    template = gr.Dropdown(
        [*templates, CONTINUED],
        value=[*templates, ""][0],
        label="The prompt is",
        info="turns in a form of the model's tuning, which it answers, or a text that it continues",
        elem_id="template",
        visible=bool(templates),
    )
    with gr.Accordion("Sampling", open=False):
        with gr.Row():
            temperature = gr.Slider(
                0.1, 2, defaults.temperature, step=0.05, label="Temperature", info="higher is wilder"
            )
            top_p = gr.Slider(0.05, 1, defaults.top_p, step=0.05, label="Top-p", info="share of probability kept")
        with gr.Row():
            top_k = gr.Number(defaults.top_k, precision=0, minimum=0, label="Top-k", info="0 for all")
            longest = gr.Number(0, precision=0, minimum=0, label="New tokens", info="at most; 0: as usual")
            seed = gr.Number(
                defaults.seed, precision=0, minimum=0, maximum=LARGEST_SEED, label="Seed", info="same: same answer"
            )
        greedy = gr.Checkbox(False, label="Greedy: always take the likeliest token")
    generate = gr.Button("Generate", variant="primary", elem_id="generate")
    choices: list[gr.components.Component] = [output, speaker, style, template]
    choices += [temperature, top_p, top_k, longest, seed, greedy]
    return PromptPane(text, audio, add, clear, choices, generate)


def answer_pane() -> AnswerPane:
    """Lay out the right pane; components without content are hidden."""
    gr.Markdown("### Answer")
    text = gr.Textbox(
        label="Text", interactive=False, lines=2, elem_id="answer_text", placeholder="What the model says"
    )
    notes = gr.HTML(visible=False, elem_id="answer_notes")
    player = gr.Audio(
        label="Speech",
        interactive=False,
        visible=False,
        elem_id="answer_audio",
        waveform_options=gr.WaveformOptions(show_recording_waveform=False),
        buttons=["download"],
    )
    picture = gr.Plot(show_label=False, visible=False, elem_id="answer_picture")
    tokens = gr.HTML(visible=False, elem_id="answer_tokens", container=True)
    go_on = gr.Button("Continue: make the answer part of the prompt", elem_id="continue", visible=False)
    return AnswerPane(text, notes, player, picture, tokens, go_on)


def turn_list(turns: gr.State) -> None:
    """Lay out the turns in their order, each with a button that removes it."""

    @gr.render(inputs=turns, show_progress="hidden")
    def show(said: list[Said]) -> None:
        if not said:
            gr.HTML('<p class="hint" id="no_turns">Nothing yet. Type, record or upload below, in any order.</p>')
        for number, one in enumerate(said, start=1):
            with gr.Row(elem_id=f"turn_{number}", equal_height=True):
                gr.HTML(turn_html(number, one), container=True)
                remove = gr.Button("✕", size="sm", elem_id=f"remove_{number}", elem_classes="remove", scale=0)
            remove.click(
                lambda said, number=number: said[: number - 1] + said[number:],
                turns,
                turns,
                api_visibility="private",
                show_progress="hidden",
            )
