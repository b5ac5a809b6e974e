"""The few-shot benchmarks of the paper; their names are entry points of the group `spiritlm_pl.benchmarks`."""

from spiritlm_pl.benchmarks.contract import Info
from spiritlm_pl.benchmarks.few_shot.benchmark import FewShotBenchmark
from spiritlm_pl.benchmarks.few_shot.figures import error_figures, intent_figures
from spiritlm_pl.benchmarks.few_shot.judges import judge_asr, judge_intents, judge_tts
from spiritlm_pl.benchmarks.few_shot.readers import read_asr, read_intents, read_tts
from spiritlm_pl.generation.sampling import GenerationSettings

SETS = ("few_shot", "paper")
LIBRISPEECH = "openslr.org/12; any corpus of spiritlm prepare, or a table"
# The longest utterances of LibriSpeech last 35 s; the published settings of decoding are not told.
TRANSCRIPT_TOKENS, SPOKEN_TOKENS, LABEL_TOKENS = 160, 500, 32

ASR = FewShotBenchmark(
    Info(
        title="Recognition after 10 shots",
        measures="word errors of transcripts that the model writes of speech",
        licence="CC BY 4.0",
        source=LIBRISPEECH,
        needs="language model, speech tokenizer",
        size="2,620 test-clean, 2,939 test-other utterances, each after every draw of shots",
        sets=SETS,
        data="librispeech",
        published="wer_whisper",
        unit="word error rate, %",
        chance=None,
        higher_is_better=False,
    ),
    read_asr,
    judge_asr,
    GenerationSettings(greedy=True, max_new_tokens=TRANSCRIPT_TOKENS, ends_at_change=True),
    error_figures,
    1024,
    task="asr",
    answer="text",
)
TTS = FewShotBenchmark(
    Info(
        title="Synthesis after 10 shots",
        measures="character errors of a recogniser that hears texts as the model says them",
        licence="CC BY 4.0",
        source=LIBRISPEECH,
        needs="language model, speech tokenizer, vocoder; pocketsphinx or a Whisper",
        size="2,620 test-clean, 2,939 test-other utterances, each after every draw of shots",
        sets=SETS,
        data="librispeech",
        published="cer",
        unit="character error rate, %",
        chance=None,
        higher_is_better=False,
    ),
    read_tts,
    judge_tts,
    GenerationSettings(greedy=True, max_new_tokens=SPOKEN_TOKENS, ends_at_change=True),
    error_figures,
    2048,
    task="tts",
    answer="audio",
)
INTENTS = FewShotBenchmark(
    Info(
        title="Intents after 30 shots",
        measures="right labels of spoken commands",
        licence="see the corpus",
        source="Fluent Speech Commands, fluent.ai; SLURP, github.com/pswietojanski/slurp; or a table",
        needs="language model, speech tokenizer",
        size="3,793 test commands of 31 intents, each after every draw of shots",
        sets=SETS,
        published="exact_match",
        unit="exact match, %",
        chance=None,
    ),
    read_intents,
    judge_intents,
    GenerationSettings(greedy=True, max_new_tokens=LABEL_TOKENS, ends_at_change=True),
    intent_figures,
    task="intents",
    answer="label",
)
