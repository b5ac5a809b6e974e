"""The few-shot benchmarks of the paper; their names are entry points of the group `spiritlm_pl.benchmarks`."""

from spiritlm_pl.benchmarks.catalogue import info_of
from spiritlm_pl.benchmarks.few_shot.benchmark import FewShotBenchmark
from spiritlm_pl.benchmarks.few_shot.figures import error_figures, intent_figures
from spiritlm_pl.benchmarks.few_shot.judges import judge_asr, judge_intents, judge_tts
from spiritlm_pl.benchmarks.few_shot.readers import read_asr, read_intents, read_tts
from spiritlm_pl.generation.settings import GenerationSettings

# The longest utterances of LibriSpeech last 35 s; the published settings of decoding are not told.
TRANSCRIPT_TOKENS, SPOKEN_TOKENS, LABEL_TOKENS = 160, 500, 32

ASR = FewShotBenchmark(
    info_of("asr"),
    read_asr,
    judge_asr,
    GenerationSettings(greedy=True, max_new_tokens=TRANSCRIPT_TOKENS, ends_at_change=True),
    error_figures,
    1024,
    task="asr",
    answer="text",
)
TTS = FewShotBenchmark(
    info_of("tts"),
    read_tts,
    judge_tts,
    GenerationSettings(greedy=True, max_new_tokens=SPOKEN_TOKENS, ends_at_change=True),
    error_figures,
    2048,
    task="tts",
    answer="audio",
)
INTENTS = FewShotBenchmark(
    info_of("intents"),
    read_intents,
    judge_intents,
    GenerationSettings(greedy=True, max_new_tokens=LABEL_TOKENS, ends_at_change=True),
    intent_figures,
    task="intents",
    answer="label",
)
