"""Stages of the expressive quickstart beyond those of Base: acted speech, pitch, style, and their evaluation."""

from pathlib import Path

from spiritlm_pl.corpora.sources.amazon_queen import PACKAGE
from spiritlm_pl.corpora.sources.debian import find_packages, package_folder
from spiritlm_pl.quickstart.stage import ROOT, Stage
from spiritlm_pl.quickstart.stages import (
    APT,
    BEGINNINGS,
    CORPORA,
    PROMPTS,
    REPORTS,
    STORIES,
    SYNTHETIC,
    TEXT_TOKENIZER,
    VOICE,
    fit,
    found_source,
    measure_endings,
    quickstart_stages,
)

MODEL, SAMPLES = ROOT / "model_expressive", ROOT / "samples_expressive"
DIALOGUE, STYLES, PROSODY = f"{CORPORA}/dialogue", f"{CORPORA}/styles", f"{CORPORA}/prosody"
UNITS, BLOCKS = ROOT / "units_expressive", ROOT / "blocks_expressive"
BASE, EXPRESSIVE = "Base", "Expressive"  # vocoders without and with pitch and style
VOCODER_BASE = f"{ROOT}/vocoder_dialogue"
SHARED = ("prompts", "stories", "mfcc", "hubert_1")
CONTRASTS = (("high", "low"), ("higher", "lower"), ("fast", "slow"), ("faster", "slower"))
STYLED = 1000  # largest number of utterances of the corpus of spoken styles
MEASURED = {"dialogue": 250, "prompts": 60, "styles": 200}  # largest number of held-out utterances


def acted_speech(source: str, styled: int) -> tuple[str, ...]:
    """Return the command that makes the corpus of acted dialogue, or its stand-in if it cannot be fetched."""
    # One voice is learnt in minutes, but measuring its styles needs many held-out lines.
    acted = ("prepare", "amazon_queen", DIALOGUE, "--characters=[joe]", "--test_fraction=0.2")
    if source == APT:
        return acted
    if source != SYNTHETIC and find_packages([PACKAGE], package_folder(Path(source))):
        return (*acted, f"--source={source}")
    return ("prepare", "styles", DIALOGUE, f"--sentences={styled}", "--seed=1")


