"""A program for test_stopping.py: a training that is sent SIGTERM while fairseq is between its second and third epoch.

Arguments: the number of ranks, which of them gets the signal, and then as ``tiny.train``. The rank sends it to itself,
so that it comes between two epochs for certain.
"""

import os
import signal
import sys

import tiny
import two_processes
from fairseq.trainer import Trainer


def between_epochs(call):
    """A ``Trainer.get_train_iterator`` that calls ``call`` with the trainer before the third epoch."""
    real = Trainer.get_train_iterator

    def get_train_iterator(self, epoch, *args, **options):
        if epoch == 3:
            call(self)
        return real(self, epoch, *args, **options)

    return get_train_iterator


def send(number, rank=0):
    """Sends a signal to the process of a rank, and to no other."""

    def call(trainer):
        if trainer.data_parallel_rank == rank:
            os.kill(os.getpid(), number)

    return call


if __name__ in ("__main__", "__mp_main__"):  # the second in ranks, which import this file
    ranks, asked, *arguments = sys.argv[1:]
    Trainer.get_train_iterator = between_epochs(send(signal.SIGTERM, int(asked)))
    if __name__ == "__main__":
        tiny.train(*arguments, *(two_processes.two_ranks() if ranks == "2" else ()))
