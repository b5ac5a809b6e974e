"""A model exported for Hugging Face tools: opened, prompted and scored without code of ours."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from spiritlm_pl.cli.consolidate import consolidate
from spiritlm_pl.cli.export_lm import export_lm as command
from spiritlm_pl.generation import GenerationSettings, Speech, SpiritLM, Text
from spiritlm_pl.generation.codebooks import stretch_tokens
from spiritlm_pl.generation.sampling import continue_tokens
from spiritlm_pl.generation.stream import Segment, encode_segments
from spiritlm_pl.interop.export import export_lm
from spiritlm_pl.interop.model_card import model_card
from spiritlm_pl.lm.folder import load_lm, save_lm
from spiritlm_pl.runtime.checksums import CHECKSUMS
from spiritlm_pl.streams import UNIT, Stream, delayed
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer, train_text_tokenizer
from spiritlm_pl.vocabulary import Modality, Vocabulary

LINES = ["the cat sat on the mat", "a dog ran to the park"] * 4
PROMPT = "[Speech][Hu1][Hu2][Text]the cat"
PIECES = [Speech(units=torch.tensor([1, 2])), Text("the cat")]


def byte_level(folder):
    """A text tokenizer of `transformers` without merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({"<|end|>": 0, **{byte: i for i, byte in enumerate(alphabet, start=1)}}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>").save_pretrained(folder)
    return TextTokenizer.load(folder)


def make_lm(folder, text, seed=0, tied=False, **kinds):
    """A random model of the text tokenizer's size, in a folder of ours."""
    vocabulary = Vocabulary.spirit_lm(num_text=text.vocab_size, num_units=20, multiple_of=64, **kinds)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary.num_rows,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        initializer_range=0.5,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=None,
    )
    return save_lm(folder, LlamaForCausalLM(config), vocabulary, text, extra={"base": "none"})


def own_encoding(text, vocabulary):
    """Ids of PROMPT."""
    units = tuple(vocabulary.token(UNIT, unit) for unit in (1, 2))
    segments = [Segment(Modality.SPEECH, units), Segment(Modality.TEXT, tuple(text.encode("the cat")))]
    return [*vocabulary.opening, *encode_segments(segments, vocabulary)]


@pytest.fixture(scope="module")
def text():
    return train_text_tokenizer(LINES)


@pytest.fixture(scope="module", params=["sentencepiece", "transformers"])
def any_text(request, text, tmp_path_factory):
    return text if request.param == "sentencepiece" else byte_level(tmp_path_factory.mktemp("text"))


@pytest.mark.parametrize("kinds", [{}, {"num_pitches": 4, "num_styles": 3}], ids=["base", "expressive"])
def test_plain_transformers_continues_as_ours(tmp_path, any_text, kinds):
    source = make_lm(tmp_path / "lm", any_text, **kinds)
    exported = export_lm(source, tmp_path / "out")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(exported), AutoTokenizer.from_pretrained(exported)
    ours, text, vocabulary = load_lm(source)
    encoded = own_encoding(text, vocabulary)
    prompt = tokenizer(PROMPT, return_tensors="pt")
    assert prompt["input_ids"][0].tolist() == encoded and set(prompt) == {"input_ids", "attention_mask"}
    assert tokenizer.decode(encoded) == PROMPT
    generated = model.generate(**prompt, max_new_tokens=40, do_sample=False)[0, len(encoded) :].tolist()
    settings, eos = GenerationSettings(greedy=True), text.eos_id
    (expected,) = continue_tokens(ours, [encoded], vocabulary, "any", settings, limits=[40], seeds=[0], eos_id=eos)
    assert len(set(expected)) > 5  # a random model, but not one that repeats itself
    assert generated[: len(expected)] == expected and set(generated[len(expected) :]) <= {eos}


def shown_prompt(text):
    """The prompt of the model card: what goes on after speech begins with its space, where the tokenizer adds none."""
    return PROMPT if text.prefixes else PROMPT.replace("[Text]", "[Text] ")


