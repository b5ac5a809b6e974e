import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, BertForMaskedLM

from spiritlm_pl.evaluation.text_likelihood import load_text_likelihood
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.vocabulary import Modality

WORDS = ["<s>", "<pad>", "<unk>", "the", "cat", "sat", "down", "again"]


@pytest.fixture
def folder(text_model):
    return text_model(WORDS)


def expected(folder, tokens):
    """Losses of the tokens after the first one by a plain call of the model."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        log_probs = model(torch.tensor([tokens])).logits[0].log_softmax(-1)
    return [-float(log_probs[place, token]) for place, token in enumerate(tokens[1:])]


def test_losses_are_those_of_the_model_in_any_batch(folder):
    texts = [("", "the cat sat"), ("the cat", "the cat sat down again"), ("", "down")]
    found = load_text_likelihood("language_model", folder).losses(texts)
    first, second = expected(folder, [0, 3, 4, 5]), expected(folder, [0, 3, 4, 5, 6, 7])
    assert [count for _, count in found] == [3, 3, 1]
    assert found[0][0] == pytest.approx(sum(first), abs=1e-4)
    assert found[1][0] == pytest.approx(sum(second[2:]), abs=1e-4)


def test_the_first_token_is_not_scored_where_nothing_begins_a_text(folder, save_tokenizer):
    save_tokenizer(folder, WORDS)
    ((loss, count), (_, none)) = load_text_likelihood("language_model", folder).losses(
        [("", "the cat sat"), ("", "the")]
    )
    assert (count, none) == (2, 0)
    assert loss == pytest.approx(sum(expected(folder, [3, 4, 5])), abs=1e-4)


def test_a_model_that_knows_nothing_has_the_size_of_its_vocabulary_as_perplexity(folder):
    judge = load_text_likelihood("language_model", folder)
    torch.nn.init.zeros_(judge.network.lm_head.weight)
    ((loss, count),) = judge.losses([("", "the cat sat down")])
    assert math.exp(loss / count) == pytest.approx(len(WORDS))


def test_nothing_said_has_no_tokens(folder):
    judge = load_text_likelihood("language_model", folder)
    assert judge.losses([("", ""), ("the cat", "the cat"), ("", " ")]) == [(0.0, 0)] * 3
    assert judge.losses([]) == []


def test_a_text_beyond_the_context_is_an_error_of_its_own(folder):
    long, good = load_text_likelihood("language_model", folder).losses([("", "cat " * 20), ("", "cat")])
    assert str(long) == "a text must have at most 12 tokens of the language model, but has 21"
    assert good[1] == 1


def test_broken_weights_are_told(folder):
    judge = load_text_likelihood("language_model", folder)
    torch.nn.init.constant_(judge.network.lm_head.weight, float("nan"))
    with pytest.raises(ValueError, match="must be finite"):
        judge.losses([("", "cat")])


def test_a_model_that_sees_what_follows_is_refused(folder):
    for file in folder.glob("*.safetensors"):
        file.unlink()
    config = BertConfig(vocab_size=8, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    BertForMaskedLM(config).save_pretrained(folder)
    with pytest.raises(ValueError, match=r"language_model must be a causal language model, but .* \(bert\) also sees"):
        load_text_likelihood("language_model", folder)


def test_a_model_of_text_and_speech_is_asked_with_its_modality_token(tiny_lm, tmp_path):
    network, text, vocabulary = tiny_lm
    save_lm(tmp_path, network, vocabulary, text)
    found = load_text_likelihood("language_model", tmp_path).losses([("", "the cat sat"), ("the cat", "the cat sat")])
    whole, own = text.encode("the cat sat"), text.encode_word("sat")
    losses = expected(tmp_path, [vocabulary.marker(Modality.TEXT), *whole])
    assert [count for _, count in found] == [len(whole), len(own)]
    assert found[0][0] == pytest.approx(sum(losses), abs=1e-4)
    assert found[1][0] == pytest.approx(sum(losses[-len(own) :]), abs=1e-4)


def test_a_tokenizer_with_a_modality_token_has_it_in_front(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["[Text]"]})
    tokenizer.save_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder)
    network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    network.save_pretrained(folder)
    ((loss, count),) = load_text_likelihood("language_model", folder).losses([("", "the cat")])
    assert (count, len(tokenizer)) == (2, len(WORDS) + 1)
    assert loss == pytest.approx(sum(expected(folder, [0, len(WORDS), 3, 4])[1:]), abs=1e-4)


def test_a_folder_of_all_parts_or_of_speech_alone_is_refused(tiny_lm, tmp_path):
    network, text, vocabulary = tiny_lm
    save_lm(tmp_path / "model" / "lm", network, vocabulary, text)
    with pytest.raises(ValueError, match=r"a language model alone, such as .*model/lm, not .*model$"):
        load_text_likelihood("language_model", tmp_path / "model")
    description = tmp_path / "model" / "lm" / "spiritlm.json"
    description.write_text(description.read_text().replace('"language_model"', '"vocoder"'))
    with pytest.raises(
        ValueError, match=r"language_model must be a model of texts that can be loaded, unlike .*model/lm: "
    ):
        load_text_likelihood("language_model", tmp_path / "model" / "lm")


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(ValueError, match="language_model must be a model folder with config.json, but"):
        load_text_likelihood("language_model", tmp_path)
