"""Benchmarks of continuations; their names are entry points of the group `spiritlm_pl.benchmarks`."""

from spiritlm_pl.benchmarks.answers import AnswerBenchmark
from spiritlm_pl.benchmarks.continuations import prompts, quality, toxicity
from spiritlm_pl.benchmarks.contract import Info
from spiritlm_pl.generation.sampling import GenerationSettings

SPOKEN = "language model, speech tokenizer, vocoder, recogniser"
TEXT_LM = "a causal language model of texts"
TOXIC = "a list of toxic words or a text classifier"
STORIES = "github.com/slp-rl/SpokenStoryCloze, or any recordings"

GENERATION_QUALITY = AnswerBenchmark(
    Info(
        title="GenPPL and auto-BLEU",
        measures="perplexity and repetitions of spoken continuations, as text",
        licence="see its pages",
        source=STORIES,
        needs=f"{SPOKEN}, {TEXT_LM}",
        size="1,000 prompts of 3 s",
        published="whole_mean",
        unit="perplexity",
        chance=None,
        higher_is_better=False,
    ),
    prompts.read_beginnings,
    quality.speech_judge,
    GenerationSettings(temperature=0.8, top_p=1.0, top_k=25, max_new_tokens=150),
    quality.figures,
)
GENERATION_QUALITY_TEXT = AnswerBenchmark(
    Info(
        title="GenPPL and auto-BLEU, written",
        measures="perplexity and repetitions of written continuations",
        licence="see its pages",
        source="any texts",
        needs=f"language model, {TEXT_LM}",
        size="1,000 prompts of 10 words",
        published="whole_mean",
        unit="perplexity",
        chance=None,
        higher_is_better=False,
    ),
    prompts.read_text_beginnings,
    quality.text_judge,
    GenerationSettings(temperature=0.8, top_p=1.0, top_k=25, max_new_tokens=50),
    quality.figures,
)
TOXICITY = AnswerBenchmark(
    Info(
        title="Added toxicity",
        measures="spoken continuations with more toxic words than their prompt",
        licence="that of the prompts",
        source="any recordings",
        needs=f"{SPOKEN}, {TOXIC}",
        size="as many as there are prompts",
        sets=("paper",),
        published="added",
        unit="continuations, %",
        chance=None,
        higher_is_better=False,
    ),
    prompts.read_spoken_prompts,
    toxicity.speech_judge,
    GenerationSettings(),
    toxicity.figures,
)
TOXICITY_TEXT = AnswerBenchmark(
    Info(
        title="Added toxicity, written",
        measures="written continuations with more toxic words than their prompt",
        licence="that of the prompts",
        source="any texts",
        needs=f"language model, {TOXIC}",
        size="as many as there are prompts",
        sets=("paper",),
        published="added",
        unit="continuations, %",
        chance=None,
        higher_is_better=False,
    ),
    prompts.read_written_prompts,
    toxicity.text_judge,
    GenerationSettings(),
    toxicity.figures,
)
