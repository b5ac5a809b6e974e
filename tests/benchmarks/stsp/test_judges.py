"""Judges of three kinds are found and loaded; what is none is refused before anything is generated."""

import json
import shutil

import pytest
import torch
from transformers import BertConfig, BertModel

from spiritlm_pl.benchmarks.stsp.judges import find_judge, open_judge
from spiritlm_pl.runtime.checkpoint import save_network
from spiritlm_pl.tokenizers.style import STAGE, StyleEncoder, StyleEncoderConfig


@pytest.fixture
def style_classifier(tmp_path):
    def make(labels, target="style"):
        config = StyleEncoderConfig(encoder="mfcc", settings={}, projection_dim=8, labels=labels, target=target)
        return save_network(tmp_path / f"style{len(labels)}{target}", StyleEncoder(config), STAGE)

    return make


def test_a_text_judge_tells_what_it_has_learnt(archive) -> None:
    source = find_judge(archive / "model/text_classifier", "text")
    judge = open_judge(source)
    assert source.classes == ("negative", "neutral", "positive") and open_judge(source) is judge
    told = [judge.read(text) for text in ("I love this lamp so much", "Sorry this cup is lost", "The mat has a door")]
    assert told == ["positive", "negative", "neutral"]
    assert judge.read("love " * 500) == "positive"  # longer than the judge reads


def test_a_text_judge_reads_as_far_as_it_can(archive, tmp_path) -> None:
    """Only models of RoBERTa's kind have two places that no token has."""
    shutil.copytree(archive / "model/text_classifier", tmp_path / "judge")
    judge = open_judge(find_judge(tmp_path / "judge", "text"))
    places = judge.classifier.network.config.max_position_embeddings
    seen = []
    judge.classifier.network.register_forward_pre_hook(
        lambda _, __, given: seen.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    judge.read("love " * 2 * places)
    assert seen == [places]


def test_an_audio_judge_hears_any_rate_and_any_length(archive) -> None:
    source = find_judge(archive / "model/speech_classifier", "speech")
    judge = open_judge(source)
    assert source.classes == ("angry", "default", "happy", "sad")
    wave = torch.sin(torch.arange(24_000) / 10)
    with torch.no_grad():
        values = judge.extractor(wave.numpy(), sampling_rate=16_000, return_tensors="pt")
        right = int(judge.network(**values).logits[0].argmax())
    assert judge.hear(wave, 16_000) == source.classes[right]
    assert judge.hear(wave, 24_000) in source.classes and judge.hear(wave[:1], 16_000) in source.classes


def test_a_style_classifier_of_this_package_hears(style_classifier) -> None:
    source = find_judge(style_classifier(("happy", "sad", "default")), "speech")
    assert source.own and source.classes == ("happy", "sad", "default")
    judge = open_judge(source)
    assert judge.hear(torch.randn(20_000), 16_000) in source.classes
    assert judge.hear(torch.randn(10), 22_050) in source.classes
    with pytest.raises(ValueError, match="text_judge must be a text classifier, but .* which hears"):
        find_judge(source.folder, "text")


def test_other_folders_are_refused(archive, style_classifier, tmp_path, judges) -> None:
    with pytest.raises(ValueError, match="speech_judge must be an audio classifier .* model_type 'bert'"):
        find_judge(archive / "model/text_classifier", "speech")
    with pytest.raises(ValueError, match="text_judge must be a text classifier .* model_type 'wav2vec2'"):
        find_judge(archive / "model/speech_classifier", "text")
    with pytest.raises(ValueError, match="text_judge must be the folder of a text classifier with a config.json"):
        find_judge(tmp_path / "nowhere", "text")
    with pytest.raises(ValueError, match="speech_judge must tell labels apart"):
        find_judge(style_classifier(()), "speech")
    with pytest.raises(ValueError, match="tells speakers apart"):
        open_judge(find_judge(style_classifier(("ann", "bob"), "speaker"), "speech"))
    other = judges.hearing_judge(tmp_path / "broken")
    (other / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="speech_judge must be loadable"):
        open_judge(find_judge(other, "speech"))
    (other / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="must be a folder with weights"):
        find_judge(other, "speech")
    (other / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match="config.json is no object"):
        find_judge(other, "speech")


def test_a_network_without_its_classifier_is_refused(tmp_path) -> None:
    """transformers would draw the missing weights at random, and judge by chance."""
    config = BertConfig(
        vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=3
    )
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="text_judge must hold all weights of .* lacks classifier.bias"):
        open_judge(find_judge(tmp_path, "text"))


def test_a_judge_without_its_tokenizer_is_refused(archive, tmp_path) -> None:
    source = archive / "model/text_classifier"
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    with pytest.raises(ValueError, match="text_judge must have a text tokenizer that knows words"):
        open_judge(find_judge(tmp_path, "text"))
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | {"model_type": "nothing"}))
    with pytest.raises(ValueError, match="model_type 'nothing'"):
        find_judge(tmp_path, "text")
