"""Train on two processes with different data, write each rank's weights (run by test_vocoder.py)."""

import sys
from pathlib import Path

import torch
from test_vocoder import module, tones, trainer
from torch.utils.data import DataLoader

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    model = module(ema_decay=0.5, adversarial_start=1, expressive=True)
    fit = trainer(
        folder, max_steps=3, devices=2, strategy="ddp_find_unused_parameters_true", use_distributed_sampler=False
    )
    data = [tones(seed=10 * fit.global_rank + step, expressive=True) for step in range(3)]
    loader = DataLoader(data, batch_size=None)
    fit.fit(model, loader, loader)
    torch.save(model.state_dict(), folder / f"rank{fit.global_rank}.pt")
