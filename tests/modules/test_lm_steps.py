"""Steps of the language model's training: which are done, left out, done again, and what they weigh."""

from types import SimpleNamespace

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities import GradClipAlgorithmType

from spiritlm_pl.callbacks.throughput import Throughput
from spiritlm_pl.data.collate import LossOn
from spiritlm_pl.lm.build import LanguageModelConfig
from spiritlm_pl.lm.schedule import Cosine
from spiritlm_pl.modules import stage
from spiritlm_pl.modules.lm import LanguageModelModule
from spiritlm_pl.modules.skipped_steps import TrainingDivergedError
from spiritlm_pl.modules.stage import StageModule, check_clipping
from spiritlm_pl.modules.strategy import Zero3Strategy

LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_a_batch_of_another_step_is_refused(corpus, make_data, make_module, make_trainer):
    data = make_data(corpus[0])
    data.setup()
    trainer = make_trainer()
    data.trainer = trainer
    late = list(data.train_dataloader())[1:]
    loader = torch.utils.data.DataLoader(late, batch_size=None)
    with pytest.raises(ValueError, match="batch must belong to step 0 of the trainer, but belongs to step 1"):
        make_trainer().fit(make_module(vocabulary=corpus[1]), loader)


class Poison(Callback):
    """Makes the gradients of given steps infinite, and keeps the weights as they were before."""

    def __init__(self, steps):
        self.steps, self.weights = steps, {}

    def on_after_backward(self, trainer, pl_module):
        weight = pl_module.network.get_input_embeddings().weight
        self.weights[trainer.global_step] = weight.detach().clone()
        if trainer.global_step in self.steps:
            weight.grad[3] = torch.inf


def test_a_step_without_finite_gradients_changes_nothing(corpus, make_data, make_module, make_trainer):
    poison, module = Poison({1}), make_module()
    trainer = make_trainer(4, [poison], limit_val_batches=0)
    trainer.fit(module, make_data(corpus[0]))
    assert torch.equal(poison.weights[1], poison.weights[2])
    assert not torch.equal(poison.weights[2], poison.weights[3])
    assert trainer.callback_metrics["train/skipped_steps"] == 1 and trainer.global_step == 4


