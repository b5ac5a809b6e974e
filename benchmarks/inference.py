"""Inference beside the plain path, in one run: tokenising, vocoding, generating, scoring.

    python benchmarks/inference.py [--parts tokenise vocode generate score] [--minutes 60]

Networks have the published sizes of the speech parts and random weights; the language model is of `--lm-layers`
layers of width `--lm-width`. The audio is of `--audio`, each file used as often as the minutes ask for. Plain is one
utterance, prompt or hypothesis at a time; the two paths take turns, and the best of each counts.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenise_rtf import hubert, wav2vec2_base
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM

from spiritlm_pl.contracts.speech_tokenizer import SpeechTokenizer, Units
from spiritlm_pl.corpora.audio import load_waveform
from spiritlm_pl.data.batching import by_length
from spiritlm_pl.generation import GenerationSettings
from spiritlm_pl.generation.codec import SpeechCodec, speech_vocabulary
from spiritlm_pl.generation.sampling import continue_tokens
from spiritlm_pl.generation.types import OutputModality
from spiritlm_pl.lm.likelihood import choice_log_likelihoods, log_likelihoods
from spiritlm_pl.runtime.inference import fold_weight_norm, prepare, use_channels_last
from spiritlm_pl.streams import UNIT
from spiritlm_pl.tokenizers.expressive import ExpressiveTokenizer
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig, MinibatchKMeans
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer
from spiritlm_pl.tokenizers.pitch_tokenizer import PitchTokenizer
from spiritlm_pl.tokenizers.pitch_vqvae import PitchVQVAE, PitchVQVAEConfig
from spiritlm_pl.tokenizers.style import StyleEncoder
from spiritlm_pl.vocabulary import Vocabulary
from spiritlm_pl.vocoder.hifigan import HiFiGANConfig, HiFiGANVocoder

PARTS = ("tokenise", "vocode", "generate", "score")
EXPRESSIVE = {"num_pitches": 64, "num_styles": 100}


def best(jobs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Best seconds of jobs that take turns."""
    return {name: min(found) for name, found in seconds(jobs, repeats).items()}


