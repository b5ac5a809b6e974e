import torch

from spiritlm_pl.contracts.batches import within
from spiritlm_pl.tokenizers.masking import MaskEmbedding, draw_mask


def test_spans_have_the_expected_share() -> None:
    torch.manual_seed(0)
    inside = within(torch.tensor([400, 400]), 400)
    drawn = torch.stack([draw_mask(inside, 0.5, 5) for _ in range(200)])
    # 0.1 of the frames begin a span of 5, none of them twice: a frame is shown if none of 5 frames begins one.
    assert abs(float(drawn.float().mean()) - (1 - 0.9**5)) < 0.015


def test_spans_are_whole_and_lie_within_the_audio() -> None:
    torch.manual_seed(0)
    inside = within(torch.tensor([43]), 60)
    for _ in range(50):
        (row,) = draw_mask(inside, 0.2, 5)
        assert not bool((row & ~inside).any())
        edges = torch.nn.functional.pad(row.long(), (1, 1)).diff()
        lengths = (edges == -1).nonzero() - (edges == 1).nonzero()
        assert bool((lengths >= 5).all()) and len(lengths) >= 1


def test_rows_hide_equally_many_frames() -> None:
    torch.manual_seed(0)
    inside = within(torch.tensor([100, 30, 60]), 100)
    for _ in range(20):
        drawn = draw_mask(inside, 0.5, 5)
        assert not bool((drawn & ~inside).any())
        assert len(set(drawn.sum(1).tolist())) == 1 and 7 <= int(drawn[0].sum()) <= 15  # three spans in 30 frames


def test_short_utterances_have_a_span() -> None:
    inside = within(torch.tensor([3, 3]), 5)
    assert draw_mask(inside, 0.5, 5).tolist() == inside.tolist()
    assert not bool(draw_mask(within(torch.tensor([3, 0]), 5), 0.5, 5).any())


def test_hidden_frames_are_the_embedding_and_learn_it() -> None:
    embedding, frames = MaskEmbedding(4), torch.randn(2, 6, 4)
    hidden = torch.rand(2, 6) < 0.5
    hidden[0, 0] = True
    replaced = embedding(frames, hidden)
    assert torch.equal(replaced[~hidden], frames[~hidden])
    assert torch.equal(replaced[hidden], embedding.mask_embedding.expand(int(hidden.sum()), 4))
    replaced.sum().backward()
    assert embedding.mask_embedding.grad is not None
    torch.testing.assert_close(embedding.mask_embedding.grad, torch.full((4,), float(hidden.sum())))
