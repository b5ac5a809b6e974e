"""Word times from a CTC network by forced alignment (Kürzinger et al., 2020; Pratap et al., 2023).

The characters of the words are laid along the best path through the network's output. What the network
cannot spell is handled in steps: other case, letter without its accents, character left out; a word of
which nothing is left can be laid on a star, a class that fits any sound.

Shapes: S samples, T frames, C classes.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torchaudio.functional import TokenSpan, forced_align, merge_tokens

from spiritlm_pl.alignment.contract import Aligned
from spiritlm_pl.alignment.ctc_network import CTCNetwork, load_folder, load_mms_fa
from spiritlm_pl.corpora.audio import SAMPLE_RATE
from spiritlm_pl.corpora.text.transcripts import one_form
from spiritlm_pl.corpora.word_times import AlignedWord, AlignmentError

MMS_FA = "MMS_FA"
Unknown = Literal["error", "star"]


@lru_cache(maxsize=1)
def _network(name: str, device: str) -> CTCNetwork:
    """The network of this process."""
    return load_mms_fa(device) if name == MMS_FA else load_folder(name, device)


@dataclass(frozen=True)
class CTCAligner:
    """Forced alignment with a network by choice; gives words with scores, no phones.

    Words lie where their characters peak; the time between them belongs to none.

    Args:
        network: "MMS_FA" (torchaudio's; downloads 1.2 GB at first use), or a folder with a CTC checkpoint of
            `transformers`.
        device: where the network runs.
        unknown: what to do with a word of which the network knows no character: "error" refuses the
            utterance and names the word, "star" gives the word the sound between its neighbours, and no score.
    """

    network: str = MMS_FA
    device: str = "cpu"
    unknown: Unknown = "error"
    name: str = "ctc"
    needs_audio: bool = True
    english_only: bool = False

    def load(self) -> CTCNetwork:
        """The network, loaded once a process.

        Raises:
            ValueError: if the folder is no such checkpoint.
            ConnectionError: if weights cannot be fetched.
        """
        return _network(str(self.network), self.device)

    def align(self, cut_id: str, waveform: Tensor | None, words: Sequence[str], language: str = "en") -> Aligned:
        """Times for the words in a waveform (S,) at 16 kHz; see `Aligner.align`."""
        assert waveform is not None
        return Aligned([*align_words(self.load(), waveform, words, self.unknown)])


def spell(network: CTCNetwork, word: str) -> list[int]:
    """Classes of the characters of a word; empty if the network knows none of them."""
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
    """Times and scores of words in a waveform (S,) at 16 kHz.

    A score is the mean probability of the word's characters on the path.

    Raises:
        AlignmentError: if there is nothing to align, or more characters than frames.
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
    """Log-probabilities (T, C) on the CPU."""
    if len(waveform) < network.hop_length + 2 * network.offset:
        raise AlignmentError(f"audio is too short: {len(waveform) / SAMPLE_RATE:.3f} s")
    log_probs = network.log_probs(waveform).float().cpu()
    if bool(log_probs.isnan().any()):
        raise AlignmentError("output of the network is not finite")
    return log_probs


def _place(network: CTCNetwork, log_probs: Tensor, spelled: list[list[int]]) -> list[list[TokenSpan]]:
    """Spans in frames of the characters of each word, on the best path through (T, C)."""
    between = [] if network.delimiter is None else [network.delimiter]
    owners = [(index, c) for index, classes in enumerate(spelled) for c in (*classes, *between)]
    owners = owners[: len(owners) - len(between)]  # none after the last word
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
