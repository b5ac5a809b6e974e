"""A neural codec as speech tokenizer and vocoder in one, from audio to an answer that is heard."""

import json
from pathlib import Path

import pytest
import soundfile
import torch
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel, MimiConfig, MimiModel, PreTrainedModel

from spiritlm_pl.cli.main import run
from spiritlm_pl.data.blocks import read_manifest
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.generation import GenerationSettings, Speech, SpiritLM, Text
from spiritlm_pl.generation.codebooks import codebook_frames

from .conftest import make_tone_corpus

QUIET = ["--trainer.logger=false", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]


def codec(family: str) -> PreTrainedModel:
    """A miniature with random codebooks, which start at zero in some families."""
    torch.manual_seed(0)
    made: PreTrainedModel
    if family == "mimi":
        sizes = {"hidden_size": 32, "num_filters": 4, "codebook_dim": 16, "vector_quantization_hidden_dimension": 16}
        layers = {"num_hidden_layers": 1, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2}
        made = MimiModel(MimiConfig(num_quantizers=6, codebook_size=32, upsample_groups=32, **sizes, **layers))
    elif family == "encodec":
        small = {"hidden_size": 16, "num_filters": 4, "codebook_size": 32, "num_lstm_layers": 1}
        made = EncodecModel(EncodecConfig(target_bandwidths=[0.75, 3.0], **small))
    else:
        small = {"encoder_hidden_size": 4, "decoder_hidden_size": 64, "hidden_size": 64, "codebook_dim": 4}
        made = DacModel(DacConfig(n_codebooks=4, codebook_size=32, **small))
    for name, buffer in made.named_buffers():
        if name.endswith(("embed_sum", "codebook.embed")):
            buffer.normal_()
    return made


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:all frames of .* utterances")  # random weights may hear one thing in all of them
@pytest.mark.parametrize(
    ("family", "rate", "semantic", "delay", "tokens"),
    [("mimi", 24_000, True, 1, 4), ("encodec", 24_000, False, 0, 2), ("dac", 16_000, False, 2, 4)],
)
def test_from_audio_to_an_answer_that_is_heard(
    family: str, rate: int, semantic: bool, delay: int, tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    codec(family).save_pretrained("source")
    folder = "quickstart/model_codec/speech_tokenizer"
    run(["import-codec", "source", folder, f"--num-codebooks={tokens}", f"--semantic={semantic}"])
    corpus = make_tone_corpus(Path("corpus"))
    predict = ["predict", "--config", "tokenize/base", "--config", "tokenize/codec", *QUIET]
    writer = "spiritlm_pl.callbacks.write_units.WriteUnits"
    run(
        [
            *predict,
            f"--model.init_args.tokenizer={folder}",
            f"--data.init_args.sample_rate={rate}",
            f"--data.init_args.corpora=[{corpus}]",
            "--data.init_args.num_workers=0",
            "--trainer.strategy=auto",
            f'--trainer.callbacks=[{{"class_path": "{writer}", "init_args": {{"folder": "quickstart/units_codec"}}}}]',
        ]
    )
    shards = UnitCorpus("quickstart/units_codec/tones")
    assert shards.layout.tokens_per_frame == tokens and shards.layout.names[0] == ("semantic" if semantic else "codec")
    run(["train-text-tokenizer", "quickstart/text_tokenizer", "--corpora", f"[{corpus}]"])
    blocks = ["build-blocks", "[quickstart/units_codec/tones]", "quickstart/text_tokenizer", "quickstart/blocks_codec"]
    run([*blocks, "--multiple_of=64", f"--codebook-delay={delay}"])
    vocabulary = read_manifest("quickstart/blocks_codec/train/speech").vocabulary
    delays = [delay for stream in vocabulary.streams for delay in stream.delays]
    assert delays == ([delay * codebook for codebook in range(tokens)] if delay else [])

    small = ["--data.init_args.num_workers=0", "--data.init_args.batch_size=1", "--data.init_args.row_length=256"]
    callbacks = [
        {
            "class_path": "spiritlm_pl.callbacks.generate_samples.GenerateSamples",
            "init_args": {"texts": ["w200"], "units": "quickstart/units_codec/tones", "vocoder": folder},
        },
        {
            "class_path": "spiritlm_pl.callbacks.export.ExportNetwork",
            "init_args": {"dirpath": "quickstart/model_codec/lm"},
        },
    ]
    sizes = "--model.init_args.network.config={model_type: llama, hidden_size: 32, intermediate_size: 64, "
    sizes += "num_hidden_layers: 2, num_attention_heads: 2, max_position_embeddings: 512}"
    lm = ["fit", "--config", "lm/base_quickstart", "--config", "lm/quickstart_codec", *small, *QUIET, sizes]
    steps = ["--trainer.max_steps=2", "--trainer.val_check_interval=null", "--trainer.precision=32-true"]
    run([*lm, *steps, f"--trainer.callbacks={json.dumps(callbacks)}"])

    model = SpiritLM.from_pretrained("quickstart/model_codec")  # its speech tokenizer is its vocoder, too
    recording = next((corpus / "audio").glob("*.wav"))
    settings = GenerationSettings(max_new_tokens=80, min_speech_units=1)
    prompts = [[Speech(str(recording))], [Text("w200 w400")]]
    for prompt in prompts:
        (answer,) = model.generate(prompt, "speech", settings)
        (spoken,) = answer
        assert isinstance(spoken, Speech) and spoken.tokens is not None and spoken.sample_rate == rate
        frames = codebook_frames(spoken.tokens, vocabulary)  # all but those that lack their last codes
        assert len(frames) == len(spoken.tokens) // tokens
        assert len(frames) >= 80 // tokens - max([0, *delays]) or answer.finish_reason == "stop"
        assert len(spoken.waveform) % model.vocoder.hop_length == 0 and spoken.waveform.isfinite().all()
        streamed = [piece.piece for piece in model.stream(prompt, "speech", settings) if hasattr(piece, "piece")]
        joined = torch.cat([piece.waveform for piece in streamed])
        assert joined.shape == spoken.waveform.shape and torch.allclose(joined, spoken.waveform, atol=1e-4)

    run(["evaluate", "codes", "[quickstart/units_codec/tones]", "codes.json"])
    bits = json.loads(Path("codes.json").read_text())
    assert json.dumps(bits).count('"nominal_bitrate"')
    run(["tokenize", str(recording), "--model=quickstart/model_codec", "--out=tokens.jsonl"])
    read = model.encode_prompt(prompts[0])
    written = json.loads(Path("tokens.jsonl").read_text())["tokens"]
    assert model.encode_prompt(f"[Speech]{written}").tokens == read.tokens  # in the order that the model reads
    run(["vocode", "tokens.jsonl", "--model=quickstart/model_codec", "--audio=spoken"])
    (heard,) = Path("spoken").glob("*.wav")
    whole = model.vocoder.decode_frames(codebook_frames(read.speech.tokens, vocabulary))
    assert soundfile.info(heard).frames == len(whole)
