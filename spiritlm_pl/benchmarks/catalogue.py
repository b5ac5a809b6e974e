"""Facts about the benchmarks that ship with the package, and their options, told before what computes is imported.

The names are those of the entry points of the group `spiritlm_pl.benchmarks`.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from spiritlm_pl.benchmarks.info import Info

Side: TypeAlias = Literal["speech", "text"]
SIDES: tuple[tuple[Side, Side], ...] = (("speech", "speech"), ("text", "text"), ("text", "speech"), ("speech", "text"))
MOST_SHOTS = 9  # of STSP
SPEECH, TEXT = "language model, speech tokenizer", "language model"
VOCODER, RECOGNISER = f"{SPEECH}, vocoder", f"{SPEECH}, vocoder, recogniser"
LM_EVAL = "language model; lm-eval (extra lm-eval)"
ZERO_SHOT, FEW_SHOT = ("zero_shot", "paper"), ("few_shot", "paper")
STORIES = "github.com/slp-rl/SpokenStoryCloze, huggingface.co/datasets/slprl/multispeaker-storycloze"
LIBRISPEECH = "openslr.org/12; any corpus of spiritlm prepare, or a table"
LIBRISPEECH_SIZE = "2,620 test-clean, 2,939 test-other utterances, each after every draw of shots"
SAMPLING = ("temperature", "top_p", "top_k", "greedy", "max_new_tokens")
SHOTS = ("split", "shots_split", "shots", "shot_seeds", "shot_seconds")
PROMPTS = (*SAMPLING, "context", "ends_at_change")
TOXIC_JUDGE = ("word_list", "classifier", "label", "threshold")


@dataclass(frozen=True)
class Known:
    """What is known of a benchmark without its code.

    Attributes:
        info: facts about it.
        options: names of its options.
    """

    info: Info
    options: tuple[str, ...]


def _slm21(words: bool, text: bool) -> Known:
    kind = "written" if text else "spoken"
    info = Info(
        title=f"{'sWUGGY' if words else 'sBLIMP'}{', written' if text else ''}",
        measures=f"{kind} word or non-word" if words else f"{kind} grammatical or ungrammatical sentence",
        licence="see the archive",
        source="sLM21.dataset.zip, zerospeech.com/tracks/track_4",
        needs=TEXT if text else SPEECH,
        size="5,000 dev, 20,000 test pairs" if words else "25,200 dev, 63,000 test pairs",
        sets=(*ZERO_SHOT, *(() if text else ("quick",))),
        data="slm21",
    )
    return Known(info, ("split", "mode", "cache"))


def _stories(topic: bool, first: Side, second: Side) -> Known:
    info = Info(
        title=f"{'Topic-' if topic else ''}StoryCloze, {first} to {second}",
        measures=f"ending of a story{', the other is of another story' if topic else ''}, {first} to {second}",
        licence="see its pages",
        source=STORIES,
        needs=TEXT if first == second == "text" else SPEECH,
        size="1,871 stories",
        sets=(*ZERO_SHOT, *(("quick",) if first == second == "speech" else ())),
        data="tstorycloze" if topic else "storycloze",
    )
    return Known(info, ("direction", "word_times", "cache"))


def _stsp(first: Side, second: Side, num_shots: int = 0) -> Known:
    tokenizer = ", speech tokenizer" if "speech" in (first, num_shots and second) else ""
    judge = "text classifier" if second == "text" else "vocoder, audio classifier"
    info = Info(
        title=f"STSP{f', {num_shots} shots' if num_shots else ''}, {first} to {second}",
        measures=f"sentiment of the prompt kept in the answer, {first} to {second}",
        licence="see the archive; Expresso is CC BY-NC 4.0, EmoV-DB not for commercial use",
        source="stsp.tar.gz, github.com/facebookresearch/spiritlm",
        needs=f"language model{tokenizer}, {judge}",
        size="867 utterances in the test split, or any corpus with styles",
        sets=("few_shot",) if num_shots else ("paper",),
        data="stsp",
        published="kept",
        unit="kept, %",
        chance=100 / 3,
    )
    judging = ("label", "labels", "speech_judge", "text_judge")
    return Known(info, ("split", "manifests", *judging, "shots", "shot_seed", *SAMPLING, "tries"))


def _quality(spoken: bool) -> Known:
    info = Info(
        title=f"GenPPL and auto-BLEU{'' if spoken else ', written'}",
        measures=f"perplexity and repetitions of {'spoken' if spoken else 'written'} continuations, as text",
        licence="see its pages",
        source="github.com/slp-rl/SpokenStoryCloze, or any recordings" if spoken else "any texts",
        needs=f"{RECOGNISER if spoken else TEXT}, a causal language model of texts",
        size=f"1,000 prompts of {'3 s' if spoken else '10 words'}",
        published="whole_mean",
        unit="perplexity",
        chance=None,
        higher_is_better=False,
    )
    prompts = ("prompt_seconds", "first", "split") if spoken else ("prompt_words", "first", "split", "column")
    hearing = ("whisper", "vocabulary", "whisper_device") if spoken else ()
    return Known(info, (*prompts, "cache", "language_model", *hearing, "language", *SAMPLING))


def _toxicity(spoken: bool) -> Known:
    kind = "spoken" if spoken else "written"
    info = Info(
        title=f"Added toxicity{'' if spoken else ', written'}",
        measures=f"{kind} continuations with more toxic words than their prompt",
        licence="that of the prompts",
        source="any recordings" if spoken else "any texts",
        needs=f"{RECOGNISER if spoken else TEXT}, a list of toxic words or a text classifier",
        size="as many as there are prompts",
        sets=("paper",),
        published="added",
        unit="continuations with added toxicity, %",
        chance=None,
        higher_is_better=False,
    )
    prompts = ("prompt_seconds", "first", "split") if spoken else ("first", "split", "column")
    hearing = ("whisper", "vocabulary", "language", "whisper_device") if spoken else ()
    return Known(info, (*prompts, "cache", *TOXIC_JUDGE, *hearing, *SAMPLING))


SALMON = Info(
    title="SALMon",
    measures="consistent or aligned voice, sentiment, background, room",
    licence="CC BY-NC 4.0",
    source="github.com/slp-rl/salmon, huggingface.co/datasets/slprl/SALMon",
    needs=SPEECH,
    size="8 parts of 200 pairs",
    sets=("zero_shot", "quick"),
    published="whole_mean",
)
PROSAUDIT = Info(
    title="ProsAudit",
    measures="pause at a natural place or within words that belong together",
    licence="see the archive",
    source="zerospeech.com, ProsAudit",
    needs=SPEECH,
    size="see the archive",
    sets=("zero_shot",),
)
MMLU = Info(
    title="MMLU, 5 shots",
    measures="written questions with four choices in 57 subjects",
    licence="MIT",
    source="huggingface.co/datasets/cais/mmlu, which lm-eval fetches if the folder has no copy of it",
    needs=LM_EVAL,
    size="14,042 questions",
    sets=FEW_SHOT,
    published="acc",
    chance=25.0,
)
TASKS = Info(
    title="Tasks of lm-eval",
    measures="any of its tasks that compares log-likelihoods of texts, named by the option tasks",
    licence="see each task",
    source="github.com/EleutherAI/lm-evaluation-harness; a folder with task files of one's own",
    needs=LM_EVAL,
    size="see each task",
    published="acc",
    chance=None,
)
ASR = Info(
    title="Recognition after 10 shots",
    measures="word errors of transcripts that the model writes of speech",
    licence="CC BY 4.0",
    source=LIBRISPEECH,
    needs=SPEECH,
    size=LIBRISPEECH_SIZE,
    sets=FEW_SHOT,
    data="librispeech",
    published="wer_whisper",
    unit="word error rate, %",
    chance=None,
    higher_is_better=False,
)
TTS = Info(
    title="Synthesis after 10 shots",
    measures="character errors of a recogniser that hears texts as the model says them",
    licence="CC BY 4.0",
    source=LIBRISPEECH,
    needs=f"{VOCODER}; pocketsphinx or a Whisper",
    size=LIBRISPEECH_SIZE,
    sets=FEW_SHOT,
    data="librispeech",
    published="cer",
    unit="character error rate, %",
    chance=None,
    higher_is_better=False,
)
INTENTS = Info(
    title="Intents after 30 shots",
    measures="right labels of spoken commands",
    licence="see the corpus",
    source="Fluent Speech Commands, fluent.ai; SLURP, github.com/pswietojanski/slurp; or a table",
    needs=SPEECH,
    size="3,793 test commands of 31 intents, each after every draw of shots",
    sets=FEW_SHOT,
    published="exact_match",
    unit="exact match, %",
    chance=None,
)
SYNTHESIS = ("stop_audio", "stop_voice", "whisper", "cache", "language", "recordings", "whisper_device")


def _named(first: Side, second: Side, name: str) -> str:
    """Return the name of a benchmark in one direction; that from speech to speech has no more than the name."""
    return name + {"speechspeech": "", "texttext": "_text"}.get(first + second, f"_{first}_to_{second}")


CATALOGUE: dict[str, Known] = {
    "swuggy": _slm21(True, False),
    "swuggy_text": _slm21(True, True),
    "sblimp": _slm21(False, False),
    "sblimp_text": _slm21(False, True),
    **{_named(*sides, "tstorycloze"): _stories(True, *sides) for sides in SIDES},
    **{_named(*sides, "storycloze"): _stories(False, *sides) for sides in SIDES},
    "salmon": Known(SALMON, ("parts", "cache")),
    "prosaudit": Known(PROSAUDIT, ("split",)),
    "mmlu": Known(MMLU, ("shots",)),
    "lm_eval": Known(TASKS, ("tasks", "shots")),
    "asr": Known(ASR, (*SHOTS, "items", "template", "cache", "language", "spellings", *PROMPTS)),
    "tts": Known(TTS, (*SHOTS, "items", "template", *SYNTHESIS, *PROMPTS)),
    "intents": Known(INTENTS, (*SHOTS, "balanced", "items", "template", "microphone", "cache", *PROMPTS)),
    **{_named(*sides, "stsp"): _stsp(*sides) for sides in SIDES},
    **{f"{_named(*sides, 'stsp')}_few_shot": _stsp(*sides, MOST_SHOTS) for sides in SIDES},
    "generation_quality": _quality(True),
    "generation_quality_text": _quality(False),
    "toxicity": _toxicity(True),
    "toxicity_text": _toxicity(False),
}
SETS = tuple(sorted({name for known in CATALOGUE.values() for name in known.info.sets}))


def info_of(name: str) -> Info:
    """Return the facts about a benchmark that ships with the package."""
    return CATALOGUE[name].info