def test_an_export_opens_and_ends_as_in_training(tmp_path, any_text):
    begin, end = (1, 2) if any_text.bos_id is not None else (0, 0)
    source = make_lm(tmp_path / "lm", any_text, begin_of_document=begin, end_of_document=end)
    exported = export_lm(source, tmp_path / "out")
    tokenizer, ours = AutoTokenizer.from_pretrained(exported), SpiritLM.load(source)
    ids = tokenizer(PROMPT)["input_ids"]
    assert ids[0] == begin and ids == own_encoding(ours.text_tokenizer, ours.vocabulary)
    assert tokenizer(shown_prompt(any_text))["input_ids"] == ours.encode_prompt(PIECES).tokens
    assert json.loads((exported / "generation_config.json").read_text())["eos_token_id"] == end == ours.end_token
    assert SpiritLM.load(exported).vocabulary == ours.vocabulary
    card = (exported / "README.md").read_text()
    assert f"puts token {begin} before it" in card and f"Documents ended with token {end} in training" in card


def test_damage_of_an_export_is_named(tmp_path, text):
    exported = export_lm(make_lm(tmp_path / "lm", text), tmp_path / "out")
    for name in ("README.md", "generation_config.json"):  # which users change
        (exported / name).write_text((exported / name).read_text() + "\n")
    SpiritLM.load(exported)
    path = exported / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ValueError, match=r"out/model.safetensors must have SHA-256"):
        SpiritLM.load(exported)


def test_a_text_tokenizer_may_be_saved_over_another(tmp_path, text):
    lm = make_lm(tmp_path / "lm", text)
    train_text_tokenizer(["other words that are here"] * 9).save(lm)
    assert TextTokenizer.load(lm).vocab_size


@pytest.mark.parametrize(("own", "expected"), [(1, [2, 1]), ([1, 2], [1, 2]), ([1, 0], [2, 1, 0]), (None, 2)])
def test_an_export_stops_where_documents_ended_whatever_the_base_model_ends_with(tmp_path, text, own, expected):
    assert text.eos_id == 2
    source = make_lm(tmp_path / "lm", text, end_of_document=2)
    for file in ("config.json", "generation_config.json"):
        values = json.loads((source / file).read_text())
        (source / file).write_text(json.dumps({**values, "eos_token_id": own}))
    (source / CHECKSUMS).unlink()  # on purpose
    exported = export_lm(source, tmp_path / "out")
    for file in ("config.json", "generation_config.json"):
        assert json.loads((exported / file).read_text())["eos_token_id"] == expected
    model = AutoModelForCausalLM.from_pretrained(exported)
    torch.nn.init.zeros_(model.lm_head.weight)  # all tokens are as likely, and the first one is taken
    model.lm_head.register_forward_hook(lambda module, args, output: output.index_fill(-1, torch.tensor([2]), 1.0))
    assert model.generate(torch.tensor([[5, 6]]), max_new_tokens=5).tolist() == [[5, 6, 2]]


def test_ours_still_reads_it(tmp_path, any_text):
    source = make_lm(tmp_path / "lm", any_text)
    before, after = SpiritLM.load(source), SpiritLM.load(export_lm(source, tmp_path / "out"))
    settings = GenerationSettings(greedy=True, max_new_tokens=20, min_speech_units=0)
    prompt = [*PIECES, Text("[Hu3] </s> \n  ran")]
    assert after.text_tokenizer.encode(prompt[2].text) == before.text_tokenizer.encode(prompt[2].text)
    answers = [model.generate(prompt, settings=settings)[0] for model in (before, after)]
    assert str(answers[0]) == str(answers[1])
    description = json.loads((tmp_path / "out" / "spiritlm.json").read_text())
    assert description["base"] == "none" and description["exported_by"]
    card = (tmp_path / "out" / "README.md").read_text()
    ids = before.encode_prompt(PIECES).tokens
    assert f"`{shown_prompt(any_text)}` has the ids {', '.join(map(str, ids))}." in card


