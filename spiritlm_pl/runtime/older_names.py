"""Earlier names of modules, for configurations, folders and code that were written with them."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = "spiritlm_pl."
# Earlier name of a module -> modules that have its contents now. Removed packages map to nothing themselves.
MODULES: dict[str, tuple[str, ...]] = {
    "batches": ("contracts.batches",),
    "callbacks.bystander": ("callbacks.evaluation_context",),
    "checkpoint": ("runtime.checkpoint",),
    "corpora.abbreviations": ("corpora.text.abbreviations",),
    "corpora.amazon_queen": ("corpora.sources.amazon_queen",),
    "corpora.columns": ("corpora.sources.columns",),
    "corpora.contexts": ("corpora.text.contexts",),
    "corpora.emov_db": ("corpora.sources.emov_db",),
    "corpora.english": ("corpora.text.english",),
    "corpora.espeak": ("corpora.synthetic.espeak",),
    "corpora.expresso": ("corpora.sources.expresso",),
    "corpora.folder": ("corpora.sources.folder",),
    "corpora.kaldi": ("corpora.sources.kaldi",),
    "corpora.lhotse_manifests": ("corpora.sources.lhotse_manifests",),
    "corpora.lhotse_recipes": ("corpora.sources.lhotse_recipes",),
    "corpora.lhotse_source": ("corpora.sources.lhotse_source",),
    "corpora.numbers": ("corpora.text.numbers",),
    "corpora.parallel": ("runtime.parallel",),
    "corpora.prompts": ("corpora.sources.prompts",),
    "corpora.sources.debian": ("corpora.debian",),
    "corpora.spoken": (
        "corpora.synthetic.spoken",
        "corpora.synthetic.spoken_stories",
        "corpora.synthetic.spoken_texts",
    ),
    "corpora.stories": ("corpora.synthetic.stories",),
    "corpora.styles": ("corpora.synthetic.styles",),
    "corpora.tables": ("corpora.sources.tables",),
    "corpora.transcripts": ("corpora.text.transcripts",),
    "devices": ("runtime.devices",),
    "evaluation.figures": ("evaluation.plots",),
    "evaluation.renditions": ("evaluation.resyntheses",),
    "evaluation.voice_judges": ("evaluation.classifiers",),
    "generation.pieces": ("generation.types",),
    "inference": ("runtime.inference",),
    "interrupts": ("runtime.interrupts",),
    "lineage": ("runtime.lineage",),
    "lm.consolidate": ("interop.deepspeed",),
    "lm.description": ("runtime.model_description",),
    "lm.export": ("interop.export",),
    "lm.fast_tokenizer": ("text_tokenizers.fast_tokenizer", "text_tokenizers.check"),
    "lm.kinds": ("lm.metrics",),
    "lm.model_card": ("interop.model_card",),
    "lm.older_names": ("lm.rotary_names",),
    "lm.plan": ("lm.cost",),
    "lm.tokenizer_check": ("text_tokenizers.check",),
    "provenance": ("runtime.provenance",),
    "release": (),
    "release.files": ("interop.release.files",),
    "release.hubert": ("interop.release.hubert",),
    "release.importing": ("interop.release.importing",),
    "release.language_model": ("interop.release.language_model",),
    "release.layout": ("interop.release.layout",),
    "release.pitch": ("interop.release.pitch",),
    "release.quantizer": ("interop.release.quantizer",),
    "release.speech": ("interop.release.speech",),
    "release.style": ("interop.release.style",),
    "release.vocoder": ("interop.release.vocoder",),
    "speech": (),
    "speech.augment": ("tokenizers.augment",),
    "speech.batching": ("data.batching",),
    "speech.contract": ("contracts.speech_tokenizer",),
    "speech.ema_codebook": ("tokenizers.ema_codebook",),
    "speech.encoders": ("tokenizers.encoders",),
    "speech.expressive": ("tokenizers.expressive",),
    "speech.f0": ("f0.extractors", "f0.frames", "f0.contour"),
    "speech.f0_measures": ("f0.measures",),
    "speech.f0_reader": ("f0.reader",),
    "speech.f0_store": ("f0.store",),
    "speech.fcpe": ("f0.fcpe",),
    "speech.features": ("tokenizers.features", "contracts.batches"),
    "speech.hubert": ("tokenizers.hubert",),
    "speech.kmeans": ("tokenizers.kmeans",),
    "speech.mel_frontend": ("tokenizers.mel_frontend",),
    "speech.mlp_quantizer": ("tokenizers.mlp_quantizer",),
    "speech.pitch_tokenizer": ("tokenizers.pitch_tokenizer",),
    "speech.pitch_vqvae": ("tokenizers.pitch_vqvae",),
    "speech.prosody": ("tokenizers.prosody",),
    "speech.style": ("tokenizers.style",),
    "speech.tokenizer": ("tokenizers.phonetic",),
    "speech.unit_metrics": ("evaluation.unit_metrics",),
    "speech.yin": ("f0.yin",),
    "text": ("text_tokenizers.tokenizer",),
    "text_backends": ("text_tokenizers.backends",),
    "tokens": (),
    "tokens.blocks": ("data.blocks",),
    "tokens.build_blocks": (
        "data.build_blocks",
        "data.utterances",
        "data.block_vocabulary",
        "corpora.text_files.source",
    ),
    "tokens.corpus_store": ("data.corpus_store", "data.unit_corpus", "data.frames", "data.unit_index"),
    "tokens.documents": ("data.documents",),
    "tokens.interleave": ("data.interleave",),
    "tokens.interleave_reference": ("data.interleave_reference",),
    "tokens.loading": ("data.loading",),
    "tokens.merge": ("data.merge",),
    "tokens.mixture": ("data.mixture", "data.turns"),
    "tokens.packing": ("data.packing",),
    "tokens.plan": ("data.parts",),
    "tokens.rng": ("data.rng",),
    "tokens.shuffling": ("data.shuffling",),
    "tokens.stream": ("data.stream", "data.block_stream"),
    "tokens.widen": ("data.collate",),
}
# Earlier name -> present name, where more than the module has changed. A module that has kept its own name calls
# `look_up_older_names` for such names.
RENAMED: dict[str, str] = {
    "callbacks.bystander.bystander": "callbacks.evaluation_context.evaluation_context",
    "corpora.lhotse_source.Piece": "corpora.sources.lhotse_source.CutUtterance",
    "evaluation.expressivity.Judged": "evaluation.expressivity.WaveformFigures",
    "evaluation.expressivity.Judges": "evaluation.expressivity.ExpressivityModels",
    "evaluation.expressivity.judge": "evaluation.expressivity.measure_waveform",
    "evaluation.renditions.Rendition": "evaluation.resyntheses.Resynthesis",
    "evaluation.renditions.renditions": "evaluation.resyntheses.resyntheses",
    "evaluation.stored_speech.judged_vocoder": "evaluation.stored_speech.load_evaluated_vocoder",
    "evaluation.voice_judges.VoiceJudge": "evaluation.classifiers.VoiceClassifier",
    "evaluation.voice_judges.load_judge": "evaluation.classifiers.load_classifier",
    "inference.KINDS": "runtime.inference.CHANNELS_LAST",
    "lm.optimizer.AdamWSettings": "lm.optimizer.OptimizerSettings",
    "speech.f0_store.Contour": "f0.store.StoredContour",
    "tokens.blocks.KINDS": "data.blocks.DOCUMENT_KINDS",
    "tokens.merge.split": "data.merge.units_with_expression",
    "tokens.documents.Word": "data.documents.WordIds",
    "tokens.widen.widen": "data.collate.collate",
    "vocoder.losses.Judgement": "vocoder.losses.DiscriminatorOutput",
}


def todays_name(path: str) -> str:
    """Return the dotted path that a class or function has now.

    Args:
        path: dotted path, such as the `class_path` in a folder that an earlier version wrote. One that has not changed,
            or is of another package, is returned as it is.
    """
    if path.removeprefix(PACKAGE) in RENAMED:
        return PACKAGE + RENAMED[path.removeprefix(PACKAGE)]
    module, _, name = path.rpartition(".")
    for candidate in MODULES.get(module.removeprefix(PACKAGE), ()):
        if hasattr(import_module(PACKAGE + candidate), name):
            return f"{PACKAGE}{candidate}.{name}"
    return path


def first_name(path: str) -> str:
    """Return the dotted path that a class had first, so that a hash over it stays the same when its module moves."""
    module, _, name = path.removeprefix(PACKAGE).rpartition(".")
    return next((f"{PACKAGE}{older}.{name}" for older, homes in MODULES.items() if module in homes), path)


class OlderNames(MetaPathFinder, Loader):
    """Finder and loader of modules by earlier names: empty modules, whose contents are looked up where they are now."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find only modules that are in the table."""
        name = fullname.removeprefix(PACKAGE)
        return (
            ModuleSpec(fullname, self, is_package=_has_children(name)) if name in MODULES and name != fullname else None
        )

    def exec_module(self, module: ModuleType) -> None:
        """Make the module look up its names when they are asked for."""
        look_up_older_names(module.__name__)


def look_up_older_names(module: str) -> None:
    """Make an imported module return what it does not define itself, but the tables have an earlier name for.

    Args:
        module: dotted name of the module, its `__name__`.
    """

    def get(name: str) -> Any:
        older = f"{module}.{name}"
        path = older if name.startswith("__") else todays_name(older)  # tools ask every module for such names
        if path == older:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(f"{older} is now {path}", DeprecationWarning, stacklevel=2)
        home, _, attribute = path.rpartition(".")
        return getattr(import_module(home), attribute)

    sys.modules[module].__getattr__ = get  # type: ignore[method-assign]


def _has_children(name: str) -> bool:
    return any(other.startswith(f"{name}.") for other in MODULES)


def install() -> None:
    """Make modules importable by their earlier names, even where files of an earlier version were left."""
    if not any(isinstance(finder, OlderNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, OlderNames())
