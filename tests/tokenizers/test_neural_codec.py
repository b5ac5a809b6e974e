"""Importing codecs of transformers: what they give, and what is refused at once."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel

from spiritlm_pl.cli.main import run
from spiritlm_pl.contracts.speech_tokenizer import SpeechTokenizer
from spiritlm_pl.contracts.units import Units, check_units
from spiritlm_pl.contracts.vocoder import CodebookDecoder
from spiritlm_pl.evaluation.unit_metrics import unit_report
from spiritlm_pl.generation import SpiritLM
from spiritlm_pl.generation.codec import speech_vocabulary
from spiritlm_pl.generation.loading import load_speech_tokenizer, load_vocoder, speech_vocabulary_of
from spiritlm_pl.generation.synthesis import CodebookSynthesis
from spiritlm_pl.runtime.checkpoint import TOKENIZER_STAGE, save_network
from spiritlm_pl.runtime.lineage import read_note
from spiritlm_pl.tokenizers import neural_codec
from spiritlm_pl.tokenizers.expressive import load_tokenizer, speech_fingerprint
from spiritlm_pl.tokenizers.neural_codec import NeuralCodec

SMALL = {"hidden_size": 16, "num_filters": 4, "codebook_size": 32, "num_lstm_layers": 1}


def encodec(folder: Path, filled: bool = True, **values: object) -> str:
    torch.manual_seed(0)
    made = EncodecModel(EncodecConfig(**{"target_bandwidths": [0.75, 3.0], **SMALL, **values}))
    for name, buffer in made.named_buffers():
        if name.endswith("codebook.embed") and filled:
            buffer.normal_()
    made.save_pretrained(folder)
    return str(folder)


def test_a_codec_hears_and_speaks_and_is_the_same_wherever_it_came_from(tmp_path: Path) -> None:
    made = [NeuralCodec.load_pretrained(encodec(tmp_path / name), num_codebooks=4) for name in ("here", "there")]
    prints = [
        speech_fingerprint(save_network(tmp_path / f"{n}", codec, TOKENIZER_STAGE)) for n, codec in enumerate(made)
    ]
    made[1].config = replace(made[1].config, lookahead=3, batched=False)  # as another machine may measure it
    prints.append(speech_fingerprint(save_network(tmp_path / "1", made[1], TOKENIZER_STAGE)))
    made[1].config = replace(made[1].config, num_codebooks=3)
    assert speech_fingerprint(save_network(tmp_path / "1", made[1], TOKENIZER_STAGE)) != prints[0]
    assert prints[0] == prints[1] == prints[2]
    codec = load_tokenizer(tmp_path / "0")
    assert isinstance(codec, SpeechTokenizer) and isinstance(codec, CodebookDecoder)
    assert (codec.sample_rate, codec.hop_length, codec.frame_rate, codec.lookahead) == (24_000, 320, 75.0, 0)
    waveforms = 0.1 * torch.randn(3, 24_000, generator=torch.Generator().manual_seed(1))
    units = codec.encode(waveforms, torch.tensor([24_000, 9_999, 0]))
    assert [one.num_frames for one in units] == [75, 32, 0]
    alone = codec.encode(waveforms[1:2, :9_999], torch.tensor([9_999]))[0]
    assert torch.equal(alone.values, units[1].values)
    for one in units:
        check_units(one, codec.layout)
    assert codec.decode_frames(units[0].values).shape == (24_000,)
    part, whole = (codec.decode_frames(units[0].values[:frames])[: 40 * 320] for frames in (40, 75))
    assert torch.allclose(part, whole, atol=1e-5)  # causal


def test_the_lookahead_of_a_decoder_that_is_not_causal_is_measured(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"encoder_hidden_size": 4, "decoder_hidden_size": 64, "hidden_size": 64, "codebook_dim": 4}
    DacModel(DacConfig(n_codebooks=4, codebook_size=32, **sizes)).save_pretrained(tmp_path)
    codec = NeuralCodec.load_pretrained(str(tmp_path), num_codebooks=4)
    assert 0 < codec.lookahead < 31
    codes = torch.randint(32, (40, 4), generator=torch.Generator().manual_seed(2))
    whole, hop = codec.decode_frames(codes), codec.hop_length
    part = codec.decode_frames(codes[: 20 + codec.lookahead])
    assert torch.allclose(part[: 20 * hop], whole[: 20 * hop], atol=1e-5)


def test_a_decoder_that_hears_everything_waits_for_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = NeuralCodec.decode_frames
    monkeypatch.setattr(NeuralCodec, "decode_frames", lambda self, codes: decode(self, codes) + codes[-1].sum())
    codec = NeuralCodec.load_pretrained(encodec(tmp_path), num_codebooks=2)
    assert codec.lookahead == neural_codec.WHOLE_SPEECH
    codes = torch.randint(32, (600, 2), generator=torch.Generator().manual_seed(2))
    vocabulary = speech_vocabulary(codec.layout)
    tokens = [vocabulary.token("codec", code, book) for frame in codes.tolist() for book, code in enumerate(frame)]
    synthesis = CodebookSynthesis(codec, vocabulary)
    stream = synthesis.stream(None, 10, None)
    assert len(stream.add(tokens[:1190])) == 0  # more than was probed
    assert torch.equal(stream.add(tokens[1190:], ended=True), synthesis.speak(tokens))


def test_waveforms_of_as_many_frames_are_encoded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = NeuralCodec.load_pretrained(encodec(tmp_path), num_codebooks=4, semantic=True)
    monkeypatch.setattr(neural_codec, "CHUNK_SECONDS", 0.5)
    waveforms = 0.1 * torch.randn(7, 20_000, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([3_200, 3_199, 20_000, 0, 2_881, 5_000, 3_200])  # 10 frames, and 63 in chunks of 38
    sizes: list[int] = []
    encode = codec.codec.encode

    def counted(batch: torch.Tensor, bandwidth: float) -> object:
        sizes.append(len(batch))
        return encode(batch, bandwidth=bandwidth)

    monkeypatch.setattr(codec.codec, "encode", counted)
    together = codec.encode(waveforms, lengths)
    assert codec.config.batched and sorted(sizes) == [1, 1, 1, 1, 3]
    for waveform, length, units in zip(waveforms, lengths.tolist(), together, strict=True):
        alone = codec.encode(waveform[None, :length], torch.tensor([length]))[0]
        assert units.num_frames == -(-length // 320) == alone.num_frames
        assert torch.equal(units.values, alone.values) and torch.equal(units.codes["acoustic"], alone.codes["acoustic"])


def test_a_codec_that_mixes_up_a_batch_encodes_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = EncodecModel.encode

    def codebooks_first(self: EncodecModel, batch: torch.Tensor, bandwidth: float) -> object:
        found = encode(self, batch, bandwidth=bandwidth)
        found.audio_codes = found.audio_codes[0].transpose(0, 1)
        return found

    source = encodec(tmp_path)
    as_it_is = NeuralCodec.load_pretrained(source, num_codebooks=4)
    monkeypatch.setattr(EncodecModel, "encode", codebooks_first)
    other = NeuralCodec.load_pretrained(source, num_codebooks=4)
    assert as_it_is.config.batched and not other.config.batched
    waveforms = 0.1 * torch.randn(4, 9_600, generator=torch.Generator().manual_seed(1))
    found = other.encode(waveforms, torch.tensor([9_600] * 4))
    monkeypatch.undo()
    expected = as_it_is.encode(waveforms, torch.tensor([9_600] * 4))
    assert all(torch.equal(one.values, two.values) for one, two in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ({}, {"num_codebooks": 9}, "frames of at least 9 codes .* but EncodecModel gives 75 of 8"),
        ({"filled": False}, {"num_codebooks": 4}, "must decode other codes to another waveform, but"),
        ({"normalize": True}, {"num_codebooks": 4}, "normalize of codec .* must be unset, but is True"),
        ({"chunk_length_s": 1.0, "overlap": 0.01}, {"num_codebooks": 4}, "chunk_length_s of codec .* is 1.0"),
        ({"audio_channels": 2}, {"num_codebooks": 4}, "codec must be of one channel, but .* has 2"),
        ({}, {"num_codebooks": 1, "semantic": True}, "num_codebooks must be at least 2 with semantic, but is 1"),
    ],
)
def test_what_cannot_be_used_is_refused_when_it_is_imported(
    values: dict[str, object], options: dict[str, object], message: str, tmp_path: Path
) -> None:
    source = encodec(tmp_path, **values)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        NeuralCodec.load_pretrained(source, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "value"), [("overlap", ""), ("num_filters", "x"), ("upsampling_ratios", 3)])
def test_a_codec_of_wrong_values_is_told(tmp_path: Path, name: str, value: object) -> None:
    config = Path(encodec(tmp_path)) / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), name: value}))
    with pytest.raises(ValueError, match="codec must be a folder or hub name of transformers, but .* is not"):
        NeuralCodec.load_pretrained(str(tmp_path))


def test_a_codec_of_ours_with_wrong_values_is_told(tmp_path: Path) -> None:
    codec = NeuralCodec.load_pretrained(encodec(tmp_path / "source"), num_codebooks=2)
    config = save_network(tmp_path / "ours", codec, TOKENIZER_STAGE) / "config.json"
    (tmp_path / "ours" / "SHA256SUMS").unlink()
    whole = config.read_text()
    for name, value in (("trim_right_ratio", '"1.0"'), ("compress", '"aa"')):
        config.write_text(re.sub(rf'("{name}": )[^,\n}}]+', rf"\g<1>{value}", whole))
        with pytest.raises(ValueError, match="codec must be a configuration of transformers, but is not: "):
            load_tokenizer(tmp_path / "ours")
    config.write_text(whole.replace('"chunk_length_s": null', '"chunk_length_s": 1e30'))
    with pytest.raises(ValueError, match=r"chunk_length_s of codec EncodecModel must be unset, but is 1e\+30"):
        load_tokenizer(tmp_path / "ours")


def test_no_codec_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="codec must be a folder or hub name of transformers, but .* is not"):
        NeuralCodec.load_pretrained(str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (Units.of_codebooks(torch.full((3, 4), 32)), r"codec must be in \[0, 32\), but is 32"),
        (Units.of_codebooks(torch.zeros(3)), r"codes of codec must have 4 codebooks, but have shape \(3,\)"),
        (Units.of_codebooks(torch.zeros(3, 4), {"more": torch.zeros(3)}), "of the streams codec .* ones are more"),
        (Units(torch.zeros(3, 4).long(), torch.arange(2), 3), "starts must be 3, one for each unit, but are 2"),
    ],
)
def test_tokens_that_are_not_of_the_layout_are_refused(units: Units, message: str, tmp_path: Path) -> None:
    codec = NeuralCodec.load_pretrained(encodec(tmp_path), num_codebooks=4)
    with pytest.raises(ValueError, match=message):
        check_units(units, codec.layout)


def test_what_is_no_codec_of_transformers_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    source = encodec(tmp_path / "source")
    out = save_network(tmp_path / "own", NeuralCodec.load_pretrained(source, num_codebooks=2), TOKENIZER_STAGE)
    with pytest.raises(
        ValueError, match="must be one of transformers, but .*own is a speech tokenizer of ours already"
    ):
        NeuralCodec.load_pretrained(str(out))
    capsys.readouterr()
    caplog.clear()
    with pytest.raises(ValueError, match=r"all weights of DacModel, but .* lacks \d+ of them, such as decoder"):
        NeuralCodec.load_pretrained(source, class_path="transformers.DacModel")
    assert "MISSING" not in caplog.text + "".join(capsys.readouterr())
    with pytest.raises(ValueError, match="class_path of a neural codec must be a PreTrainedModel, but is tr"):
        NeuralCodec.load_pretrained(source, class_path="transformers.DacConfig")
    with pytest.raises(ValueError, match="is not: there is no such folder, and"):
        NeuralCodec.load_pretrained(str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="'speech_tokenizer', but is .*; `spiritlm import-codec` makes one"):
        load_tokenizer(source)
    with pytest.raises(ValueError, match="made of features and a quantizer, .* but .*own is of one class"):
        unit_report(out, [])


def test_import_leaves_a_note_and_replaces_nothing(tmp_path: Path) -> None:
    source = encodec(tmp_path / "source")
    run(["import-codec", source, str(tmp_path / "out"), "--num-codebooks=2"])
    note = read_note(tmp_path / "out")
    assert note is not None and note["stage"] == "import_codec"
    alone = tmp_path / "alone"  # a model folder without a language model
    shutil.copytree(tmp_path / "out", alone / "speech_tokenizer")
    assert load_vocoder(alone) is not None and load_speech_tokenizer(alone) is not None
    assert speech_vocabulary_of(alone, load_tokenizer(tmp_path / "out").layout).streams[0].num_codebooks == 2
    with pytest.raises(FileNotFoundError, match="language model must be a folder"):
        SpiritLM.from_pretrained(alone)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    for out in (source, str(tmp_path / "out")):
        with pytest.raises(ValueError, match="OUT must be a new folder, but .* holds "):
            run(["import-codec", source, out, "--num-codebooks=1"])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


@pytest.mark.parametrize(
    ("options", "message"), [({"num_codebooks": 0}, "num_codebooks must"), ({"device": "cuda:99"}, "device must")]
)
def test_wrong_arguments_are_told_before_the_codec_is_read(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NeuralCodec.load_pretrained("nobody/nothing", **options)  # type: ignore[arg-type]
