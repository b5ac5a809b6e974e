"""Stages of the quickstart, as the `spiritlm` commands that a user could type one by one."""

import shutil
from pathlib import Path

from omegaconf import OmegaConf

from spiritlm_pl.cli.configs import find_config
from spiritlm_pl.quickstart.stage import ROOT, Stage
from spiritlm_pl.runtime.devices import cpu_has_bfloat16

CORPORA, MODEL, REPORTS, SAMPLES = ROOT / "corpora", ROOT / "model", ROOT / "reports", ROOT / "samples"
PROMPTS, STORIES = f"{CORPORA}/prompts", f"{CORPORA}/stories"
UNITS, BLOCKS = ROOT / "units", ROOT / "blocks"
TEXT_TOKENIZER = f"{ROOT}/text_tokenizer"
SEPARATE_LM = f"{ROOT}/lm_separate"
SHORTEST_RUN = 4  # optimizer steps
APT, SYNTHETIC = "apt", "synthetic"  # sources of the prompts, apart from paths
BEGINNINGS = "beginnings"  # folder of held-out stories among the samples
VOICE = "espeak-en-us"  # of the samples; that of the spoken stories, which all vocoders learn


def fit(budget: float, *configs: str) -> tuple[str, ...]:
    """Return the command that trains with a configuration and its overlays.

    The number of steps is scaled by the budget, with at least one validation at the end; the precision suits this
    processor.
    """
    command = ["fit", *(word for config in configs for word in ("--config", config))]
    settings = [OmegaConf.load(find_config(config)) for config in configs]
    steps, interval, precision = (
        next((found for one in reversed(settings) if (found := OmegaConf.select(one, f"trainer.{name}"))), None)
        for name in ("max_steps", "val_check_interval", "precision")
    )
    if budget != 1 and steps is not None:
        count = max(SHORTEST_RUN, round(steps * budget))
        command.append(f"--trainer.max_steps={count}")
        if interval is not None and interval > count:
            command.append(f"--trainer.val_check_interval={count}")
    if precision == "bf16-mixed" and not cpu_has_bfloat16():
        command.append("--trainer.precision=32-true")
    return tuple(command)


def measure_endings(model: Path, units: Path, samples: Path, out: str) -> tuple[str, ...]:
    """Return the command that measures endings of continued stories and saves the first beginnings as audio."""
    recordings = (f"--corpus={STORIES}", f"--audio={samples}/{BEGINNINGS}")
    return ("evaluate", "endings", f"{model}/lm", f"{units}/stories", out, *recordings)


def found_source(source: str) -> str:
    """Resolve the source `auto` for this machine; other sources are returned unchanged.

    Raises:
        ValueError: if the source is neither `auto`, `apt`, `synthetic` nor a path that exists.
    """
    if source == "auto":
        return APT if shutil.which("apt-get") else SYNTHETIC
    if source not in (APT, SYNTHETIC) and not Path(source).exists():
        raise ValueError(f"source must be auto, apt, synthetic, or a folder or .deb that exists, but is {source!r}")
    return source


def real_speech(source: str) -> tuple[tuple[str, ...], ...]:
    """Return commands that make the corpus of real prompts, or its stand-in if it cannot be fetched."""
    if source == SYNTHETIC:
        return (("prepare", "stories", PROMPTS, "--count=400", "--seed=1"),)
    if source == APT:
        return (("prepare", "debian_prompts", PROMPTS), ("align", PROMPTS))
    return (("prepare", "debian_prompts", PROMPTS, f"--source={source}"), ("align", PROMPTS))


