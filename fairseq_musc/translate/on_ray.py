"""Chunks translated by the workers of a Ray cluster: the GPUs of this machine, or of many.

The process that was started holds the work folder, gives out chunks and writes what comes back; workers hold an engine
each and see nothing but sentences. So other machines need this package and the translator under the same path, and no
file system in common. A worker that dies is started again, and its chunk with it.

Why actors and not Ray Data: both survive a killed worker. But Ray Data keeps what is done within its own run, where we
need it on disk for the next one, chunk by chunk. With an actor pool over chunk files the cluster is one more kind of
worker, and resuming is what it is without one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fairseq_musc.errors import InputError
from fairseq_musc.translate.chunks import Chunk
from fairseq_musc.translate.engine import Decoding, Engine, Hypothesis
from fairseq_musc.translate.job import Opener, Task, Translated, translate_chunk

#: The address that stands for a cluster of this machine alone, which ends with the run.
THIS_MACHINE = "local"
#: How often a chunk is tried again when its worker dies with it.
RETRIES = 3
#: Bytes for what is under way between processes: the sentences of a few chunks.
OBJECTS = 200 * 2**20


class Worker:
    """What lives in a process of the cluster: one engine for each decoding, and nothing that must not be lost."""

    def __init__(self, opener: Opener):
        self._opener = opener
        self._engines: dict[Decoding, Engine] = {}
        self._provenances: dict[Decoding, dict[str, Any]] = {}

    def ask(self, decoding: Decoding, what: str, *arguments: Any) -> Any:
        """An attribute of the engine, or what its method of this name returns."""
        found = getattr(self._engine(decoding), what)
        return found(*arguments) if callable(found) else found

    def translate(
        self, chunk: Chunk, task: Task, provenance: dict[str, Any]
    ) -> tuple[Chunk, Sequence[Sequence[Hypothesis]]]:
        """A chunk with its hypotheses.

        Raises:
            InputError: the translator on this machine is another than that of ``provenance``.
        """
        engine = self._engine(task.decoding)
        if task.decoding not in self._provenances:
            self._provenances[task.decoding] = engine.provenance()
        if self._provenances[task.decoding] != provenance:
            raise InputError(
                f"the translator on {os.uname().nodename} is another than the one that the job was begun with; "
                "put the same files under the same path on all machines"
            )
        return chunk, translate_chunk(chunk, engine, task)

    def _engine(self, decoding: Decoding) -> Engine:
        if decoding not in self._engines:
            self._engines[decoding] = self._opener(decoding)
        return self._engines[decoding]


class FirstWorkersEngine:
    """The engine of a worker, seen from here: for lengths, languages and provenance. Translating is for the pool."""

    def __init__(self, ask: Callable[..., Any]):
        self._ask = ask
        self.longest: int = ask("longest")
        self._provenance: dict[str, Any] = ask("provenance")

    def require(self, languages: Iterable[str]) -> None:
        """See :class:`~fairseq_musc.translate.engine.Engine`."""
        self._ask("require", list(languages))

    def lengths(self, sentences: Sequence[str]) -> list[int]:
        """See :class:`~fairseq_musc.translate.engine.Engine`."""
        lengths: list[int] = self._ask("lengths", sentences)
        return lengths

    def provenance(self) -> dict[str, Any]:
        """See :class:`~fairseq_musc.translate.engine.Engine`."""
        return self._provenance

    def translate(
        self, batches: Iterable[Sequence[str]], source_lang: str, target_lang: str
    ) -> Iterator[list[list[Hypothesis]]]:
        """Never called: chunks go to :meth:`Pool.translate`."""
        raise NotImplementedError


class Pool:
    """Workers in a Ray cluster. Made by :func:`ray_pool`."""

    def __init__(self, actors: Sequence[Any]):
        self.number = len(actors)
        self._actors = list(actors)
        self._engines: dict[Decoding, FirstWorkersEngine] = {}

    def engine(self, decoding: Decoding) -> Engine:
        """The first worker's engine."""
        if decoding not in self._engines:
            self._engines[decoding] = FirstWorkersEngine(
                lambda what, *arguments: result_of(self._actors[0].ask.remote(decoding, what, *arguments))
            )
        return self._engines[decoding]

    def translate(self, chunks: Iterable[Chunk], task: Task, progress: Callable[[int], object]) -> Translated:
        """Gives each worker that is free the next chunk. See :meth:`~fairseq_musc.translate.job.Workers.translate`."""
        from ray.util import ActorPool

        provenance = self.engine(task.decoding).provenance()
        pool = ActorPool(self._actors)  # a new one: what an earlier call may have left under way is not handed out here

        def begin(actor: Any, chunk: Chunk) -> Any:
            return actor.translate.remote(chunk, task, provenance)

        def next_done() -> tuple[Chunk, Sequence[Sequence[Hypothesis]]]:
            with errors_of_workers():
                chunk, hypotheses = pool.get_next_unordered()
            progress(len(chunk.sentences))
            return chunk, hypotheses

        for chunk in chunks:
            pool.submit(begin, chunk)
            if not pool.has_free():
                yield next_done()
        while pool.has_next():
            yield next_done()


