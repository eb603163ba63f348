"""Masked language modelling of rows without padding by the Trainer of transformers, with an end in minutes."""

from __future__ import annotations

import json
import math
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModel,
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils import logging

from fairseq_musc.data.tokenizer import load_tokenizer
from fairseq_musc.errors import InputError
from fairseq_musc.files import write_json
from fairseq_musc.progress import say, with_progress
from fairseq_musc.safe_loading import NO_CODE
from fairseq_musc.stopping import Stop

#: Texts that are cut into pieces at once.
AT_ONCE = 1000
#: Updates between two lines of progress.
LOG_EVERY = 50
#: More updates than anyone waits for, where minutes end a training; the Trainer wants a number.
NO_END = 10**7
#: What stands in a checkpoint beside the Trainer's own files: the seconds trained so far, and the held-out losses.
CLOCK = "clock.json"


class Stopping(NamedTuple):
    """When a training is over, and when this process is to leave it."""

    updates: int | None
    seconds: float | None
    """Of training, over all processes that worked at it."""
    end: float | None
    """On the clock of ``time.monotonic``, for this process."""


class Training(NamedTuple):
    """How is trained; see the options of ``fairseq-musc pretrain-encoder``."""

    max_length: int
    mask: float
    batch_size: int
    lr: float
    warmup: int
    weight_decay: float
    save_every: int
    num_workers: int
    seed: int
    cpu: bool
    bf16: bool


class Done(NamedTuple):
    """What a training has come to."""

    finished: bool
    asked: int | None
    """The signal that asked it to stop, if one did."""
    updates: int
    seconds: float
    rows: int
    device: str
    held_out: Mapping[str, float]
    """Update -> mean loss on the held-out texts, in nats a masked piece."""
    save: Callable[[Path], None]
    """Writes the encoder and its tokenizer into a folder."""


class OfMaskedPieces(BertForMaskedLM):
    """BertForMaskedLM that scores the vocabulary at the masked pieces alone, which is where its loss looks.

    With mBERT's 119,547 word pieces the other 85% of the scores would be most of the memory and of the work.
    """

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **_: Any,
    ) -> dict[str, torch.Tensor]:
        """The mean cross-entropy over the pieces whose label is not -100.

        Args:
            input_ids: batch x length.
            attention_mask: batch x length, 0 at padding.
            labels: batch x length; -100 where nothing is to be told.
        """
        assert labels is not None
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        asked = labels != -100
        scores = self.cls(hidden[asked])
        # A sum over none is 0 and keeps the graph, where a mean would be no number.
        loss = functional.cross_entropy(scores.float(), labels[asked], reduction="sum") / asked.sum().clamp(min=1)
        return {"loss": loss}


class ByTheClock(TrainerCallback):
    """Counts the seconds of training, ends it in time, and says how it goes."""

    def __init__(self, stopping: Stopping, before: float, held_out: dict[str, float], save_every: int) -> None:
        self.stopping, self.before, self.held_out, self.save_every = stopping, before, held_out, save_every
        self.stop = Stop()
        self.began: float | None = None
        self.finished = False

    @property
    def seconds(self) -> float:
        """Of training so far, with those of earlier processes."""
        return self.before + (0 if self.began is None else time.monotonic() - self.began)

    def progress(self, update: int) -> float:
        """What part of the training is over, 0 to 1."""
        parts = [0.0]
        if self.stopping.updates is not None:
            parts.append(update / self.stopping.updates)
        if self.stopping.seconds is not None:
            parts.append(self.seconds / self.stopping.seconds if self.stopping.seconds else 1.0)
        return min(1.0, max(parts))

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Starts the clock at the first update."""
        if self.began is None:
            self.began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ends the training if it is over or this process is to leave it, and has checkpoints written."""
        self.finished = self.progress(state.global_step) >= 1
        out_of_time = self.stopping.end is not None and time.monotonic() >= self.stopping.end
        left = out_of_time or self.stop.asked is not None
        if self.finished or left:
            control.should_training_stop = True
        if self.finished or left or state.global_step % self.save_every == 0:
            # Not when this process is to end: what time it has left is for the checkpoint.
            control.should_evaluate = not left or self.finished
            control.should_save = True

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:
        """Keeps the held-out loss and says its perplexity."""
        if (loss := (metrics or {}).get("eval_loss")) is not None:
            self.held_out[str(state.global_step)] = loss
            say(f"{self._update(state)}  perplexity of held-out {math.exp(loss):.2f}")

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Writes the clock into the checkpoint, last: one without it is not whole."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_json(folder / CLOCK, {"seconds": self.seconds, "held_out": self.held_out})

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_: Any) -> None:
        """Says how far the training is."""
        if logs and "loss" in logs:
            said = f"{self._update(state)}  loss {logs['loss']:.3f}  perplexity {math.exp(logs['loss']):.2f}"
            say(f"{said}  lr {logs['learning_rate']:.2e}  {self.seconds / 60:.1f} minutes")

    def _update(self, state: Any) -> str:
        total = "" if self.stopping.updates is None else f"/{self.stopping.updates}"
        return f"update {state.global_step}{total}"


