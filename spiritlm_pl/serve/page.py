"""Page (Gradio) with a prompt of turns on the left and the answer on the right."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import gradio as gr

from spiritlm_pl.conversations.template import LEARNT, USER
from spiritlm_pl.corpora.audio import to_int16
from spiritlm_pl.generation import Dialogue, GenerationSettings, OutputModality, Piece, Text
from spiritlm_pl.generation.vocode import Voice
from spiritlm_pl.serve.components import Said, answer_pane, answer_speech, answer_text, header, prompt_pane, turn_list
from spiritlm_pl.serve.pictures import speech_figure
from spiritlm_pl.serve.schemas import MOST_PIECES, MOST_TEXT
from spiritlm_pl.serve.session import Answer, Busy, Session
from spiritlm_pl.serve.token_view import named_tokens, tokens_html

CLEAN_EVERY, KEEP = 600, 3600  # seconds between removals of old files, and age at which they count as old
STATE_LIVES = 3600  # seconds after the last use of a page


@contextmanager
def _told() -> Iterator[None]:
    """Show errors of the user on the page."""
    try:
        yield
    except (ValueError, Busy) as error:
        raise gr.Error(escape(str(error)), print_exception=False) from None


def with_pending(turns: list[Said], text: str | None, audio: str | None, session: Session) -> list[Said]:
    """Return the turns of a prompt together with the contents of the boxes below them, which the user says.

    Args:
        turns: pieces of the prompt so far, and who says them.
        text: typed words; a blank text adds no turn.
        audio: path of an upload, which Gradio has checked; None adds no turn.
        session: session of the model, which tokenizes speech.

    Raises:
        ValueError: if there are too many turns, the text is too long, or the speech cannot be tokenized.
        Busy: if too many requests are waiting.
    """
    added = list(turns)
    if text and text.strip():
        if len(text) > MOST_TEXT:
            raise ValueError(f"text must have at most {MOST_TEXT} characters, but has {len(text)} instead")
        added.append((USER, Text(text.strip())))
    if audio:
        if not Path(audio).is_file():
            raise ValueError("speech must be uploaded again: the file was not kept so long")
        added.append((USER, session.read_speech(Path(audio).read_bytes())))
    if len(added) > MOST_PIECES:
        raise ValueError(f"prompt must have at most {MOST_PIECES} turns, but has {len(added)} instead")
    return added


def prompt_of(turns: list[Said], template: str) -> Sequence[Piece] | Dialogue:
    """Return what is asked: the pieces alone, or where there is a template the turns of their speakers."""
    if not template:
        return [piece for _, piece in turns]
    return Dialogue([(role, [piece for _, piece in said]) for role, said in groupby(turns, key=itemgetter(0))])


def build_page(session: Session) -> gr.Blocks:
    """Build the page with its components and the handlers of their events."""
    page = gr.Blocks(title="spiritlm", analytics_enabled=False, fill_width=True, delete_cache=(CLEAN_EVERY, KEEP))
    with page:
        turns = gr.State([], time_to_live=STATE_LIVES)
        said = gr.State([], time_to_live=STATE_LIVES)
        header(session)
        with gr.Row():
            with gr.Column(scale=5):
                gr.Markdown("### Prompt")
                turn_list(turns)
                prompt = prompt_pane(session)
            with gr.Column(scale=6):
                answer = answer_pane()

        def add(pieces: list[Said], text: str, audio: str | None) -> tuple[list[Said], str, None]:
            with _told():
                return with_pending(pieces, text, audio, session), "", None

        def generate(
            pieces: list[Said],
            text: str,
            audio: str | None,
            output: OutputModality,
            speaker: str | None,
            style: str | None,
            template: str,
            temperature: float,
            top_p: float,
            top_k: int | None,
            longest: int | None,
            seed: int | None,
            greedy: bool,
            progress: gr.Progress = gr.Progress(),  # noqa: B008
        ) -> list[Any]:
            with _told():
                asked = with_pending(pieces, text, audio, session)
                settings = GenerationSettings(
                    temperature=temperature,
                    top_p=top_p,
                    top_k=top_k or 0,
                    greedy=greedy,
                    max_new_tokens=longest or None,
                    seed=seed or 0,
                )
                voice, prompt = Voice(speaker, style), prompt_of(asked, template)
                found = session.answer(
                    prompt, output, settings, voice, lambda done, most: progress((done, most), unit="tokens"), template
                )
            return [asked, "", None, found.pieces, *shown(found, session, session.warnings(prompt))]

        boxes = [turns, prompt.text, prompt.audio]
        empty = [[], "", *(gr.update(value=None, visible=False) for _ in range(4)), gr.update(visible=False)]

        def go_on(pieces: list[Said], said: list[Piece]) -> list[Any]:
            return [[*pieces, *((LEARNT, piece) for piece in said)], *empty]

        hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        model: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "model", "concurrency_limit": 1}
        for event in (prompt.add.click, prompt.text.submit):
            event(add, boxes, boxes, **model, show_progress="hidden")
        asked_for = [*boxes, *prompt.choices]
        prompt.generate.click(
            generate, asked_for, [*boxes, said, *answer.parts], **model, show_progress_on=[answer.text]
        )
        answer.go_on.click(go_on, [turns, said], [turns, said, *answer.parts], **hidden)
        prompt.clear.click(lambda: [[], "", None, *empty], None, [*boxes, said, *answer.parts], **hidden)
    return page


def shown(answer: Answer, session: Session, warnings: Sequence[str] = ()) -> list[Any]:
    """Return the contents of the parts of `AnswerPane` for an answer, and for warnings of its prompt."""
    model, speech = session.spirit_lm, answer_speech(answer.pieces)
    heard = gr.update(value=None, visible=False), gr.update(value=None, visible=False)
    if speech is not None:
        rate, waveform = speech
        samples = to_int16(waveform).numpy()  # as int16, since Gradio would normalise the volume of other types
        heard = (
            gr.update(value=(rate, samples), visible=True),
            gr.update(value=speech_figure(waveform, rate), visible=True),
        )
    tokens = named_tokens(answer.tokens, model.vocabulary, model.text_tokenizer)
    return [
        answer_text(answer.pieces, answer.finish_reason),
        gr.update(value=f'<p class="hint">{escape(" ".join(warnings))}</p>', visible=bool(warnings)),
        *heard,
        gr.update(value=tokens_html(tokens, model.vocabulary.layout.names), visible=bool(tokens)),
        gr.update(visible=bool(answer.pieces)),
    ]