def medians(jobs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Medians of the seconds of jobs that take turns."""
    return {name: statistics.median(found) for name, found in seconds(jobs, repeats).items()}


def seconds(jobs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of jobs that take turns; those of the processor with one thread, to which other work does not add."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            start = clock()
            job()
            times[name].append(clock() - start)
    return times


def phonetic_tokenizer(waveforms: list[Tensor]) -> PhoneticTokenizer:
    """HuBERT base at 25 Hz of random weights, with 500 units that k-means finds in some waveforms."""
    torch.manual_seed(0)
    features = hubert("hubert_base_25hz", 11)
    return PhoneticTokenizer(features, clusters(features, 500, waveforms)).eval()


def expressive_tokenizer(waveforms: list[Tensor]) -> ExpressiveTokenizer:
    """All three kinds in their published sizes."""
    phonetic = phonetic_tokenizer(waveforms)
    features: Any = StyleEncoder.on(wav2vec2_base().eval(), projection_dim=256, normalize=False).eval()
    style = PhoneticTokenizer(features, clusters(features, 20, waveforms))
    return ExpressiveTokenizer(phonetic, PitchTokenizer(PitchVQVAE(PitchVQVAEConfig())), style.eval()).eval()


def clusters(features: Any, num_units: int, waveforms: list[Tensor]) -> KMeans:
    """Clusters of frames, since the best class of a layer of random weights would be nearly the same everywhere."""
    quantizer = KMeans(KMeansConfig(num_units=num_units, feature_dim=features.feature_dim))
    found = [features(waveform[None], torch.tensor([len(waveform)]))[0][0] for waveform in waveforms]
    MinibatchKMeans(quantizer).start(torch.cat(found))
    return quantizer


def corpus(folder: Path, minutes: float) -> list[Tensor]:
    """Waveforms of so many minutes, in the order of their names."""
    waveforms: list[Tensor] = []
    paths, left = sorted(folder.rglob("*.wav")), minutes * 60
    if not paths:
        raise SystemExit(f"--audio must be a folder with WAV files, but is {folder} instead")
    while left > 0:
        for path in paths:
            waveforms.append(load_waveform(path))
            left -= len(waveforms[-1]) / 16_000
            if left <= 0:
                break
    return waveforms


def tokenise(options: argparse.Namespace) -> None:
    """Batched and sorted by length, against one utterance at a time of a tokenizer as it is trained."""
    waveforms = corpus(options.audio, options.minutes)
    seconds = [len(waveform) / 16_000 for waveform in waveforms]
    print(
        f"tokenise: {len(waveforms)} utterances, {sum(seconds) / 60:.1f} min, median {statistics.median(seconds):.1f} s"
    )
    batches = by_length(seconds, options.batch_seconds)
    for kind, make in {"units": phonetic_tokenizer, "units, pitch, style": expressive_tokenizer}.items():
        plain, fast = make(waveforms[:20]), make(waveforms[:20])
        prepare(fast, "cpu")
        one_by_one = [[place] for place in range(len(waveforms))]
        jobs = {
            "plain": partial(codes, plain, waveforms, one_by_one),
            "one by one": partial(codes, fast, waveforms, one_by_one),
            "batched": partial(codes, fast, waveforms, batches),
            "bfloat16": partial(codes, fast, waveforms, batches, half=True),
        }
        given = {name: job() for name, job in jobs.items()}  # also warms up
        found = medians(jobs, options.repeats)
        print(f"  {kind}")
        for name, value in found.items():
            rate, ratio = sum(seconds) / value, found["plain"] / value
            shares = ", ".join(
                f"{100 * float((own == wanted).double().mean()):.2f} %"
                for own, wanted in zip(given[name], given["plain"], strict=True)
            )
            print(f"    {name:<12}{value:8.1f} s   {rate:6.1f} x real time   ratio {ratio:.2f}   equal codes {shares}")


def codes(
    tokenizer: SpeechTokenizer, waveforms: list[Tensor], batches: list[list[int]], half: bool = False
) -> list[Tensor]:
    """Return the codes of all frames of each stream, in the order of the utterances."""
    found: dict[int, Units] = {}
    for batch in batches:
        chosen = [waveforms[place] for place in batch]
        lengths = torch.tensor([len(waveform) for waveform in chosen])
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            found.update(zip(batch, tokenizer.encode(pad_sequence(chosen, batch_first=True), lengths), strict=True))
    ordered = [found[place] for place in range(len(waveforms))]
    streams = [[units.frames() for units in ordered]]
    streams += [[units.codes[name] for units in ordered] for name in ordered[0].codes]
    return [torch.cat(stream) for stream in streams]


def vocode(options: argparse.Namespace) -> None:
    """As inference has it (weight norm folded, channels last, bfloat16 on request), against as it is trained."""
    torch.manual_seed(0)
    config = HiFiGANConfig(**EXPRESSIVE)
    plain, folded = HiFiGANVocoder(config).eval(), HiFiGANVocoder(config).eval()
    folded.load_state_dict(plain.state_dict())
    fold_weight_norm(folded)
    fast = copy.deepcopy(folded)
    use_channels_last(fast)
    half = copy.deepcopy(fast)
    half.use_bfloat16()
    vocabulary = speech_vocabulary(config.layout)
    codecs = {
        "plain": SpeechCodec(vocabulary, vocoder=plain),
        "folded": SpeechCodec(vocabulary, vocoder=folded),
        "channels last": SpeechCodec(vocabulary, vocoder=fast),
        "bfloat16": SpeechCodec(vocabulary, vocoder=half),
    }
    for units in (5, 25, 100, 400):
        tokens = [vocabulary.token(UNIT, unit % 500) for unit in range(units)]
        ones = torch.ones(units, dtype=torch.long)
        wanted = codecs["plain"].decode(tokens, durations=ones).waveform
        jobs = {name: partial(codec.decode, tokens, durations=ones) for name, codec in codecs.items()}
        found = best(jobs, max(5, options.repeats))
        print(f"vocode: {units / 25:.1f} s")
        for name, value in found.items():
            error = codecs[name].decode(tokens, durations=ones).waveform - wanted
            level = 10 * torch.log10(wanted.square().mean() / error.square().mean())
            print(
                f"  {name:<14}{units / 25 / value:6.1f} x real time   ratio {found['plain'] / value:.2f}"
                f"   difference {-level:.0f} dB"
            )


def language_model(options: argparse.Namespace, vocabulary: Vocabulary) -> LlamaForCausalLM:
    """A Llama of random weights."""
    torch.manual_seed(0)
    width = options.lm_width
    config = LlamaConfig(
        vocab_size=vocabulary.num_rows,
        hidden_size=width,
        intermediate_size=8 * width // 3 // 8 * 8,
        num_hidden_layers=options.lm_layers,
        num_attention_heads=width // 64,
        max_position_embeddings=4096,
    )
    return LlamaForCausalLM(config).eval()


def generate(options: argparse.Namespace) -> None:
    """Greedy answers beside those of `transformers`, speech alone (few rows of the output layer) and any token."""
    vocabulary = Vocabulary.spirit_lm(**EXPRESSIVE)
    for dtype in (torch.float32, torch.bfloat16):
        model: Any = language_model(options, vocabulary).to(dtype).requires_grad_(False)
        size = sum(parameter.numel() for parameter in model.parameters())
        print(f"generate: {size / 1e6:.0f} M parameters, {dtype}, prompts of 32 tokens, 64 new tokens, greedy")
        for batch in options.batches:
            prompts = torch.randint(32_000, (batch, 32))
            settings = GenerationSettings(max_new_tokens=64, greedy=True, batch_size=batch)
            jobs: dict[str, Callable[[], Any]] = {
                "transformers": partial(plain_generation, model, prompts),
                "any": generation(model, prompts.tolist(), vocabulary, "any", settings),
                "speech": generation(model, prompts.tolist(), vocabulary, "speech", settings),
            }
            same = [jobs[name]() for name in ("transformers", "any")]  # also warms up
            equal = statistics.mean(float(a == b) for a, b in zip(*same, strict=True))
            times = medians(jobs, options.repeats)
            told = "   ".join(f"{name} {batch * 64 / value:7.1f}" for name, value in times.items())
            ratios = ", ".join(f"{times['transformers'] / times[name]:.2f}" for name in ("any", "speech"))
            print(f"  batch {batch:<3}{told} tokens/s   ratios {ratios}   {100 * equal:.0f} % of answers equal")


def plain_generation(model: Any, prompts: Tensor) -> list[list[int]]:
    """Continue prompts with `generate` of `transformers`."""
    answers = model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        max_new_tokens=64,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=None,
    )
    return [row[prompts.shape[1] :] for row in answers.tolist()]


def generation(
    model: LlamaForCausalLM,
    prompts: list[list[int]],
    vocabulary: Vocabulary,
    output: OutputModality,
    settings: GenerationSettings,
) -> Callable[[], list[list[int]]]:
    """A call that continues prompts."""
    rows = len(prompts)
    return lambda: continue_tokens(
        model, prompts, vocabulary, output, settings, limits=[64] * rows, seeds=list(range(rows))
    )


def score(options: argparse.Namespace) -> None:
    """A shared context computed once, against once a hypothesis, and against one item at a time."""
    vocabulary = Vocabulary.spirit_lm(**EXPRESSIVE)
    model = language_model(options, vocabulary)
    for context, ending in ((64, 16), (256, 16), (256, 64)):
        items = [
            (torch.randint(32_000, (context,)).tolist(), torch.randint(32_000, (2, ending)).tolist(), [0, 0])
            for _ in range(16)
        ]
        whole: list[tuple[list[int], int]] = [(before + end, ending) for before, ends, _ in items for end in ends]
        found = best(
            {
                "one by one": lambda whole=whole: [log_likelihoods(model, [one]) for one in whole],
                "batched": lambda whole=whole: log_likelihoods(model, whole),
                "shared": lambda items=items: choice_log_likelihoods(model, items),
            },
            options.repeats,
        )
        rates = "   ".join(f"{name} {len(items) / value:6.2f}" for name, value in found.items())
        print(
            f"score: 2 endings of {ending} after {context} tokens: {rates} items/s   "
            f"ratios {found['one by one'] / found['shared']:.2f}, {found['batched'] / found['shared']:.2f}"
        )


def main() -> None:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--audio", type=Path, default=Path("quickstart/corpora/prompts/audio"))
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--batch-seconds", type=float, default=60.0)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--lm-layers", type=int, default=12)
    parser.add_argument("--lm-width", type=int, default=768)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.threads} threads, torch {torch.__version__}")
    jobs = {"tokenise": tokenise, "vocode": vocode, "generate": generate, "score": score}
    with torch.no_grad():
        for part in options.parts:
            jobs[part](options)


if __name__ == "__main__":
    main()
