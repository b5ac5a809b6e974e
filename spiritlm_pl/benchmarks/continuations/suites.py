"""Benchmarks of continuations; their names are entry points of the group `spiritlm_pl.benchmarks`."""

from spiritlm_pl.benchmarks.answers import AnswerBenchmark
from spiritlm_pl.benchmarks.catalogue import info_of
from spiritlm_pl.benchmarks.continuations import prompts, quality, toxicity
from spiritlm_pl.generation.settings import GenerationSettings

SLAMKIT = GenerationSettings(temperature=0.8, top_p=1.0, top_k=25, max_new_tokens=150)
WRITTEN = GenerationSettings(temperature=0.8, top_p=1.0, top_k=25, max_new_tokens=50)
PAPER = GenerationSettings()

GENERATION_QUALITY = AnswerBenchmark(
    info_of("generation_quality"), prompts.read_beginnings, quality.speech_judge, SLAMKIT, quality.figures
)
GENERATION_QUALITY_TEXT = AnswerBenchmark(
    info_of("generation_quality_text"), prompts.read_text_beginnings, quality.text_judge, WRITTEN, quality.figures
)
TOXICITY = AnswerBenchmark(
    info_of("toxicity"), prompts.read_spoken_prompts, toxicity.speech_judge, PAPER, toxicity.figures
)
TOXICITY_TEXT = AnswerBenchmark(
    info_of("toxicity_text"), prompts.read_written_prompts, toxicity.text_judge, PAPER, toxicity.figures
)
