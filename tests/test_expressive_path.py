"""The expressive path end to end in miniature: from audio to an answer that has pitch and style."""

import json
from pathlib import Path

import pytest

from spiritlm_pl.cli.main import run
from spiritlm_pl.evaluation.resynthesis import SAMPLE_RATE
from spiritlm_pl.generation import GenerationSettings, Speech, SpiritLM
from spiritlm_pl.runtime.checkpoint import load_network, save_network
from spiritlm_pl.streams import PITCH, STYLE, UNIT
from spiritlm_pl.tokenizers.hubert import HubertConfig, HubertNetwork

QUIET = [
    "--trainer.logger=false",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.val_check_interval=null",
    "--trainer.precision=32-true",
]
HUBERT = {
    "extractor_mode": "mel",
    "channels": 20,
    "embed_dim": 16,
    "num_layers": 2,
    "num_heads": 2,
    "feed_forward_dim": 32,
    "pos_conv_kernel": 9,
    "pos_conv_groups": 4,
    "num_classes": 5,
    "final_dim": 8,
}
SPEAKERS = "[espeak-en-gb+f4, espeak-en-gb+m3, espeak-en-us, espeak-en-us+f2]"
CORPUS = "quickstart/corpora/styles"


def export(folder: str) -> str:
    init = f'{{"dirpath": "{folder}"}}'
    return f'--trainer.callbacks=[{{"class_path": "spiritlm_pl.callbacks.export.ExportNetwork", "init_args": {init}}}]'


@pytest.mark.slow
def test_from_audio_to_an_expressive_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(["prepare", "styles", CORPUS, "--sentences=32", "--test_fraction=0.3", "--num_jobs=1"])
    run(["extract-f0", CORPUS, "--extractor=yin", "--name=fcpe"])
    hubert = HubertConfig(**HUBERT)
    save_network("quickstart/hubert_expressive", HubertNetwork(hubert), "hubert")
    corpora = f"--data.init_args.corpora=[{CORPUS}]"
    short = [corpora, *QUIET, "--trainer.max_steps=2"]
    run(["fit", "--config", "pitch/quickstart", *short, export("pitch")])
    run(["fit", "--config", "style/quickstart_features", *short, export("quickstart/style_features")])
    kmeans = ["--model.init_args.config={num_units: 5, feature_dim: 16}", "--model.init_args.start_frames=10"]
    run(
        [
            "fit",
            "--config",
            "style/quickstart_clusters",
            *kmeans,
            corpora,
            *QUIET,
            export("quickstart/tokenizer_style_clusters"),
        ]
    )
    run(["fit", "--config", "style/quickstart", *short, export("style")])
    units = ["--model.init_args.config={num_units: 20, feature_dim: 16}", "--model.init_args.start_frames=100"]
    layer = "--data.init_args.features.layer=1"
    quantizer = ["--config", "quantizer/quickstart", "--config", "quantizer/quickstart_expressive"]
    run(["fit", *quantizer, *units, layer, corpora, *QUIET, export("units")])
    tokenizer = "quickstart/model_expressive/speech_tokenizer"
    run(["join-tokenizers", "units", "pitch", "style", tokenizer, "--f0=yin"])
    run(["predict", "--config", "tokenize/quickstart_expressive", corpora])
    shards = "quickstart/units_expressive/styles"
    run(["train-text-tokenizer", "quickstart/text_tokenizer", "--corpora", f"[{CORPUS}]"])
    run(
        ["build-blocks", f"[{shards}]", "quickstart/text_tokenizer", "quickstart/blocks_expressive", "--multiple_of=64"]
    )

    vocoder = ["--config", "vocoder/quickstart", "--config", "vocoder/quickstart_dialogue"]
    data = [
        corpora,
        f"--data.init_args.units=[{shards}]",
        f"--data.init_args.speakers={SPEAKERS}",
        "--data.init_args.repeats=1",
        "--data.init_args.batch_size=2",
    ]
    config = "--model.init_args.network.init_args.config"
    tiny = [
        f"{config}.speakers={SPEAKERS}",
        f"{config}.num_units=20",
        f"{config}.channels=16",
        f"{config}.hidden_channels=16",
    ]
    run(["fit", *vocoder, *data, *tiny, *QUIET, "--trainer.max_steps=2", export("base_vocoder")])
    codes = [f"{config}.num_styles=5", "--config", "vocoder/quickstart_expressive"]
    expressive = "quickstart/model_expressive/vocoder"
    run(["fit", *vocoder, *codes[1:], *data, *tiny, codes[0], *QUIET, "--trainer.max_steps=2", export(expressive)])
    small = ["--data.init_args.num_workers=0", "--data.init_args.batch_size=1", "--data.init_args.row_length=128"]
    lm = ["--config", "lm/base_quickstart", "--config", "lm/quickstart_expressive"]
    run(["fit", *lm, *small, *QUIET, "--trainer.max_steps=2", export("quickstart/model_expressive/lm")])

    recording = next(Path(CORPUS, "audio").rglob("*.wav"))
    spirit_lm = SpiritLM.load("quickstart/model_expressive/lm", tokenizer, expressive, speaker="espeak-en-us")
    settings = GenerationSettings(max_new_tokens=40, num_samples=2)
    prompt = spirit_lm.encode_prompt([Speech(str(recording))])
    labels = {spirit_lm.vocabulary.label(token) for token in prompt.tokens}
    assert {UNIT, PITCH, STYLE} <= labels
    answers = spirit_lm.generate([Speech(str(recording))], "speech", settings)
    spoken = [piece for pieces in answers for piece in pieces if isinstance(piece, Speech)]
    assert spoken and all(piece.sample_rate == SAMPLE_RATE and piece.waveform.isfinite().all() for piece in spoken)

    vocoders = f'{{"Base": "base_vocoder", "Expressive": "{expressive}"}}'
    run(["fit", "--config", "style/quickstart_classifier", *short, export("classifier")])
    options = ["--style_classifier=classifier", "--f0=yin", "--pocketsphinx=false"]
    run(["evaluate", "expressivity", vocoders, shards, CORPUS, "table.json", *options])
    systems = json.loads(Path("table.json").read_text())["systems"]
    assert systems["Expressive"]["bitrate"] > systems["Base"]["bitrate"] and systems["original"]["style"] is not None
    assert load_network(expressive, "vocoder").config.num_styles == 5