def test_shards_types_and_a_checkpoint(tmp_path, text, capsys):
    """A trainer's checkpoint gives the same weights as the folder, in other files and another type."""
    network, _, vocabulary = load_lm(make_lm(tmp_path / "lm", text))
    text.save(tmp_path / "text")
    checkpoint = {
        "language_model": {"config": json.dumps(network.config.to_dict()), "vocabulary": vocabulary.to_dict()},
        "state_dict": {f"network.{name}": value for name, value in network.state_dict().items()},
    }
    torch.save(checkpoint, tmp_path / "step=1.ckpt")
    with pytest.raises(
        ValueError, match="source must be a language model folder, or a checkpoint with a text_tokenizer"
    ):
        command(tmp_path / "step=1.ckpt", tmp_path / "out")
    command(tmp_path / "step=1.ckpt", tmp_path / "out", str(tmp_path / "text"), "bfloat16", max_shard_size="30KB")
    assert capsys.readouterr().out == f"wrote {tmp_path / 'out'}\n"
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 2
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert opened.dtype == torch.bfloat16
    torch.testing.assert_close(opened.state_dict(), network.to(torch.bfloat16).state_dict(), rtol=0, atol=0)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").encode(PROMPT)[0] == vocabulary.speech_marker


def test_a_size_that_is_none_is_refused_first(tmp_path):
    with pytest.raises(
        ValueError, match="^max_shard_size must be a number with KB, MB, GB or TB, but is '5XB' instead$"
    ):
        export_lm(tmp_path / "nothing", tmp_path / "exported", max_shard_size="5XB")


