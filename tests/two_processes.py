"""A program for test_two_processes.py: one training run on two gloo ranks of a CPU. Arguments: as ``tiny.train``.

fairseq starts as many processes as there are GPUs, and has no option for ranks on a CPU; so the parent says that there
are two. Nothing else is changed, and the ranks are fresh interpreters.
"""

import socket
import sys

import tiny
import torch


def two_ranks():
    """The overrides of a training run that fairseq is to start two ranks of."""
    torch.cuda.device_count = lambda: 2
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return (
        "distributed_training.distributed_world_size=2",
        "distributed_training.distributed_backend=gloo",
        f"distributed_training.distributed_init_method=tcp://localhost:{port}",
        "distributed_training.ddp_backend=legacy_ddp",
    )


if __name__ == "__main__":
    tiny.train(*sys.argv[1:], *two_ranks())
