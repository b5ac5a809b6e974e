import json
import pickle

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from spiritlm_pl.evaluation.text_classifier import load_text_classifier

WORDS = ["<unk>", "<pad>", "the", "cat", "bad", "dog"]


def save_tokenizer(folder, **options):
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **options).save_pretrained(folder)


@pytest.fixture
def folder(tmp_path):
    """A classifier of two labels."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8,
        pad_token_id=1,
        id2label={0: "fine", 1: "toxic"},
        initializer_range=0.8,
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path, pad_token="<pad>")
    return tmp_path


def edit(folder, name, **changes):
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_texts_have_the_same_probabilities_in_a_batch_and_alone(folder):
    classifier = load_text_classifier("classifier", folder, ["toxic"])
    texts = ["the cat", "bad", "the bad dog the cat", "dog", "cat cat"]
    together = classifier.probabilities(texts, batch_size=4)
    assert together.sum(-1).tolist() == pytest.approx([1] * 5)
    assert len(set(together[:, 0].tolist())) == 5
    for place, text in enumerate(texts):
        torch.testing.assert_close(classifier.probabilities([text])[0], together[place], atol=1e-6, rtol=0)
    expected = ["toxic" if row[1] > row[0] else "fine" for row in together.tolist()]
    assert classifier.label(texts) == expected
    assert classifier.probabilities([]).shape == (0, 2)


def test_a_text_that_is_too_long_is_cut_at_its_end(folder):
    classifier = load_text_classifier("classifier", folder)
    long, cut = classifier.probabilities([" ".join(["bad"] * 8 + ["cat"] * 30), " ".join(["bad"] * 8)])
    torch.testing.assert_close(long, cut)


def test_labels_of_their_own_do_not_sum_to_one(folder):
    edit(folder, "config.json", problem_type="multi_label_classification")
    classifier = load_text_classifier("classifier", folder)
    assert classifier.independent
    assert classifier.probabilities(["bad dog"]).sum().item() != pytest.approx(1)


def test_labels_that_are_nearly_certain_are_told_apart(folder):
    edit(folder, "config.json", problem_type="multi_label_classification")
    classifier = load_text_classifier("classifier", folder)
    classifier.network.classifier.weight.data.zero_()
    classifier.network.classifier.bias.data.copy_(torch.tensor([50.0, 60.0]))
    assert classifier.probabilities(["bad dog"]).tolist() == [[1.0, 1.0]] and classifier.label(["bad dog"]) == ["toxic"]


def test_a_folder_without_its_tokenizer_is_refused(folder):
    """transformers would make one that knows no word, and every text would be the same."""
    for file in folder.glob("token*"):
        file.unlink()
    with pytest.raises(ValueError, match="must have a text tokenizer that knows words, but in .* it knows none"):
        load_text_classifier("classifier", folder)


def test_a_tokenizer_without_padding_takes_texts_one_by_one(folder):
    expected = load_text_classifier("classifier", folder).probabilities(["bad", "the cat the dog"])
    save_tokenizer(folder)
    found = load_text_classifier("classifier", folder).probabilities(["bad", "the cat the dog"])
    torch.testing.assert_close(found, expected)


def test_a_missing_label_is_told_with_those_that_there_are(folder):
    with pytest.raises(ValueError, match=r"labels happy, but .* lacks happy: it has fine, toxic"):
        load_text_classifier("classifier", folder, ["happy"])


@pytest.mark.parametrize("name", ["missing/folder/of/mine", "/nowhere", "./nowhere", "~/nowhere"])
def test_what_is_neither_folder_nor_name_is_refused_at_once(name):
    with pytest.raises(ValueError, match="classifier must be a model folder or a hub name, but is"):
        load_text_classifier("classifier", name)


def test_a_causal_language_model_is_refused(folder):
    config = LlamaConfig(
        vocab_size=6, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, pad_token_id=1
    )
    for file in folder.glob("*.safetensors"):
        file.unlink()
    LlamaForCausalLM(config).save_pretrained(folder)
    with pytest.raises(ValueError, match=r"all weights of a SequenceClassification model, but .* lacks score.weight"):
        load_text_classifier("classifier", folder)


def test_a_pickle_of_more_than_tensors_is_not_opened(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": print}))
    with pytest.raises(ValueError, match="classifier must be a model that AutoModelForSequenceClassification opens"):
        load_text_classifier("classifier", folder)


def test_damaged_weights_are_one_line(folder):
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="classifier must be a model that") as error:
        load_text_classifier("classifier", folder)
    assert "\n" not in str(error.value)


def test_the_tokenizer_of_another_model_is_refused(folder):
    WORDS.extend(["more", "words"])
    try:
        save_tokenizer(folder, pad_token="<pad>")
    finally:
        del WORDS[-2:]
    with pytest.raises(ValueError, match="has 8 tokens, and the model has 6"):
        load_text_classifier("classifier", folder)


def test_broken_weights_give_no_probabilities(folder):
    classifier = load_text_classifier("classifier", folder)
    torch.nn.init.constant_(classifier.network.classifier.weight, float("nan"))
    with pytest.raises(ValueError, match="must be finite"):
        classifier.probabilities(["the cat"])


def test_empty_texts_are_refused(folder):
    with pytest.raises(ValueError, match="must have words, but one is empty"):
        load_text_classifier("classifier", folder).probabilities(["the cat", " "])
