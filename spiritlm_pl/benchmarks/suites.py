"""Benchmarks that ship with the package; their names are entry points of the group `spiritlm_pl.benchmarks`."""

from functools import partial

from spiritlm_pl.benchmarks.averages import prosaudit as prosaudit_averages
from spiritlm_pl.benchmarks.averages import salmon as salmon_averages
from spiritlm_pl.benchmarks.averages import sblimp as sblimp_averages
from spiritlm_pl.benchmarks.averages import storycloze as storycloze_averages
from spiritlm_pl.benchmarks.averages import swuggy as swuggy_averages
from spiritlm_pl.benchmarks.catalogue import info_of
from spiritlm_pl.benchmarks.choices import ChoiceBenchmark
from spiritlm_pl.benchmarks.readers import prosaudit as prosaudit_reader
from spiritlm_pl.benchmarks.readers import salmon as salmon_reader
from spiritlm_pl.benchmarks.readers import storycloze as storycloze_reader
from spiritlm_pl.benchmarks.readers.slm21 import read_sblimp, read_swuggy


def _slm21(name: str) -> ChoiceBenchmark:
    reader, averages = (read_swuggy, swuggy_averages) if "swuggy" in name else (read_sblimp, sblimp_averages)
    reader = partial(reader, mode="text") if name.endswith("_text") else reader
    return ChoiceBenchmark(info_of(name), reader, averages.figures, averages.ID)


def _stories(name: str, direction: str) -> ChoiceBenchmark:
    own = storycloze_reader.read_topic if name.startswith("t") else storycloze_reader.read_spoken
    reader = partial(own, direction=direction)
    return ChoiceBenchmark(info_of(name), reader, storycloze_averages.figures, storycloze_averages.ID)


SWUGGY, SWUGGY_TEXT = _slm21("swuggy"), _slm21("swuggy_text")
SBLIMP, SBLIMP_TEXT = _slm21("sblimp"), _slm21("sblimp_text")
TSTORYCLOZE, TSTORYCLOZE_TEXT = (
    _stories("tstorycloze", "speech_to_speech"),
    _stories("tstorycloze_text", "text_to_text"),
)
TSTORYCLOZE_TEXT_TO_SPEECH = _stories("tstorycloze_text_to_speech", "text_to_speech")
TSTORYCLOZE_SPEECH_TO_TEXT = _stories("tstorycloze_speech_to_text", "speech_to_text")
STORYCLOZE, STORYCLOZE_TEXT = _stories("storycloze", "speech_to_speech"), _stories("storycloze_text", "text_to_text")
STORYCLOZE_TEXT_TO_SPEECH = _stories("storycloze_text_to_speech", "text_to_speech")
STORYCLOZE_SPEECH_TO_TEXT = _stories("storycloze_speech_to_text", "speech_to_text")
SALMON = ChoiceBenchmark(info_of("salmon"), salmon_reader.read, salmon_averages.figures, salmon_averages.ID)
PROSAUDIT = ChoiceBenchmark(
    info_of("prosaudit"), prosaudit_reader.read, prosaudit_averages.figures, prosaudit_averages.ID
)
