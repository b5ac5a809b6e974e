"""Peak memory and time of the next-token loss, forward and backward, for every method.

    python benchmarks/loss_memory.py --tokens 4096 --hidden 1024 --vocabulary 32768

Each method runs in a process of its own; on CPU its memory is the growth of the peak resident size, which
includes the gradients of hidden states and weight (both counted in every method), on CUDA the allocator's peak.
"""

import argparse
import resource
import subprocess
import sys
import time

import torch

from spiritlm_pl.lm.loss import HAS_TORCH_FUSED, LossSettings, next_token_loss

METHODS = ("full", "chunked", *(("torch",) if HAS_TORCH_FUSED else ()))


def measure(method: str, options: argparse.Namespace) -> tuple[float, float]:
    """MiB and seconds of one method."""
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    torch.manual_seed(0)
    hidden = torch.randn(options.tokens, options.hidden, device=device, dtype=dtype, requires_grad=True)
    weight = torch.randn(options.vocabulary, options.hidden, device=device, dtype=dtype).mul_(0.02).requires_grad_()
    targets = torch.randint(0, options.vocabulary, (options.tokens,), device=device)
    settings = LossSettings(method=method, chunk=options.chunk)

    def step(count: int) -> None:
        hidden.grad = weight.grad = None
        total, _ = next_token_loss(hidden[:count], weight, None, targets[:count], settings)
        (total / count).backward()

    def peak() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    step(8)
    before = torch.cuda.memory_allocated() / 2**20 if device.type == "cuda" else peak()
    start = time.perf_counter()
    step(options.tokens)
    grown = peak() - before
    seconds = time.perf_counter() - start
    for _ in range(2):
        start = time.perf_counter()
        step(options.tokens)
        peak()
        seconds = min(seconds, time.perf_counter() - start)
    return grown, seconds


def main() -> None:
    """Run every method in its own process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=METHODS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="bfloat16")
    for name, default in (("tokens", 4096), ("hidden", 1024), ("vocabulary", 32_768), ("chunk", 1024)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if options.method:
        grown, seconds = measure(options.method, options)
        print(f"{options.method:<10}{grown:>10,.0f} MiB{seconds:>10.3f} s")
        return
    print(f"{options.tokens} tokens x {options.hidden}, {options.vocabulary} rows, {options.dtype}, {options.device}")
    for method in METHODS:
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--method", method], check=True)


if __name__ == "__main__":
    main()