def quickstart_stages(source: str, budget: float, stories: int) -> list[Stage]:
    """Return all stages, each after those it needs.

    Args:
        source: source of the real prompts, as in `quickstart`.
        budget: factor that all numbers of training steps are multiplied by.
        stories: number of spoken stories, for training and test.
    """
    source = found_source(source)
    units = [f"{UNITS}/prompts", f"{UNITS}/stories"]
    title = "stories in place of real speech" if source == SYNTHETIC else "real speech: fetch, align"
    return [
        Stage(name="prompts", title=title, commands=real_speech(source), threads=2, minutes=0.5),
        Stage(
            name="stories",
            title="spoken stories",
            threads=2,
            minutes=0.4,
            commands=(("prepare", "stories", STORIES, f"--count={stories}"),),
        ),
        Stage(
            name="mfcc",
            title="MFCC units (baseline)",
            needs=("prompts", "stories"),
            threads=2,
            minutes=0.5,
            commands=(fit(budget, "quantizer/quickstart_mfcc"), ("predict", "--config", "tokenize/quickstart_mfcc")),
        ),
        Stage(
            name="hubert_1",
            title="HuBERT, iteration 1",
            needs=("mfcc",),
            threads=2,
            minutes=1.8,
            run_folders=(f"{ROOT}/runs/hubert_1",),
            commands=(
                fit(budget, "hubert/quickstart"),
                fit(budget, "quantizer/quickstart_hubert_1"),
                ("predict", "--config", "tokenize/quickstart_hubert_1"),
            ),
        ),
        Stage(
            name="hubert_2",
            title="HuBERT, iteration 2",
            needs=("hubert_1",),
            threads=2,
            minutes=1.8,
            run_folders=(f"{ROOT}/runs/hubert_2",),
            commands=(fit(budget, "hubert/quickstart", "hubert/quickstart_iteration2"),),
        ),
        Stage(
            name="units",
            title="HuBERT units, corpus tokenised",
            needs=("hubert_2",),
            threads=2,
            minutes=2.2,
            commands=(
                fit(budget, "quantizer/quickstart"),
                fit(budget, "quantizer/quickstart_ctc"),
                ("predict", "--config", "tokenize/quickstart"),
            ),
        ),
        Stage(
            name="blocks",
            title="text tokenizer, training blocks",
            needs=("units",),
            threads=2,
            minutes=0.1,
            commands=(
                ("train-text-tokenizer", TEXT_TOKENIZER, "--corpora", f"[{PROMPTS}, {STORIES}]"),
                ("build-blocks", f"[{', '.join(units)}]", TEXT_TOKENIZER, str(BLOCKS), "--multiple_of=64"),
            ),
        ),
        Stage(
            name="vocoder",
            title="vocoder",
            needs=("units",),
            threads=2,
            minutes=5,
            run_folders=(f"{ROOT}/runs/vocoder",),
            commands=(fit(budget, "vocoder/quickstart"),),
        ),
        Stage(
            name="lm",
            title="language model, interleaved",
            needs=("blocks", "vocoder"),
            minutes=5,
            run_folders=(f"{ROOT}/runs/lm",),
            commands=(fit(budget, "lm/base_quickstart"),),
        ),
        Stage(
            name="lm_separate",
            title="language model, not interleaved",
            needs=("blocks", "vocoder"),
            minutes=5,
            run_folders=(f"{ROOT}/runs/lm_separate",),
            commands=(fit(budget, "lm/base_quickstart", "lm/overlay_quickstart_separate"),),
        ),
        Stage(
            name="measure_units",
            title="measure units",
            needs=("units",),
            minutes=0.4,
            commands=(
                (
                    "evaluate",
                    "units",
                    f'{{"mfcc": "{ROOT}/tokenizer_mfcc", "hubert": "{MODEL}/speech_tokenizer"}}',
                    f"[{PROMPTS}, {STORIES}]",
                    f"{REPORTS}/units.json",
                ),
            ),
        ),
        Stage(
            name="measure_lm",
            title="measure language models",
            needs=("lm", "lm_separate"),
            minutes=0.6,
            commands=(
                *(
                    (
                        "evaluate",
                        "choice",
                        lm,
                        f"{UNITS}/{corpus}",
                        f"{REPORTS}/choice_{name}_{kind}.json",
                        f"--kind={kind}",
                    )
                    for lm, name in ((f"{MODEL}/lm", "interleaved"), (SEPARATE_LM, "separate"))
                    for corpus, kind in (("stories", "stories"), ("prompts", "sentences"))
                    if corpus == "stories" or source != SYNTHETIC
                ),
                measure_endings(MODEL, UNITS, SAMPLES, f"{REPORTS}/endings.json"),
            ),
        ),
        Stage(
            name="measure_vocoder",
            title="measure resynthesis",
            needs=("vocoder",),
            minutes=0.6,
            commands=(
                (
                    "evaluate",
                    "resynthesis",
                    f"{MODEL}/vocoder",
                    f"{UNITS}/prompts",
                    PROMPTS,
                    f"{REPORTS}/resynthesis.json",
                    f"--audio={SAMPLES}/resynthesis",
                ),
            ),
        ),
        Stage(
            name="samples",
            title="samples in all directions",
            needs=("lm", "vocoder"),
            minutes=0.3,
            commands=tuple(
                (
                    "generate",
                    "--text",
                    "One morning the fox reached the river.",
                    "--output",
                    output,
                    f"--out={SAMPLES}/text_to_{output}",
                    f"--model={MODEL}",
                    f"--speaker={VOICE}",
                    "--seed=0",
                )
                for output in ("text", "speech")
            ),
        ),
    ]
