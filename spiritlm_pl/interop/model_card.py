"""The README of an exported language model."""

from typing import Any

from transformers import PreTrainedTokenizerFast

from spiritlm_pl.runtime.provenance import code_version
from spiritlm_pl.streams import UNIT
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

STREAM_TITLES = {UNIT: "phonetic units"}  # other streams go by their names
OPENING = "A prompt opens with `[Text]` or `[Speech]`, and so does every change between them."
WORDS = f"""\
{OPENING} {{beginning}} Every word is encoded with the space before it,
so white space around words does not matter. Text that a user types is encoded with `split_special_tokens=True`: then
nothing in it is a speech token."""
BASE = f"""\
{OPENING} {{beginning}} Text has the ids that the base model's tokenizer gives it, white space and all.{{apart}}
Text that a user types is encoded with `split_special_tokens=True`: then nothing in it is a speech token."""
APART = " Text that goes on\nafter speech begins with its space: `[Text] the cat`."
WHOLE = f"""\
{OPENING} The tokenizer puts `<s>` before it. Speech tokens are pieces of text, as in
the published checkpoints: `[Hu1]` is that token, whoever typed it."""
FRAMES = """\


## Order of codebooks

Speech is {rate} frames a second, and each frame has one token of every codebook, in this order: {turns}.
{delays}A prompt in another order is misread, and a tool that does not ban tokens out of turn (`generate` of
`transformers`, vLLM) may write some; `spiritlm generate` bans them."""
DELAYS = "The tokens of a frame do not stand together: those of each codebook stand some frames late, {late}.\n"
CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [spiritlm, speech, speech-language-model]
---
# A language model of text and speech

Trained with [spiritlm-pl](https://arxiv.org/abs/2402.05755); exported by version {exporter} from a model of
version {trainer}. It continues text and speech tokens with text and speech tokens; a speech tokenizer and a vocoder
of spiritlm-pl turn waveforms into these tokens and back.

## Tokens

{rows}

## Prompts

{prompts}{frames}

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForCausalLM.from_pretrained(FOLDER)
prompt = tokenizer("{example}", return_tensors="pt")
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=50)[0]))
```

## Listening and speaking

With spiritlm-pl, and {parts} to this model:

```sh
spiritlm generate --lm FOLDER {options} --speech question.wav --output speech
```

`docs/hugging-face.md` of spiritlm-pl shows the same with a model behind a server.
"""


def model_card(description: dict[str, Any], tokenizer: PreTrainedTokenizerFast, text: TextTokenizer) -> str:
    """Write the model card, in Markdown: the tokens of the model, and how to prompt it.

    Args:
        description: contents of the model's `spiritlm.json`.
        tokenizer: tokenizer as it is exported.
        text: text tokenizer of the model.
    """
    vocabulary = Vocabulary.from_dict(description["vocabulary"])
    apart = not text.opening and not text.prefixes
    spoken = "".join(str(vocabulary.name(token)) for token in _two_frames(vocabulary))
    example = f"[Speech]{spoken}[Text]{' ' if apart else ''}the cat"
    ids = ", ".join(map(str, tokenizer.encode(example)))
    begin, end = vocabulary.begin_of_document, vocabulary.end_of_document
    beginning = (
        "There is no beginning of sequence." if begin is None else f"The tokenizer puts token {begin} before it."
    )
    own = BASE.format(beginning=beginning, apart=APART if apart else "")
    prompts = WHOLE if text.opening else own if text.library == "transformers" else WORDS.format(beginning=beginning)
    if end is not None:
        prompts += f"\n\nDocuments ended with token {end} in training, in text and in speech: it ends an answer."
    codec = vocabulary.layout.framewise
    return CARD.format(
        exporter=code_version(),
        trainer=description.get("code_version", "unknown"),
        rows=_rows(vocabulary),
        prompts=f"{prompts}\n\n`{example}` has the ids {ids}.",
        example=example,
        frames=_frames(vocabulary) if codec else "",
        parts="the codec that belongs" if codec else "the speech tokenizer and the vocoder that belong",
        options="--speech-tokenizer CODEC" if codec else "--speech-tokenizer TOKENIZER --vocoder VOCODER",
    )


def _turns(vocabulary: Vocabulary) -> list[tuple[int, str, int, int]]:
    """Return first id, printed name, delay and size of each codebook, in the order of a frame."""
    found = []
    for stream in sorted(vocabulary.streams, key=lambda stream: stream.order):
        first, delays = vocabulary.bounds(stream.name)[0], stream.delays or (0,) * stream.num_codebooks
        for codebook, delay in enumerate(delays):
            place = codebook * stream.size
            found.append((first + place, stream.token_name(place).replace("0]", "..]"), delay, stream.size))
    return found


def _two_frames(vocabulary: Vocabulary) -> list[int]:
    """Return the tokens of two frames of codes, or of two units, in the order in which a model reads them."""
    if not vocabulary.layout.framewise:
        first, _ = vocabulary.speech_bounds
        return [first + 1, first + 2]
    steps = [
        (frame + delay, turn, first + (1 + frame) % size)
        for turn, (first, _, delay, size) in enumerate(_turns(vocabulary))
        for frame in (0, 1)
    ]
    return [token for _, _, token in sorted(steps)]


def _frames(vocabulary: Vocabulary) -> str:
    """Describe the order of the codebooks of a codec."""
    turns = _turns(vocabulary)
    late = ", ".join(f"`{name}` {delay}" for _, name, delay, _ in turns)
    return FRAMES.format(
        rate=f"{vocabulary.layout.frame_rate:g}",
        turns=" ".join(f"`{name}`" for _, name, _, _ in turns),
        delays=DELAYS.format(late=late) if any(delay for _, _, delay, _ in turns) else "",
    )


def _rows(vocabulary: Vocabulary) -> str:
    parts = [
        ("text", 0, vocabulary.num_text),
        ("`[Text]` `[Speech]`", vocabulary.text_marker, 2),
        *(
            (
                f"`{stream.token_name(0)}` ... {STREAM_TITLES.get(stream.name, stream.name)}",
                vocabulary.bounds(stream.name)[0],
                stream.num_tokens,
            )
            for stream in vocabulary.streams
        ),
        ("`[ASR]` `[TTS]`", vocabulary.task_offset, vocabulary.num_tasks),
        ("rows without a token", vocabulary.num_tokens, vocabulary.num_rows - vocabulary.num_tokens),
    ]
    lines = [f"| {name} | {first} | {number} |" for name, first, number in parts if number]
    return "\n".join(["| tokens | first id | number |", "|---|---|---|", *lines])
