"""Word times from a CTC network by forced alignment (Kürzinger et al., 2020; Pratap et al., 2023).

The characters of the words are placed along the best path through the network's output. A character that the network
does not know is tried in the other case, then without its accents, and is else left out. A word of which no character
is left can be placed on a star, an additional class that fits any sound.

Shapes: S samples, T frames, C classes.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torchaudio.functional import TokenSpan, forced_align, merge_tokens

from spiritlm_pl.alignment.contract import Aligned
from spiritlm_pl.alignment.ctc_network import CTCNetwork, load_folder, load_mms_fa
from spiritlm_pl.corpora.audio import SAMPLE_RATE
from spiritlm_pl.corpora.text.transcripts import one_form
from spiritlm_pl.corpora.word_times import AlignedWord, AlignmentError
from spiritlm_pl.runtime.opens_for_itself import OpensForItself

MMS_FA = "MMS_FA"
Unknown = Literal["error", "star"]


@dataclass(frozen=True)
class CTCAligner(OpensForItself):
    """Forced alignment with a CTC network; gives words with scores, but no phones.

    A word lasts from its first to its last character on the path; the time between two words belongs to neither.

    Args:
        network: "MMS_FA" (of torchaudio, which downloads 1.2 GB at first use), or the path of a folder with a CTC
            checkpoint of `transformers`.
        device: device on which the network runs, such as "cpu" or "cuda:1".
        unknown: treatment of a word of which the network knows no character. "error" refuses the utterance and names
            the word; "star" gives the word the sound between its neighbours, without a score.
        name: name of the aligner in reports.
        needs_audio: whether `align` must be given a waveform.
        english_only: whether the aligner handles English only.
    """

    network: str = MMS_FA
    device: str = "cpu"
    unknown: Unknown = "error"
    name: str = "ctc"
    needs_audio: bool = True
    english_only: bool = False

    @cached_property
    def loaded(self) -> CTCNetwork:
        """The network, which each process loads once.

        Raises:
            ValueError: if the folder is no CTC checkpoint of `transformers`.
            ConnectionError: if the weights of MMS_FA cannot be downloaded.
        """
        network = str(self.network)
        return load_mms_fa(self.device) if network == MMS_FA else load_folder(network, self.device)

    def align(self, cut_id: str, waveform: Tensor | None, words: Sequence[str], language: str = "en") -> Aligned:
        """Find the times of the words in a waveform (S,) at 16 kHz; see `Aligner.align`."""
        assert waveform is not None
        return Aligned([*align_words(self.loaded, waveform, words, self.unknown)])


def spell(network: CTCNetwork, word: str) -> list[int]:
    """Return the classes of the characters of a word; empty if the network knows none of them."""
    known, classes = network.characters, []
    for character in one_form(word):
        plain = "".join(c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c))
        for form in (character, character.lower(), character.upper(), plain.lower(), plain.upper()):
            if form and all(c in known for c in form):
                classes += [known[c] for c in form]
                break
    return classes


@torch.inference_mode()
def align_words(
    network: CTCNetwork, waveform: Tensor, words: Sequence[str], unknown: Unknown = "error"
) -> list[AlignedWord]:
    """Find the times and scores of words in a waveform.

    A score is the mean probability of the word's characters on the path.

    Args:
        network: CTC network to align with.
        waveform: audio (S,) at 16 kHz.
        words: the words in the order in which they are said.
        unknown: treatment of words of which the network knows no character, as in `CTCAligner`.

    Raises:
        AlignmentError: if there is nothing to align, or there are more characters than frames.
        ValueError: if the waveform has another shape.
    """
    if waveform.dim() != 1:
        raise ValueError(f"waveform must be of shape (S,), but is {tuple(waveform.shape)} instead")
    spelled = [spell(network, word) for word in words]
    if not any(spelled):
        raise AlignmentError(f"no word has a character that the network knows: {' '.join(words[:5]) or 'none'}")
    lost = [word for word, classes in zip(words, spelled, strict=True) if not classes]
    if lost and unknown == "error":
        raise AlignmentError(f"words without a character that the network knows: {' '.join(lost[:5])}")
    log_probs = _emit(network, waveform)  # (S,) -> (T, C)
    star = log_probs.shape[1]
    log_probs = torch.cat([log_probs, log_probs.new_zeros(len(log_probs), 1)], 1)  # (T, C + 1)
    spans = _place(network, log_probs, [classes or [star] for classes in spelled])
    return [_word(network, word, members, star, len(waveform)) for word, members in zip(words, spans, strict=True)]


def _emit(network: CTCNetwork, waveform: Tensor) -> Tensor:
    """Compute the log-probabilities (T, C) of a waveform (S,), on the CPU."""
    if len(waveform) < network.hop_length + 2 * network.offset:
        raise AlignmentError(f"audio is too short: {len(waveform) / SAMPLE_RATE:.3f} s")
    log_probs = network.log_probs(waveform).float().cpu()
    if bool(log_probs.isnan().any()):
        raise AlignmentError("output of the network is not finite")
    return log_probs


def _place(network: CTCNetwork, log_probs: Tensor, spelled: list[list[int]]) -> list[list[TokenSpan]]:
    """Find the frames of each word's characters on the best path through log-probabilities (T, C)."""
    between = [] if network.delimiter is None else [network.delimiter]
    owners = [(index, c) for index, classes in enumerate(spelled) for c in (*classes, *between)]
    owners = owners[: len(owners) - len(between)]  # no delimiter after the last word
    targets = [c for _, c in owners]
    needed = len(targets) + sum(a == b for a, b in zip(targets, targets[1:], strict=False))
    if needed > len(log_probs):
        raise AlignmentError(f"audio is too short for its transcript: {len(log_probs)} frames for {needed} characters")
    path, scores = forced_align(log_probs[None], torch.tensor([targets]), blank=network.blank)
    spans = merge_tokens(path[0], scores[0].exp(), blank=network.blank)
    if [span.token for span in spans] != targets:
        raise AlignmentError("words do not fit the audio: no path has a probability above zero")
    members: list[list[TokenSpan]] = [[] for _ in spelled]
    for (index, _), span in zip(owners, spans, strict=True):
        if span.token != network.delimiter:
            members[index].append(span)
    return members


def _word(network: CTCNetwork, word: str, spans: list[TokenSpan], star: int, num_samples: int) -> AlignedWord:
    total = sum(span.score * len(span) for span in spans)
    score = None if spans[0].token == star else total / sum(len(span) for span in spans)
    start, end = (
        min(frame * network.hop_length + network.offset, num_samples) / SAMPLE_RATE
        for frame in (spans[0].start, spans[-1].end)
    )
    assert start < end
    return AlignedWord(word, start, end, score)
