"""``fairseq-train`` in a process of its own, as train-translator starts it.

    python -P -m fairseq_musc.translate.training_child [arguments of fairseq-train]

It differs from fairseq's own command in six things:

- It obeys its standard input. A byte there ends the training behind the update in hand, with a checkpoint; the end of
  it, which the death of the process that started this one brings about, ends it at once. fairseq itself can be ended by
  a number of updates, or by its own training time, in which nothing counts that was done before.
- The processes that make its batches leave its objects alone, see :mod:`fairseq_musc.forks`: without that they can lose
  a batch, which the training then waits for.
- It prints a sign of life, :data:`SIGN`, at updates and at batches of held-out lines, and prints its stack when it gets
  :data:`STACK_SIGNAL`, as do the processes that make its batches: what stands still all the same ends with a reason.
- It keeps to the plain kernels of attention. Of the fused ones it is reported that gradients come out that are not
  finite where those of the formula are: with thousands of very short sentences in a batch (pytorch/pytorch#119320),
  with masks (#178251), with cuDNN where all scores of a query are far below zero (#196678); and one such batch ends a
  training. cuDNN also plans each shape of a batch anew, and hardly two batches here have the same. Sentences are short,
  so that the plain kernels cost little.
- It multiplies matrices of fp32 in TF32, where a GPU has it.
- It logs in the form that fairseq's command sets up, whatever is imported first: parts of fairseq log while they are
  imported where optional packages are missing, and settle the form of all lines by it.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from fairseq_musc.forks import end_at_once, spare_the_parent
from fairseq_musc.safe_loading import allow_fairseq_checkpoints

#: What makes fairseq stop behind the next update: any training time above this many hours.
AT_ONCE = 1e-9

#: The line that says that it is at work.
SIGN = "at work"

#: Seconds between two signs of life at least.
BETWEEN_SIGNS = 1.0

#: What makes a process print the stacks of its threads.
STACK_SIGNAL = signal.SIGUSR1

#: As ``fairseq_cli.train`` has it, less the time.
LOG_FORMAT = "%(levelname)s | %(name)s | %(message)s"


def main() -> None:
    """Trains; the arguments are in ``sys.argv``."""
    faulthandler.register(STACK_SIGNAL)  # the processes that make batches inherit it
    logging.basicConfig(format=LOG_FORMAT, level=logging.INFO, stream=sys.stdout)
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from fairseq.distributed import utils as distributed_utils
    from fairseq_cli import train

    train.Trainer = with_signs(train.Trainer)
    choose_kernels()
    spare_the_parent()
    end_at_once()
    allow_fairseq_checkpoints()  # a checkpoint to go on from
    settings = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser()))

    def stop() -> None:
        settings.optimization.stop_time_hours = AT_ONCE

    threading.Thread(target=obey, args=(sys.stdin.fileno(), stop), daemon=True).start()
    distributed_utils.call_main(settings, train.main)


def choose_kernels() -> None:
    """Plain attention, and TF32, on a GPU; a CPU is left as it is."""
    import torch

    if torch.cuda.is_available():
        torch.backends.cuda.enable_flash_sdp(False)
        torch.backends.cuda.enable_mem_efficient_sdp(False)
        torch.backends.cuda.enable_cudnn_sdp(False)
        torch.set_float32_matmul_precision("high")


def with_signs(trainer: type[Any]) -> type[Any]:
    """A trainer of fairseq's that gives a sign of life with every batch."""
    last = 0.0

    def sign() -> None:
        nonlocal last
        if time.monotonic() - last >= BETWEEN_SIGNS:
            last = time.monotonic()
            # Past sys.stdout, whose lock a process that another thread forks in this moment would inherit taken.
            os.write(1, f"{SIGN}\n".encode())

    class WithSigns(trainer):
        def train_step(self, *args: Any, **kwargs: Any) -> Any:
            sign()
            return super().train_step(*args, **kwargs)

        def valid_step(self, *args: Any, **kwargs: Any) -> Any:
            sign()
            return super().valid_step(*args, **kwargs)

    return WithSigns


def obey(descriptor: int, stop: Callable[[], None]) -> None:
    """Calls ``stop`` for each byte that comes, and ends this process at the end of input.

    It reads from the descriptor and not from ``sys.stdin``, whose lock the processes that make batches would inherit.
    """
    while os.read(descriptor, 1):
        stop()
    os._exit(1)  # no clearing up: a checkpoint that is being written is left as a file that no one takes for one


if __name__ == "__main__":
    main()