class MaskedTrainer(Trainer):
    """The Trainer with the learning rate of :func:`rate`, and held-out texts that are masked alike every time."""

    clock: ByTheClock
    warmup: int

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """A schedule that also knows minutes."""
        if self.lr_scheduler is None:
            clock, warmup = self.clock, self.warmup
            optimizer = optimizer or self.optimizer
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda update: rate(update, warmup, clock.progress(update))
            )
        return self.lr_scheduler

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The loss with the same masks every time; the masks of training go on as if it had not been asked for."""
        with torch.random.fork_rng():
            torch.manual_seed(self.args.seed)
            return super().evaluate(*args, **kwargs)


def rate(update: int, warmup: int, progress: float) -> float:
    """The factor of the learning rate: it rises over ``warmup`` updates and falls to 0 with what is left to do.

    Args:
        update: how many are done.
        warmup: updates until it would be reached.
        progress: the part of the training that is over, 0 to 1.
    """
    return min(1.0, (update + 1) / (warmup + 1)) * (1.0 - progress)


def rows_of(texts: Sequence[Sequence[int]], length: int, cls: int, sep: int, pad: int) -> NDArray[np.int32]:
    """Texts end to end as rows of ``length``: [CLS], pieces with [SEP] between texts, [SEP]; the last is padded.

    Args:
        texts: the ids of each, without special ones.
        length: of a row, 3 or more.
        cls: the id of [CLS].
        sep: the id of [SEP].
        pad: the id of [PAD].
    """
    pieces = [piece for text in texts if text for piece in (*text, sep)][:-1]
    inner = length - 2
    rows = np.full((-(-len(pieces) // inner), length), pad, np.int32)
    rows[:, 0] = cls
    for number, start in enumerate(range(0, len(pieces), inner)):
        part = pieces[start : start + inner]
        rows[number, 1 : 1 + len(part)] = part
        rows[number, 1 + len(part)] = sep
    return rows


def cut(tokenizer: Any, texts: Mapping[str, Sequence[str]], length: int, title: str) -> NDArray[np.int32]:
    """The rows of all sources, none of which has texts of two of them."""
    found = []
    ids = (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id)
    for rows in with_progress(list(texts.values()), "sources", title):
        pieces: list[list[int]] = []
        for start in range(0, len(rows), AT_ONCE):
            part = list(rows[start : start + AT_ONCE])
            pieces += tokenizer(part, add_special_tokens=False, verbose=False)["input_ids"]
        found.append(rows_of(pieces, length, *ids))
    return np.concatenate(found) if found else np.empty((0, length), np.int32)


class Rows(torch.utils.data.Dataset):
    """Rows of ids as the collator of transformers takes them."""

    def __init__(self, rows: NDArray[np.int32], special: Sequence[int], pad: int) -> None:
        self.rows, self.special, self.pad = rows, np.asarray(special), pad

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        row = self.rows[number]
        return {
            "input_ids": torch.from_numpy(row.astype(np.int64)),
            "attention_mask": torch.from_numpy((row != self.pad).astype(np.int64)),
            "special_tokens_mask": torch.from_numpy(np.isin(row, self.special).astype(np.int64)),
        }


def pretrain(
    encoder: Path,
    training: Mapping[str, Sequence[str]],
    held_out: Mapping[str, Sequence[str]],
    work: Path,
    options: Training,
    stopping: Stopping,
) -> Done:
    """Trains from the last checkpoint in ``work``, or from the start.

    Args:
        encoder: a Hugging Face folder of BERT's kind, with a tokenizer.
        training: the texts of each source.
        held_out: the same, for perplexity.
        work: where checkpoints go.
        options: how.
        stopping: for how long.

    Raises:
        InputError: the encoder is of another kind, or takes fewer pieces than a row has.
    """
    config = AutoConfig.from_pretrained(encoder, **NO_CODE)
    if config.model_type != "bert":
        raise InputError(f"{encoder} is a {config.model_type}; only encoders of type bert are pretrained here")
    if config.max_position_embeddings < options.max_length:
        raise InputError(
            f"{encoder} reads {config.max_position_embeddings} pieces at once, --max-length is {options.max_length}; "
            "give a smaller one, or new-encoder a larger --max-positions"
        )
    tokenizer = load_tokenizer(str(encoder))
    special = sorted(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id})
    rows = Rows(cut(tokenizer, training, options.max_length, "cut into pieces"), special, tokenizer.pad_token_id)
    kept = Rows(cut(tokenizer, held_out, options.max_length, "cut held-out texts"), special, tokenizer.pad_token_id)
    say(f"{len(rows)} rows of {options.max_length} pieces to train on, {len(kept)} held out")

    checkpoint = last_checkpoint(work)
    before: dict[str, Any] = {"seconds": 0.0, "held_out": {}}
    if checkpoint:
        before = json.loads((checkpoint / CLOCK).read_text(encoding="utf-8"))
        say(f"there is a checkpoint of update {number_of(checkpoint)}")
    torch.manual_seed(options.seed)
    with quiet():
        model = OfMaskedPieces.from_pretrained(checkpoint or encoder, **NO_CODE)
    clock = ByTheClock(stopping, before["seconds"], dict(before["held_out"]), options.save_every)
    updates = number_of(checkpoint) if checkpoint else 0
    clock.finished = clock.progress(updates) >= 1
    trainer = MaskedTrainer(
        model=model,
        args=training_arguments(work, options, stopping),
        train_dataset=rows,
        eval_dataset=kept if len(kept) else None,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=options.mask),
        callbacks=[clock],
    )
    trainer.clock, trainer.warmup = clock, options.warmup
    trainer.remove_callback(PrinterCallback)
    if not clock.finished:
        with quiet(), clock.stop.listening():
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        updates = trainer.state.global_step
    device = trainer.args.device
    return Done(
        clock.finished,
        clock.stop.asked,
        updates,
        clock.seconds,
        len(rows),
        torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        clock.held_out,
        lambda folder: save(encoder, model, tokenizer, folder),
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Without what transformers says of a head that is new, and of weights that are shared and so saved once."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()  # of loading and saving, in transformers 5
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="mtime may not be reliable")
            yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()


def training_arguments(work: Path, options: Training, stopping: Stopping) -> TrainingArguments:
    """What the Trainer is told; when to evaluate and save is :class:`ByTheClock`'s."""
    return TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=options.batch_size,
        learning_rate=options.lr,
        weight_decay=options.weight_decay,
        max_steps=stopping.updates or NO_END,
        bf16=options.bf16,
        use_cpu=options.cpu,
        seed=options.seed,
        dataloader_num_workers=options.num_workers,
        dataloader_drop_last=False,
        prediction_loss_only=True,
        logging_steps=LOG_EVERY,
        logging_nan_inf_filter=False,
        eval_strategy="no",
        save_strategy="no",
        save_total_limit=2,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
    )


def last_checkpoint(work: Path) -> Path | None:
    """The newest whole one; the clock is what is written last. What is not whole is taken away."""
    found = sorted(
        (path for path in work.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)), key=number_of
    )
    for path in found:
        if not (path / CLOCK).exists():
            shutil.rmtree(path)
    whole = [path for path in found if path.exists()]
    return whole[-1] if whole else None


def number_of(checkpoint: Path) -> int:
    """The updates behind a checkpoint."""
    return int(checkpoint.name.rpartition("-")[2])


def save(encoder: Path, model: OfMaskedPieces, tokenizer: Any, folder: Path) -> None:
    """Writes the encoder as ``AutoModel`` reads it, with the pooler that it came with, and its tokenizer."""
    with quiet():
        whole = AutoModel.from_pretrained(encoder, **NO_CODE)
        missing = whole.load_state_dict(model.bert.state_dict(), strict=False)
        assert not missing.unexpected_keys and all("pooler" in key for key in missing.missing_keys), missing
        whole.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if (encoder / "vocab.txt").exists():
        shutil.copy(encoder / "vocab.txt", folder / "vocab.txt")