def test_an_earlier_export_is_replaced_whole_and_other_folders_are_kept(tmp_path, text, monkeypatch):
    first, second = make_lm(tmp_path / "first", text), make_lm(tmp_path / "second", text, seed=1)
    export_lm(first, tmp_path / "out", max_shard_size="30KB")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("spiritlm_pl.interop.export.model_card", full)
        with pytest.raises(OSError, match="No space"):
            export_lm(second, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    export_lm(second, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("model*")] == ["model.safetensors"]
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(opened.state_dict(), load_lm(second)[0].state_dict(), rtol=0, atol=0)
    with pytest.raises(ValueError, match="output must be a new folder or one of an earlier export"):
        export_lm(second, first)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "out", "second"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tied_weights_are_written_once(tmp_path, text, dtype):
    network, _, vocabulary = load_lm(make_lm(tmp_path / "lm", text, tied=True))
    weights = {f"network.{name}": value.clone() for name, value in network.state_dict().items()}  # shared no more
    description = {"config": json.dumps(network.config.to_dict()), "vocabulary": vocabulary.to_dict()}
    torch.save({"language_model": description, "state_dict": weights}, tmp_path / "step=1.ckpt")
    consolidate(tmp_path / "step=1.ckpt", tmp_path / "one", dtype=dtype)
    with safe_open(tmp_path / "one" / "model.safetensors", "pt") as written:
        assert "model.embed_tokens.weight" in written.keys() and "lm_head.weight" not in written.keys()
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    wanted = network.to(getattr(torch, dtype)).state_dict()
    torch.testing.assert_close(opened.state_dict(), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("tied", [False, True])
def test_without_rows_of_padding(tmp_path, text, tied, capsys):
    """Some readers want as many rows as there are tokens; the answers stay, ours included."""
    source = make_lm(tmp_path / "lm", text, tied=tied)
    command(source, tmp_path / "out", padding=False)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ours, _, vocabulary = load_lm(tmp_path / "out")
    assert len(model.get_input_embeddings().weight) == model.config.vocab_size == vocabulary.num_tokens
    assert len(AutoTokenizer.from_pretrained(tmp_path / "out")) == vocabulary.num_tokens == vocabulary.num_rows
    assert model.generation_config.suppress_tokens is None
    before, _, padded = load_lm(source)
    assert padded.num_rows > vocabulary.num_rows and padded.num_tokens == vocabulary.num_tokens
    prompt = torch.tensor([own_encoding(text, vocabulary)])
    with torch.no_grad():
        wanted = before(prompt).logits[..., : vocabulary.num_tokens]
        torch.testing.assert_close(model(prompt).logits, wanted)
        torch.testing.assert_close(ours(prompt).logits, wanted)


def test_readers_of_the_sentencepiece_model_are_told_of_the_speech_tokens(tmp_path, any_text):
    """llama.cpp's converter reads `tokenizer.model` where there is one, and the added tokens beside it."""
    source = make_lm(tmp_path / "lm", any_text)
    exported, vocabulary = export_lm(source, tmp_path / "out"), load_lm(source)[2]
    sentencepiece = (exported / "tokenizer.model").is_file()
    assert (exported / "added_tokens.json").is_file() == sentencepiece
    if sentencepiece:
        added = json.loads((exported / "added_tokens.json").read_text())
        assert list(added.values()) == [*range(vocabulary.num_text, vocabulary.num_tokens)]
        assert added["[Text]"] == vocabulary.text_marker and added["[Hu3]"] == vocabulary.token(UNIT, 3)
        assert json.loads((exported / "tokenizer_config.json").read_text())["add_bos_token"] is False


@pytest.mark.filterwarnings("ignore")  # those of other libraries
def test_lm_eval_scores_an_export(tmp_path, text, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    import lm_eval
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    questions = [
        {"question": "the cat sat on", "choices": ["the mat", "a dog"], "answer": 0},
        {"question": "a dog ran", "choices": ["the mat", "to the park"], "answer": 1},
        {"question": "the park", "choices": ["sat", "ran"], "answer": 0},
    ]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))
    task = {
        "task": "tiny_choice",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "questions.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc"}],
    }
    (tmp_path / "tiny_choice.yaml").write_text(json.dumps(task))  # JSON is YAML
    exported = export_lm(make_lm(tmp_path / "lm", text), tmp_path / "out")
    results = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(exported), "dtype": "float32"},
        tasks=["tiny_choice"],
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        device="cpu",
        system_instruction="[Text]",  # a prompt opens with its modality
        bootstrap_iters=0,
    )
    asked = results["samples"]["tiny_choice"][0]["arguments"][0]
    assert tuple(asked) == ("[Text]the cat sat on", " the mat")
    accuracy = results["results"]["tiny_choice"]["acc,none"]
    assert math.isfinite(accuracy) and any(accuracy == pytest.approx(right / 3) for right in range(4))


@pytest.mark.parametrize("delay", [0, 1])
def test_the_card_of_a_codec_model_tells_the_order_of_codebooks(text, delay):
    shared = {"size": 8, "rate": 12.5, "deduplicated": False}
    streams = (
        Stream(name="semantic", prefix="Se", order=1, **shared),
        Stream(name="acoustic", prefix="Ac", num_codebooks=2, order=2, **shared),
    )
    vocabulary = Vocabulary(num_text=text.vocab_size, streams=delayed(streams, delay))
    card = model_card({"vocabulary": vocabulary.to_dict()}, SimpleNamespace(encode=lambda _: [7]), text)
    stretch = stretch_tokens(torch.tensor([[1, 1, 1], [2, 2, 2]]), vocabulary)
    spoken = "".join(str(vocabulary.name(token)) for token in stretch)
    assert f"`[Speech]{spoken}[Text]the cat` has the ids 7." in card and spoken.count("[") == 6
    assert "Speech is 12.5 frames a second, " in card and "in this order: `[Se..]` `[Ac0_..]` `[Ac1_..]`." in card
    assert ("stand some frames late, `[Se..]` 0, `[Ac0_..]` 1, `[Ac1_..]` 2." in card) == bool(delay)
    assert "--lm FOLDER --speech-tokenizer CODEC --speech" in card and "--vocoder" not in card
