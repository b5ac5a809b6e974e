"""A vocoder that starts from another one first speaks as that one did."""

from pathlib import Path

import pytest
import torch

from spiritlm_pl.runtime.checkpoint import save_network
from spiritlm_pl.vocoder.hifigan import HiFiGANConfig, HiFiGANVocoder
from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTVocoder
from spiritlm_pl.vocoder.vocoder import Vocoder
from spiritlm_pl.vocoder.warm_start import other_tokenizer, start_from, with_voices

OLD = {"num_units": 9, "speakers": ("anna", "bert"), "embedding_dim": 8}
STFT = {"channels": 16, "hidden_channels": 32, "unit_blocks": 1, "frame_blocks": 1}
GAN = {"upsample_initial_channels": 32, "resblock_kernel_sizes": (3,), "resblock_dilations": ((1,),)}


def vocoder(kind: str, **options: object) -> Vocoder:
    sizes = OLD | options
    if kind == "stft":
        return InverseSTFTVocoder(InverseSTFTConfig(**STFT, **sizes)).eval()
    return HiFiGANVocoder(HiFiGANConfig(**GAN, **sizes)).eval()


@pytest.mark.parametrize("kind", ["stft", "gan"])
@pytest.mark.parametrize("options", [{}, {"num_pitches": 4, "num_styles": 3}, {"styles": ("sad", "happy")}])
def test_it_first_speaks_as_the_old_one(kind: str, options: dict[str, object], tmp_path: Path) -> None:
    torch.manual_seed(0)
    old = vocoder(kind)
    save_network(tmp_path, old, "vocoder")
    new = vocoder(kind, speakers=("carl", "bert", "anna"), **options)
    start_from(new, tmp_path)
    units = torch.randint(0, 9, (1, 12))
    codes = (torch.ones_like(units), torch.ones_like(units)) if new.expressive else (None, None)
    for name in ("anna", "bert"):
        expected = old(units, torch.tensor([old.speaker_id(name)]))
        torch.testing.assert_close(new(units, torch.tensor([new.speaker_id(name)]), *codes), expected)
    torch.testing.assert_close(new.predict_log_durations(units), old.predict_log_durations(units))
    torch.testing.assert_close(new.speaker_embedding.weight[0], old.speaker_embedding.weight.mean(0))


def test_global_styles_go_by_their_names(tmp_path: Path) -> None:
    old, new = vocoder("stft", styles=("sad", "happy")), vocoder("stft", styles=("happy", "calm", "sad"))
    save_network(tmp_path, old, "vocoder")
    start_from(new, tmp_path)
    units, speaker = torch.randint(0, 9, (1, 12)), torch.tensor([0])
    for name in ("sad", "happy"):
        made, wanted = (one(units, speaker, None, None, torch.tensor([one.style_id(name)])) for one in (new, old))
        torch.testing.assert_close(made, wanted)


@pytest.mark.parametrize("kind", ["stft", "gan"])
def test_another_voice_begins_as_the_default_one(kind: str, tmp_path: Path) -> None:
    """So does a published vocoder, which has global styles; an expressive one keeps pitch and style codes."""
    codes = {"num_pitches": 4, "num_styles": 3, "default_pitch": 2}
    defaults = {"default_speaker": 1, "default_global_style": 1}
    old = vocoder(kind, styles=("sad", "happy"), **defaults, **codes)
    save_network(tmp_path, old, "vocoder")
    new = with_voices(tmp_path, ["carl"])
    assert (new.config.speakers, new.config.styles, new.config.default_pitch) == (("carl",), ("happy",), 2)
    units = [3, 4, 5, 5, 8]
    torch.testing.assert_close(new.speak_frames(units), old.speak_frames(units))
    torch.testing.assert_close(new.synthesize(units), old.synthesize(units))
    like = with_voices(tmp_path, ["carl"], "anna")
    torch.testing.assert_close(like.speak_frames(units), old.speak_frames(units, "anna"))
    with pytest.raises(ValueError, match="^initial_speaker must be one of anna, bert or in"):
        with_voices(tmp_path, ["carl"], "dora")


def test_units_of_another_tokenizer_are_known_where_it_is_recorded(tmp_path: Path) -> None:
    save_network(tmp_path, vocoder("stft"), "vocoder")
    assert other_tokenizer(tmp_path, "aa") is None
    save_network(tmp_path, vocoder("stft"), "vocoder", extra={"tokenizer_sha256": "aa"})
    assert other_tokenizer(tmp_path, "aa") is None and other_tokenizer(tmp_path, None) is None
    assert "come from one with other weights" in str(other_tokenizer(tmp_path, "bb"))


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    save_network(tmp_path, vocoder("stft"), "vocoder")
    with pytest.raises(ValueError, match="initial must be a HiFiGANVocoder, but .* holds a InverseSTFTVocoder"):
        start_from(vocoder("gan"), tmp_path)
    with pytest.raises(ValueError, match="num_units of initial must be 7, but of .* is 9 instead"):
        start_from(vocoder("stft", num_units=7), tmp_path)
    save_network(tmp_path / "codes", vocoder("stft", num_pitches=4, num_styles=3), "vocoder")
    with pytest.raises(ValueError, match="num_pitches of initial must be 0 or 5, but of .* is 4 instead"):
        start_from(vocoder("stft", num_pitches=5, num_styles=3), tmp_path / "codes")
    wide = InverseSTFTVocoder(InverseSTFTConfig(**{**STFT, "hidden_channels": 48}, **OLD))
    with pytest.raises(ValueError, match=r"shape of generator.* of initial must be .*, but of .* is .* instead"):
        start_from(wide, tmp_path)
