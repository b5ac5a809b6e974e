"""Templates: the published prompts, answers read by them, any other by a file, and what cannot be one."""

import pytest
import torch

from spiritlm_pl.benchmarks.few_shot.template import load_shot_template, make_shot_template
from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.generation.types import Speech, Text
from spiritlm_pl.streams import UNIT

AUDIO, STOP = Speech(units=torch.tensor([1, 2])), Speech(units=torch.tensor([7]))
TEXTS = {"text": "the cat", "label": "activate lights"}


def written(tiny_lm, template, spans):
    """The tokens of a prompt, by their names."""
    model = SpiritLM(*tiny_lm)
    found = []
    for piece in template.filled(spans, AUDIO, TEXTS, STOP):
        found.append(piece.text if isinstance(piece, Text) else piece.units.tolist())
    model.encode_prompt(template.filled(spans, AUDIO, TEXTS, STOP), template.output)  # it is a prompt
    return found


@pytest.mark.parametrize(
    "task, answer, shot, query",
    [
        ("asr", "text", [[1, 2], "<START Transcript> the cat <END>"], [[1, 2]]),
        ("tts", "audio", ["the cat 'stop'", [1, 2], [7]], ["the cat 'stop'"]),
        ("intents", "label", [[1, 2], "A:activate lights"], [[1, 2]]),
    ],
)
def test_the_published_prompts(tiny_lm, task, answer, shot, query):
    template = load_shot_template(task, answer)
    assert written(tiny_lm, template, template.shot) == shot
    assert written(tiny_lm, template, template.query) == query


def test_a_prompt_of_shots_has_the_published_tokens(tiny_lm):
    template, vocabulary, text = load_shot_template("tts", "audio"), tiny_lm[2], tiny_lm[1]
    pieces = [*template.filled(template.shot, AUDIO, TEXTS, STOP), *template.filled(template.query, AUDIO, TEXTS, STOP)]
    encoded = SpiritLM(*tiny_lm).encode_prompt(pieces, "speech")
    speech = [token for token in encoded.tokens if vocabulary.speech_bounds[0] <= token < vocabulary.speech_bounds[1]]
    assert speech == [vocabulary.token(UNIT, unit) for unit in (1, 2, 7)]
    markers = [token for token in encoded.tokens if token in vocabulary.opened_by()]
    assert markers == [vocabulary.text_marker, vocabulary.speech_marker] * 2 and encoded.tokens[-1] == markers[-1]
    assert text.decode([token for token in encoded.tokens if token < vocabulary.num_text]).count("'stop'") == 2


@pytest.mark.parametrize(
    "answer, found",
    [
        ("<START Transcript> the cat <END> a dog <END>", "the cat"),
        ("<START Transcript>the cat", "the cat"),  # no end
        (" <STARTTranscript> the cat<END>", "the cat"),  # spaces as a tokenizer gives them
        ("the cat <END>", "the cat"),  # the beginning is left out
        ("<END>", ""),
    ],
)
def test_a_transcript_is_cut_at_its_end(answer, found):
    assert load_shot_template("asr", "text").answered(answer) == found


def test_a_label_is_read_without_what_precedes_it():
    assert load_shot_template("intents", "label").answered("A:activate lights bedroom ") == "activate lights bedroom"
    assert load_shot_template("intents", "label").answered("a lamp") == "a lamp"


def test_a_template_of_ones_own(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text('shot: "[Text]Q: {text}\\nA: {label};"\nquery: "[Text]Q: {text}\\nA:"\n')
    template = load_shot_template("intents", "label", path)
    assert template.filled(template.query, AUDIO, TEXTS, None) == [Text("Q: the cat\nA:")]
    assert template.after == ";" and template.answered("stop; Q") == "stop" and template.fields == {"text", "label"}


@pytest.mark.parametrize(
    "shot, query, stop, answer, message",
    [
        ("{audio}[Text]{text}", "{audio}", "", "text", "template must begin with"),
        ("[Speech]{audio}[Text]{text}", "[Speech]", "", "text", "query must have {audio} or {text}"),
        ("[Speech]{audio}[Text]{text}", "[Text]{audio}", "", "text", "shot must begin with query"),
        ("[Speech]{audio}[Text]{label}", "[Speech]{audio}[Text]", "", "text", "shot must have {text} once"),
        ("[Speech]{audio}[Text]{text} {stop}", "[Speech]{audio}[Text]", "", "text", "stop must be given"),
        (
            "[Speech]hm{audio}[Text]{text}",
            "[Speech]hm{audio}",
            "",
            "text",
            "[Speech] must be followed by {audio}, {stop}",
        ),
        ("[Speech]{audio}[Text]{words}", "[Speech]{audio}[Text]", "", "text", "shot must have {text} once"),
        (
            "[Speech]{audio}[Text]{text} {speaker}",
            "[Speech]{audio}[Text]",
            "",
            "text",
            "but is followed by '{speaker}'",
        ),
        ("[Speech]{audio}[Text]{label} {text}", "[Speech]{audio}[Text]", "", "text", "no other field than {text}"),
        ("[Speech]{audio}[Text]{text}[Speech]{audio}", "[Speech]{audio}[Text]", "", "text", "nothing but the answer"),
    ],
)
def test_templates_that_cannot_be(shot, query, stop, answer, message):
    with pytest.raises(ValueError) as error:
        make_shot_template(shot, query, stop, answer)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "content, message",
    [
        ("shot: [", "cannot be read"),
        ("- 1", "must have shot, query"),
        ("shot: a\nquery: b\nend: c", "but .* has shot, query, end"),
        ("shot: 5\nquery: b", "shot of a template must be a text, but is 5"),
    ],
)
def test_files_that_are_no_templates(tmp_path, content, message):
    (tmp_path / "own.yaml").write_text(content)
    with pytest.raises(ValueError, match=message):
        load_shot_template("asr", "text", tmp_path / "own.yaml")
    with pytest.raises(FileNotFoundError, match="template must be a YAML file"):
        load_shot_template("asr", "text", tmp_path / "none.yaml")
    with pytest.raises(ValueError, match="template must be the path"):
        load_shot_template("asr", "text", 5)
