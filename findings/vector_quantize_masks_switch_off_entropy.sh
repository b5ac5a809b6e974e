#!/bin/sh
# vector-quantize-pytorch 1.32.0: with a mask of padding, even one that masks nothing, `LFQ` and `ResidualLFQ` train
#   without their entropy loss, and `VectorQuantize` with cosine similarity has another commitment loss.
#
# Expected: a mask that is true everywhere changes nothing: losses and gradients are those without it, as they are of
#   `VectorQuantize` with Euclidean distance. "Entropy regularizations" are what LFQ has in place of a codebook that is
#   learned: each vector shall choose clearly, all of them together shall use all codes ("how much weight to give to
#   diversity of codes").
# Seen: the entropy loss of `LFQ` and of each layer of `ResidualLFQ` is 0, with gradients of nothing but rounding, for
#   vectors with a loss of -4.3 without a mask; with a larger `diversity_gamma` what is left pushes each vector to be
#   undecided, the opposite of the loss. Codes are no longer spread, and nothing tells. With `use_cosine_sim` the
#   commitment loss is 7 times as large and draws vectors to a length of 1, on which codes do not depend. Batches of
#   utterances of different length are what masks are for.
# Why: `original_input[mask]` has no axis of the sequence any more, but its first two axes are joined as before; the
#   mean over the batch is then of each vector alone, so that both entropies are the same and cancel. With a mask,
#   commitment is to the input as it came, not as it was normalised.
# Source: vector_quantize_pytorch/lookup_free_quantization.py, `forward`: `rearrange(input_for_entropy, ...)`;
#   vector_quantize_pytorch.py, `forward`: `F.mse_loss(commit_quantize, orig_input, ...)`
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-}
if [ -z "$python" ]; then # PYTHON=... takes an environment that has both
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet vector-quantize-pytorch==1.32.0 torch==2.13.0 numpy
    python="$folder/venv/bin/python"
fi
cd "$folder"
"$python" - <<'PY'
from importlib.metadata import version

import torch
from vector_quantize_pytorch import LFQ, ResidualLFQ, VectorQuantize

print("vector-quantize-pytorch", version("vector-quantize-pytorch"), "torch", torch.__version__)
torch.set_num_threads(1)
torch.manual_seed(0)
vectors = torch.randn(2, 50, 8)


def trained(make, mask):
    """Loss of the vectors, and the length of its gradient."""
    torch.manual_seed(0)
    quantizer = make().train()
    inputs = vectors.clone().requires_grad_()
    loss = quantizer(inputs, mask=mask)[2].sum()
    [gradient] = torch.autograd.grad(loss, inputs)
    return loss.item(), gradient.norm().item()


everything = torch.ones(2, 50, dtype=torch.bool)
makers = {
    "VectorQuantize": lambda: VectorQuantize(dim=8, codebook_size=16),
    "LFQ": lambda: LFQ(dim=8, codebook_size=256, entropy_loss_weight=1.0),
    "ResidualLFQ": lambda: ResidualLFQ(dim=8, codebook_size=256, num_quantizers=2, entropy_loss_weight=1.0),
    "VectorQuantize, cosine": lambda: VectorQuantize(dim=8, codebook_size=16, use_cosine_sim=True),
}
found = {}
for name, make in makers.items():
    (loss, gradient), (masked_loss, masked_gradient) = trained(make, None), trained(make, everything)
    found[name] = masked_loss / loss, masked_gradient / gradient
    told = f"with a mask of all {masked_loss:.3f}, {masked_gradient:.2g}"
    print(f"{name}: loss {loss:.3f}, gradient {gradient:.2g}; {told}")
assert all(abs(part - 1) < 1e-5 for part in found.pop("VectorQuantize"))
cosine, _ = found.pop("VectorQuantize, cosine")
if max(max(parts) for parts in found.values()) > 1e-5 or abs(cosine - 1) < 0.1:
    raise SystemExit("a mask of all changes nothing now")
PY