def test_training_stops_after_many_of_them(corpus, tmp_path, make_data, make_module, make_trainer):
    poison, module = Poison({2, 3, 4}), make_module(max_nonfinite_steps=3)
    saves = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    with pytest.raises(TrainingDivergedError, match="not for 3 steps in a row"):
        make_trainer(9, [poison, saves], limit_val_batches=0).fit(module, make_data(corpus[0]))
    assert torch.equal(module.network.get_input_embeddings().weight, poison.weights[2])
    saved = torch.load(tmp_path / "step=2.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(saved["network.model.embed_tokens.weight"], poison.weights[2])


class Record(Callback):
    """Keeps loss and gradient norm of every step; stops dead before a batch if asked to."""

    def __init__(self, stop_before=None):
        self.values, self.weights, self.seen, self.stop_before = {}, {}, 0, stop_before

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.seen == self.stop_before:
            raise RuntimeError("stopped")
        self.seen += 1

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step > batch.step:
            values = {name: trainer.callback_metrics[f"train/{name}"].item() for name in ("loss", "gradient_norm")}
            self.values[trainer.global_step] = values
            self.weights = {name: value.detach().clone() for name, value in pl_module.network.named_parameters()}


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_step_cut_in_two_is_done_again_exactly(corpus, tmp_path, make_data, make_module, make_trainer):
    def fit(record, folder, checkpoint=None):
        saves = ModelCheckpoint(tmp_path / folder, save_top_k=-1, filename="{step}", save_on_exception=True)
        lightning.seed_everything(3)
        callbacks = [record, Throughput(), saves]
        trainer = make_trainer(5, callbacks, limit_val_batches=0, accumulate_grad_batches=3)
        trainer.fit(make_module(), make_data(corpus[0]), ckpt_path=checkpoint)
        assert trainer.callback_metrics["perf/tokens"] == 5 * 3 * 2 * 64

    whole, stopped, again = Record(), Record(stop_before=2 * 3 + 1), Record()
    fit(whole, "whole")
    with pytest.raises(RuntimeError, match="stopped"):
        fit(stopped, "stopped")
    [saved] = (tmp_path / "stopped").glob("*step=2*.ckpt")
    fit(again, "again", saved)
    assert {**stopped.values, **again.values} == whole.values and sorted(again.values) == [3, 4, 5]
    assert again.seen == 3 * 3
    torch.testing.assert_close(again.weights, whole.weights, rtol=0, atol=0)


def test_the_loss_of_a_step_is_that_of_all_its_batches(corpus, make_data, make_module, make_trainer):
    def first_step(batch_size, accumulate):
        record = Record()
        lightning.seed_everything(3)
        trainer = make_trainer(1, [record], limit_val_batches=0, accumulate_grad_batches=accumulate)
        trainer.fit(make_module(), make_data(corpus[0], batch_size))
        assert record.values[1]["loss"] == trainer.callback_metrics["train/loss"].item()
        return trainer.callback_metrics

    whole, parts = first_step(4, 1), first_step(1, 4)
    for name in ("loss", "loss_text", "loss_speech"):
        assert parts[f"train/{name}"].item() == pytest.approx(whole[f"train/{name}"].item(), rel=1e-5)


class Gradients(Callback):
    """Keeps the gradients of the last step, before they are clipped, and each batch's number of predicted tokens."""

    def __init__(self):
        self.counts = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        wanted = batch.loss_mask[:, 1:] & (batch.segment_ids[:, 1:] == batch.segment_ids[:, :-1])
        self.counts.append(int(wanted.sum()))

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.gradients = {name: weight.grad.clone() for name, weight in pl_module.network.named_parameters()}


@pytest.mark.parametrize("parts", [2, 4])
def test_every_token_of_a_step_weighs_as_much_however_many_its_batch_has(
    corpus, parts, make_data, make_module, make_trainer
):
    def first_step(batch_size, accumulate):
        lightning.seed_everything(3)
        seen = Gradients()
        trainer = make_trainer(1, [seen], limit_val_batches=0, accumulate_grad_batches=accumulate)
        trainer.fit(make_module(), make_data(corpus[0], batch_size, loss_on=LossOn(text=False)))
        return seen

    whole, cut = first_step(4, 1), first_step(4 // parts, parts)
    assert sum(cut.counts) == sum(whole.counts) and max(cut.counts) > 1.2 * min(cut.counts)
    torch.testing.assert_close(cut.gradients, whole.gradients, rtol=1e-4, atol=1e-7)


class Norms(Callback):
    def on_train_start(self, trainer, pl_module):
        self.before = pl_module.network.model.norm.weight.detach().clone()

    def on_train_end(self, trainer, pl_module):
        self.moved = (pl_module.network.model.norm.weight.detach() - self.before).abs()


def test_norms_move_at_the_published_learning_rate_in_what_bfloat16_is_offered(
    corpus, make_data, make_module, make_trainer
):
    norms = Norms()
    trainer = make_trainer(5, [norms], limit_val_batches=0, precision="bf16-mixed")
    trainer.fit(make_module(lr=3e-5), make_data(corpus[0]))
    assert norms.before.dtype == torch.float32 and norms.moved.min() > 0 and norms.moved.max() > 1e-4
    weight = torch.nn.Parameter(norms.before.bfloat16())  # what is refused
    optimizer = torch.optim.AdamW([weight], lr=3e-5)
    for _ in range(5):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert torch.equal(weight.detach().float(), norms.before)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_freed_memory_stays_for_the_next_step_on_a_cpu(device, monkeypatch):
    told = []
    monkeypatch.setattr(stage, "keep_heap", lambda: told.append(device))
    module = StageModule()
    module.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(device)))
    module.on_fit_start()
    assert told == ["cpu"] * (device == "cpu")


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [("bfloat16", "32-true"), ("bfloat16", "bf16-mixed"), ("float32", "bf16-true"), ("float16", "32-true")],
)
def test_weights_in_half_precision_are_refused_without_deepspeed(
    corpus, dtype, precision, make_data, make_module, make_trainer
):
    module = make_module(LanguageModelConfig(config=LLAMA, dtype=dtype))
    kind = "float16" if dtype == "float16" else "bfloat16"
    message = f"weights must be float32 without DeepSpeed, .* but network.model.embed_tokens.weight is {kind} instead"
    with pytest.raises(ValueError, match=message):
        make_trainer(1, limit_val_batches=0, precision=precision).fit(module, make_data(corpus[0]))


def test_a_step_that_deepspeed_skips_counts_once(corpus, make_module):
    module = make_module(max_nonfinite_steps=2)
    logged = {}
    module.log = lambda name, value: logged.update({name: value})
    engine = SimpleNamespace(optimizer=SimpleNamespace(overflow=False), get_global_grad_norm=lambda: 1.5)
    trainer = module.trainer = SimpleNamespace(model=engine, global_step=0)
    for step, overflow in enumerate((False, True, False, True)):
        for last in (False, False, True):  # the flag stays as it was until DeepSpeed's next step
            if last:
                trainer.global_step, engine.optimizer.overflow = step + 1, overflow
            module.on_train_batch_end(None, SimpleNamespace(step=step), 0)
    assert module.skipped.total == logged["train/skipped_steps"] == 2 and module.skipped.in_a_row == 1
    assert logged["train/gradient_norm"] == 1.5
    trainer.global_step = 5
    with pytest.raises(TrainingDivergedError, match="not for 2 steps in a row"):
        module.on_train_batch_end(None, SimpleNamespace(step=4), 0)


def test_deepspeed_does_not_clip_by_value(make_module):
    module = make_module()
    module.trainer = SimpleNamespace(gradient_clip_algorithm=GradClipAlgorithmType.VALUE, strategy=Zero3Strategy())
    with pytest.raises(ValueError, match="gradient_clip_algorithm must be norm, but is value instead"):
        check_clipping(module)
    module.trainer.strategy = SingleDeviceStrategy()
    check_clipping(module)  # honoured there


def test_a_schedule_without_an_end_is_refused(corpus, make_data, make_trainer):
    module = LanguageModelModule(LanguageModelConfig(config=LLAMA), schedule=Cosine(warmup_steps=1))
    with pytest.raises(ValueError, match="total_steps must be given where the trainer has no max_steps"):
        make_trainer(-1, max_epochs=1, limit_val_batches=0).fit(module, make_data(corpus[0]))
