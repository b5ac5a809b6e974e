"""Benchmarks that ship with the package; their names are entry points of the group `spiritlm_pl.benchmarks`."""

from functools import partial

from spiritlm_pl.benchmarks.averages import prosaudit as prosaudit_averages
from spiritlm_pl.benchmarks.averages import salmon as salmon_averages
from spiritlm_pl.benchmarks.averages import sblimp as sblimp_averages
from spiritlm_pl.benchmarks.averages import storycloze as storycloze_averages
from spiritlm_pl.benchmarks.averages import swuggy as swuggy_averages
from spiritlm_pl.benchmarks.choices import ChoiceBenchmark
from spiritlm_pl.benchmarks.contract import Info
from spiritlm_pl.benchmarks.readers import prosaudit as prosaudit_reader
from spiritlm_pl.benchmarks.readers import salmon as salmon_reader
from spiritlm_pl.benchmarks.readers import storycloze as storycloze_reader
from spiritlm_pl.benchmarks.readers.slm21 import read_sblimp, read_swuggy

SPEECH, TEXT = "language model, speech tokenizer", "language model"
ZERO_SHOT = ("zero_shot", "paper")
ZEROSPEECH = "sLM21.dataset.zip, zerospeech.com/tracks/track_4"
STORIES = "github.com/slp-rl/SpokenStoryCloze, huggingface.co/datasets/slprl/multispeaker-storycloze"


def _slm21(words: bool, text: bool) -> ChoiceBenchmark:
    kind = "written" if text else "spoken"
    info = Info(
        title=f"{'sWUGGY' if words else 'sBLIMP'}{', written' if text else ''}",
        measures=f"{kind} word or non-word" if words else f"{kind} grammatical or ungrammatical sentence",
        licence="see the archive",
        source=ZEROSPEECH,
        needs=TEXT if text else SPEECH,
        size="5,000 dev, 20,000 test pairs" if words else "25,200 dev, 63,000 test pairs",
        sets=(*ZERO_SHOT, *(() if text else ("quick",))),
        data="slm21",
    )
    reader = read_swuggy if words else read_sblimp
    averages = swuggy_averages if words else sblimp_averages
    return ChoiceBenchmark(info, partial(reader, mode="text") if text else reader, averages.figures, averages.ID)


def _stories(topic: bool, direction: str) -> ChoiceBenchmark:
    first, _, second = direction.partition("_to_")
    info = Info(
        title=f"{'Topic-' if topic else ''}StoryCloze, {first} to {second}",
        measures=f"ending of a story{', the other is of another story' if topic else ''}, {first} to {second}",
        licence="see its pages",
        source=STORIES,
        needs=TEXT if direction == "text_to_text" else SPEECH,
        size="1,871 stories",
        sets=(*ZERO_SHOT, *(("quick",) if direction == "speech_to_speech" else ())),
        data="tstorycloze" if topic else "storycloze",
    )
    reader = partial(storycloze_reader.read, direction=direction)
    return ChoiceBenchmark(info, reader, storycloze_averages.figures, storycloze_averages.ID)


SWUGGY, SWUGGY_TEXT = _slm21(True, False), _slm21(True, True)
SBLIMP, SBLIMP_TEXT = _slm21(False, False), _slm21(False, True)
TSTORYCLOZE, TSTORYCLOZE_TEXT = _stories(True, "speech_to_speech"), _stories(True, "text_to_text")
TSTORYCLOZE_TEXT_TO_SPEECH = _stories(True, "text_to_speech")
TSTORYCLOZE_SPEECH_TO_TEXT = _stories(True, "speech_to_text")
STORYCLOZE, STORYCLOZE_TEXT = _stories(False, "speech_to_speech"), _stories(False, "text_to_text")
STORYCLOZE_TEXT_TO_SPEECH = _stories(False, "text_to_speech")
STORYCLOZE_SPEECH_TO_TEXT = _stories(False, "speech_to_text")
SALMON = ChoiceBenchmark(
    Info(
        title="SALMon",
        measures="consistent or aligned voice, sentiment, background, room",
        licence="CC BY-NC 4.0",
        source="github.com/slp-rl/salmon, huggingface.co/datasets/slprl/SALMon",
        needs=SPEECH,
        size="8 parts of 200 pairs",
        sets=("zero_shot", "quick"),
        published="whole_mean",
    ),
    salmon_reader.read,
    salmon_averages.figures,
    salmon_averages.ID,
)
PROSAUDIT = ChoiceBenchmark(
    Info(
        title="ProsAudit",
        measures="pause at a natural place or within words that belong together",
        licence="see the archive",
        source="zerospeech.com, ProsAudit",
        needs=SPEECH,
        size="see the archive",
        sets=("zero_shot",),
    ),
    prosaudit_reader.read,
    prosaudit_averages.figures,
    prosaudit_averages.ID,
)