def expressive_stages(source: str, budget: float, stories: int) -> list[Stage]:
    """Return all stages, each after those it needs; the first ones are those of the Base quickstart.

    Args:
        source: source of the real prompts and the acted speech, as in `quickstart`.
        budget: factor that all numbers of training steps are multiplied by.
        stories: number of spoken stories.
    """
    source = found_source(source)
    styled = min(STYLED, 2 * stories)
    shared = [stage for stage in quickstart_stages(source, budget, stories) if stage.name in SHARED]
    acted = acted_speech(source, styled)
    title = "acted speech: fetch, align" if "amazon_queen" in acted else "styles in place of acted speech"
    measured = {"dialogue": DIALOGUE, "prompts": PROMPTS, "styles": STYLES}
    vocoders = f'{{"{BASE}": "{VOCODER_BASE}", "{EXPRESSIVE}": "{MODEL}/vocoder"}}'
    iteration_2 = ("hubert/quickstart", "hubert/quickstart_iteration2")
    style_judges = {"dialogue": "style_dialogue"}
    dialogue = ("vocoder/quickstart", "vocoder/quickstart_dialogue")
    return [
        *shared,
        Stage(name="dialogue", title=title, commands=(acted,), minutes=1),
        Stage(
            name="styles",
            title="speech in set styles",
            threads=2,
            minutes=0.2,
            commands=(
                ("prepare", "styles", STYLES, f"--sentences={styled}", "--test_fraction=0.2"),
                (
                    *("prepare", "styles", PROSODY, "--seed=7", "--parallel=true", "--test_fraction=0.75"),
                    f"--sentences={max(128, styled // 3)}",
                    f"--styles=[{', '.join(style for contrast in CONTRASTS for style in contrast)}]",
                ),
            ),
        ),
        Stage(
            name="f0",
            title="F0 of all corpora",
            needs=("prompts", "stories", "dialogue", "styles"),
            threads=2,
            minutes=6,
            commands=tuple(("extract-f0", folder) for folder in (DIALOGUE, PROMPTS, STYLES, PROSODY, STORIES)),
        ),
        Stage(
            name="hubert_expressive",
            title="HuBERT, dialogue and styles as well",
            needs=("hubert_1", "dialogue", "styles"),
            threads=2,
            minutes=4,
            run_folders=(f"{ROOT}/runs/hubert_expressive",),
            commands=(
                (
                    *("predict", "--config", "tokenize/quickstart_hubert_1"),
                    *("--config", "tokenize/quickstart_hubert_1_expressive"),
                ),
                fit(budget, *iteration_2, "hubert/quickstart_expressive"),
            ),
        ),
        Stage(
            name="quantizer_expressive",
            title="HuBERT units",
            needs=("hubert_expressive",),
            minutes=3,
            commands=(
                fit(budget, "quantizer/quickstart", "quantizer/quickstart_expressive"),
                fit(budget, "quantizer/quickstart_ctc", "quantizer/quickstart_ctc_expressive"),
            ),
        ),
        Stage(
            name="pitch",
            title="pitch tokenizer",
            needs=("f0",),
            minutes=2.5,
            run_folders=(f"{ROOT}/runs/pitch",),
            commands=(fit(budget, "pitch/quickstart"),),
        ),
        Stage(
            name="style",
            title="style tokenizer",
            needs=("hubert_expressive",),
            minutes=3.5,
            run_folders=(f"{ROOT}/runs/style_features", f"{ROOT}/runs/style_clusters", f"{ROOT}/runs/style"),
            commands=(
                fit(budget, "style/quickstart_features"),
                fit(budget, "style/quickstart_clusters"),
                fit(budget, "style/quickstart"),
            ),
        ),
        Stage(
            name="judges",
            title="judges of style and speaker",
            needs=("hubert_1", "dialogue", "styles"),
            minutes=4,
            commands=(
                fit(budget, "style/quickstart_judge"),
                fit(budget, "style/quickstart_judge", "style/quickstart_judge_dialogue"),
                fit(budget, "style/quickstart_speaker_judge"),
            ),
        ),
        Stage(
            name="units_expressive",
            title="corpora tokenised, three kinds",
            needs=("quantizer_expressive", "pitch", "style"),
            threads=2,
            minutes=1,
            commands=(
                (
                    "join-tokenizers",
                    f"{ROOT}/tokenizer_ctc_expressive",
                    f"{ROOT}/pitch",
                    f"{ROOT}/tokenizer_style",
                    f"{MODEL}/speech_tokenizer",
                ),
                ("predict", "--config", "tokenize/quickstart_expressive"),
            ),
        ),
        Stage(
            name="blocks_expressive",
            title="training blocks",
            needs=("units_expressive",),
            minutes=0.1,
            commands=(
                ("train-text-tokenizer", TEXT_TOKENIZER, "--corpora", f"[{PROMPTS}, {STORIES}]"),
                (
                    "build-blocks",
                    f"[{', '.join(f'{UNITS}/{name}' for name in ('prompts', 'stories', 'styles'))}]",
                    TEXT_TOKENIZER,
                    str(BLOCKS),
                    "--multiple_of=64",
                ),
            ),
        ),
        Stage(
            name="vocoder_dialogue",
            title="vocoder without pitch and style",
            needs=("units_expressive",),
            minutes=18,
            run_folders=(f"{ROOT}/runs/vocoder_dialogue",),
            commands=(fit(budget, *dialogue),),
        ),
        Stage(
            name="vocoder_expressive",
            title="vocoder with pitch and style",
            needs=("units_expressive",),
            minutes=18,
            run_folders=(f"{ROOT}/runs/vocoder_expressive",),
            commands=(fit(budget, *dialogue, "vocoder/quickstart_expressive"),),
        ),
        Stage(
            name="lm_expressive",
            title="expressive language model",
            needs=("blocks_expressive", "vocoder_expressive"),
            minutes=5,
            run_folders=(f"{ROOT}/runs/lm_expressive",),
            commands=(fit(budget, "lm/base_quickstart", "lm/quickstart_expressive"),),
        ),
        Stage(
            name="measure_expressivity",
            title="measure resynthesis, with and without",
            needs=("vocoder_dialogue", "vocoder_expressive", "judges"),
            minutes=6,
            commands=(
                *(
                    (
                        "evaluate",
                        "expressivity",
                        vocoders,
                        f"{UNITS}/{name}",
                        corpus,
                        f"{REPORTS}/expressivity_{name}.json",
                        f"--utterances={MEASURED[name]}",
                        f"--audio={SAMPLES}/{name}",
                        f"--style_judge={ROOT}/judges/{style_judges.get(name, 'style')}",
                        f"--speaker_judge={ROOT}/judges/speaker",
                    )
                    for name, corpus in measured.items()
                ),
                (
                    *("evaluate", "prosody", vocoders, f"{UNITS}/prosody", PROSODY, f"{REPORTS}/prosody.json"),
                    f"--contrasts=[{', '.join(f'[{first}, {second}]' for first, second in CONTRASTS)}]",
                ),
            ),
        ),
        Stage(
            name="measure_codes",
            title="measure tokens",
            needs=("units_expressive",),
            minutes=0.2,
            commands=(
                (
                    "evaluate",
                    "codes",
                    f"[{', '.join(f'{UNITS}/{name}' for name in (*measured, 'stories'))}]",
                    f"{REPORTS}/codes.json",
                ),
            ),
        ),
        Stage(
            name="measure_lm_expressive",
            title="measure language model",
            needs=("lm_expressive",),
            minutes=0.4,
            commands=(
                (
                    "evaluate",
                    "choice",
                    f"{MODEL}/lm",
                    f"{UNITS}/stories",
                    f"{REPORTS}/choice_expressive_stories.json",
                    "--kind=stories",
                ),
                measure_endings(MODEL, UNITS, SAMPLES, f"{REPORTS}/endings_expressive.json"),
            ),
        ),
        Stage(
            name="samples_expressive",
            title="samples in all directions",
            needs=("measure_lm_expressive", "vocoder_expressive"),
            minutes=0.3,
            commands=tuple(
                (
                    "generate",
                    *prompt,
                    "--output",
                    output,
                    f"--out={SAMPLES}/{name}_to_{output}",
                    f"--model={MODEL}",
                    f"--speaker={VOICE}",
                    "--seed=0",
                )
                for name, prompt in (
                    ("text", ("--text", "One morning the fox reached the river.")),
                    ("speech", ("--speech", f"{SAMPLES}/{BEGINNINGS}/beginning_1.wav")),
                )
                for output in ("text", "speech")
            ),
        ),
    ]