@contextmanager
def errors_of_workers() -> Iterator[None]:
    """Raises an :class:`InputError` of a worker as it is here, and one of ours if workers die over and over."""
    from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise error.cause from None
        raise
    except (ActorDiedError, ActorUnavailableError) as error:
        raise InputError(
            f"a worker died, and so did those that its chunk was given to after it ({RETRIES} times). The chunks that "
            f"are done are kept. The usual cause is memory: try a smaller --batch-tokens. Ray says:\n{error}"
        ) from None


def result_of(reference: Any) -> Any:
    """What a remote call returned."""
    import ray

    with errors_of_workers():
        return ray.get(reference)


@contextmanager
def ray_pool(opener: Opener, cpu: bool, address: str, workers: int | None) -> Iterator[Pool]:
    """A pool of workers for the block, in a cluster of this machine or in one that runs already.

    A cluster of this machine listens on the loopback device only and ends with the block. Ray reports no usage and
    starts no dashboard.

    Args:
        opener: opens the engine; it is sent to the workers.
        cpu: whether GPUs are left alone; if not, and there are any, each worker has one.
        address: :data:`THIS_MACHINE`, or what ``ray.init`` takes, e.g. ``auto`` or ``10.0.0.1:6379``.
        workers: how many; None for one a GPU, or a single one without any.

    Raises:
        InputError: Ray is not installed, no cluster answers, or it has no room for as many workers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # these are read when Ray is imported
    if address == THIS_MACHINE:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # what keeps it to the loopback device
    try:
        import ray
    except ModuleNotFoundError:
        raise InputError("--ray needs the package ray; install it: pip install 'fairseq-musc[ray]'") from None
    if workers is not None and workers < 1:
        raise InputError(f"--workers is {workers}; it must be at least 1")
    own: dict[str, Any] = {
        "num_cpus": max(workers or 1, os.cpu_count() or 1),
        "object_store_memory": OBJECTS,
        "include_dashboard": False,
    }
    try:
        # Ray puts the current folder on the workers' path; a checkout has this package without its three rooms.
        with contextlib.chdir(Path(sys.executable).parent):
            ray.init(
                address, log_to_driver=False, logging_level=logging.ERROR, **(own if address == THIS_MACHINE else {})
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"no Ray cluster answers at {address!r}: {error}. Start one (`ray start --head`, and `ray start --address "
            "HOST:PORT` on each machine), or leave the address out for this machine alone"
        ) from None
    try:
        room = ray.cluster_resources()
        gpus = 0 if cpu else int(room.get("GPU", 0))
        number = workers or gpus or 1
        most = gpus or int(room.get("CPU", 0))
        if number > most:
            raise InputError(
                f"--workers is {number}; the cluster has room for {most}, one a {'GPU' if gpus else 'processor core'}"
            )
        options: dict[str, Any] = {"num_cpus": 0 if gpus else 1, "num_gpus": 1 if gpus else 0}
        actor: Any = ray.remote(**options, max_restarts=-1, max_task_retries=RETRIES)(Worker)
        yield Pool([actor.remote(opener) for _ in range(number)])
    finally:
        ray.shutdown()
