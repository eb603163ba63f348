"""Trainings that are told to stop: real signals to real processes, and what lies on disk afterwards."""

import fcntl
import inspect
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import fairseq_cli.train
import killed
import pytest
import tiny
import torch
from fairseq import tasks
from fairseq.trainer import Trainer
from omegaconf import OmegaConf
from stopped_between import between_epochs, send

from fairseq_musc.errors import InputError
from fairseq_musc.stopping import Stop, finished, last_words

HERE = Path(__file__).parent
PROGRAM = Path(sys.executable).with_name("fairseq-hydra-train")
EPOCHS, UPDATES_AN_EPOCH = 6, 5  # 37 rows in batches of 8
#: The update behind which a signal comes that comes between the second and the third epoch.
BETWEEN = 2 * UPDATES_AN_EPOCH


def command(world, save_dir, *overrides):
    return [
        *(PROGRAM, "--config-name", "musc_pawsx", f"task.data={world.data}", f"model.pretrained={world.encoder}"),
        *(f"checkpoint.save_dir={save_dir}", "optimization.lr=[0.001]", "dataset.batch_size=8", "common.cpu=true"),
        *("common.log_interval=1", f"optimization.max_epoch={EPOCHS}", "dataset.num_workers=1", *overrides),
    ]


def start(command, folder, **environment):
    """A training in a session of its own, whose log is read line by line.

    The pipe is small: the training waits for its reader, so that the signals of a test come when it means them to.
    """
    paths = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [*map(str, command)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    return process


def stopped(process, update, send):
    """Calls ``send`` when the log is at an update; returns the status and all that was printed."""
    said = []
    for line in process.stdout:
        said.append(line)
        if f"num_updates={update}," in line or f"num_updates={update} " in line:
            send()
            break
    rest, _ = process.communicate(timeout=120)
    return process.returncode, "".join(said) + rest


def update_of(folder):
    return tiny.load(folder / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"]


def ends(group, seconds=10):
    """Whether no process of a group is left."""
    for _ in range(seconds * 20):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_a_training_that_is_stopped_twice_ends_as_one_that_was_not(world, tmp_path):
    """Ctrl-C reaches all processes of a terminal, also those that make batches; SIGTERM the training alone."""
    run = tmp_path / "run"
    process = start(command(world, run), tmp_path)
    status, said = stopped(process, 7, lambda: os.killpg(process.pid, signal.SIGINT))
    assert status == 130, said[-3000:]
    first = update_of(run)
    assert 7 <= first < EPOCHS * UPDATES_AN_EPOCH
    assert said.count("stopping behind this update") == 1
    assert f"stopped behind update {first}, saved in {run}; the same command goes on from there" in said
    assert "Traceback" not in said and "done training" not in said
    assert ends(process.pid)

    process = start(command(world, run), tmp_path)
    status, said = stopped(process, first + 2, process.terminate)
    assert status == 143, said[-3000:]
    second = update_of(run)
    assert first + 2 <= second < EPOCHS * UPDATES_AN_EPOCH
    assert f"@ {first} updates)" in said  # where it went on
    assert "Traceback" not in said
    assert ends(process.pid)

    assert_goes_on_as_never_stopped(world, run, EPOCHS)


def assert_goes_on_as_never_stopped(world, run, epochs, *overrides):
    """Lets a training go on to its end, and compares it with one that was not stopped."""
    whole = run.with_name("whole")
    for folder in (run, whole):
        tiny.train(world.data, world.encoder, folder, f"optimization.max_epoch={epochs}", *overrides)
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        one, other = tiny.load(whole / name), tiny.load(run / name)
        assert one["optimizer_history"][-1]["num_updates"] == other["optimizer_history"][-1]["num_updates"]
        assert one["extra_state"]["val_loss"] == other["extra_state"]["val_loss"]
        assert one["extra_state"]["best"] == other["extra_state"]["best"]
        for key, value in one["model"].items():
            assert torch.equal(value, other["model"][key]), (name, key)


def test_of_two_trainings_in_one_folder_the_second_waits_for_the_first(world, tmp_path, monkeypatch):
    """Or each would save over the other."""
    run = tmp_path / "run"
    first = start(command(world, run), tmp_path)
    assert any("num_updates=7" in line for line in first.stdout)

    monkeypatch.setattr("fairseq_musc.tasks.musc.PATIENCE", 0)
    refused = rf"another run works in {run} \(process {first.pid} on .*or name another checkpoint.save_dir"
    with pytest.raises(InputError, match=refused):
        tiny.train(world.data, world.encoder, run)

    second = start(command(world, run), tmp_path)
    assert any("waiting up to 120 s for its end" in line for line in second.stdout)
    first.terminate()
    said = first.communicate(timeout=60)[0]
    [updates] = re.findall(r"stopped behind update (\d+), saved in", said)
    said = second.communicate(timeout=120)[0]
    assert second.returncode == 0, said[-3000:]
    assert f"@ {updates} updates)" in said and update_of(run) == EPOCHS * UPDATES_AN_EPOCH


def test_a_model_that_is_built_for_something_else_makes_no_folder(world, tmp_path):
    cfg = OmegaConf.create(
        OmegaConf.to_container(tiny.compose(world.data, world.encoder, tmp_path / "run"), resolve=True)
    )
    tasks.setup_task(cfg.task).build_model(cfg.model)
    assert not list(tmp_path.iterdir())


def test_a_signal_between_two_epochs_ends_a_training_behind_the_next_update(world, tmp_path, tmp_path_factory):
    """And what it leaves behind is its checkpoint alone."""
    temporary, run = tmp_path_factory.mktemp("t"), tmp_path / "run"  # the path of a socket has to be short
    options = (world.data, world.encoder, run, "dataset.num_workers=1", f"optimization.max_epoch={EPOCHS}")
    process = start([sys.executable, HERE / "stopped_between.py", 1, 0, *options], tmp_path, TMPDIR=str(temporary))
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 143, said[-3000:]
    assert update_of(run) == BETWEEN + 1
    assert said.count("stopping behind this update") == 1
    assert f"stopped behind update {BETWEEN + 1}, saved in {run}; the same command goes on from there" in said
    assert "Traceback" not in said and "done training" not in said
    assert ends(process.pid)
    assert list(temporary.iterdir()) == []
    assert_goes_on_as_never_stopped(world, run, 4)


@pytest.fixture
def handlers():
    """What looks whether a training has left the handlers of signals as it found them."""
    found = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert found == [signal.default_int_handler, signal.SIG_DFL]
    return lambda: found == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize(
    ("options", "kept", "words"),
    [
        (["checkpoint.save_interval=5"], BETWEEN + 1, "saved in"),
        (["checkpoint.no_save=true"], None, "checkpoint.no_save=true: its state was not kept"),
        (["checkpoint.no_last_checkpoints=true"], None, "checkpoint.no_last_checkpoints=true: its state was not kept"),
    ],
)
def test_between_two_epochs_as_within_one_whatever_is_saved(
    world, tmp_path, monkeypatch, caplog, handlers, options, kept, words
):
    monkeypatch.setattr(Trainer, "get_train_iterator", between_epochs(send(signal.SIGINT)))
    with pytest.raises(SystemExit) as ended:
        tiny.train(world.data, world.encoder, tmp_path / "run", "optimization.max_epoch=4", *options)
    assert ended.value.code == 130
    assert f"stopped behind update {BETWEEN + 1}" in caplog.text and words in caplog.text
    last = tmp_path / "run" / "checkpoint_last.pt"
    assert (update_of(last.parent) if last.exists() else None) == kept
    assert handlers()


def test_what_follows_validation_is_told_of_it_before_a_training_stops(world, tmp_path, monkeypatch):
    """The state of such a schedule at the end of an epoch is not the one that the next begins with."""
    plateau = ("lr_scheduler._name=reduce_lr_on_plateau", "+lr_scheduler.lr_threshold=0.999")  # a tenth each time
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "get_train_iterator", between_epochs(send(signal.SIGTERM)))
        with pytest.raises(SystemExit):
            tiny.train(world.data, world.encoder, tmp_path / "run", "optimization.max_epoch=4", *plateau)
    assert_goes_on_as_never_stopped(world, tmp_path / "run", 3, *plateau)


def test_once_more_ends_at_once_between_two_epochs_too(world, tmp_path, monkeypatch, handlers):
    def twice(trainer):
        send(signal.SIGINT)(trainer)
        send(signal.SIGINT)(trainer)

    monkeypatch.setattr(Trainer, "get_train_iterator", between_epochs(twice))
    with pytest.raises(KeyboardInterrupt):
        tiny.train(world.data, world.encoder, tmp_path / "run", "optimization.max_epoch=4")
    assert update_of(tmp_path / "run") == BETWEEN
    assert handlers()


def test_an_error_between_two_epochs_leaves_the_handlers_as_they_were(world, tmp_path, monkeypatch, handlers):
    def failing(trainer):
        assert not handlers()
        raise OSError("the data are gone")

    monkeypatch.setattr(Trainer, "get_train_iterator", between_epochs(failing))
    with pytest.raises(OSError, match="the data are gone"):
        tiny.train(world.data, world.encoder, tmp_path / "run", "optimization.max_epoch=4")
    assert handlers()


DECAY = ("lr_scheduler._name=polynomial_decay", "+lr_scheduler.total_num_update=1000")  # from 0.001: a millionth each
NEVER_BETTER = ("checkpoint.best_checkpoint_metric=num_updates", "checkpoint.maximize_best_checkpoint_metric=false")


@pytest.mark.parametrize(
    "last",
    [
        ("optimization.max_epoch=2",),
        (f"optimization.max_update={BETWEEN}",),
        ("checkpoint.patience=1", *NEVER_BETTER),
        ("optimization.stop_min_lr=0.000991", *DECAY),
    ],
    ids=lambda last: last[0],
)
def test_a_training_that_is_over_is_not_stopped_by_a_signal_behind_its_last_epoch(
    world, tmp_path, monkeypatch, caplog, handlers, last
):
    """It ends behind the second for whatever reason, as fairseq's own loop does, and is done."""
    caplog.set_level("INFO")
    monkeypatch.setattr(Trainer, "get_train_iterator", between_epochs(send(signal.SIGTERM)))
    tiny.train(world.data, world.encoder, tmp_path / "run", "optimization.max_epoch=5", *last)
    assert update_of(tmp_path / "run") == BETWEEN
    assert "done training" in caplog.text and "stopped behind" not in caplog.text
    assert handlers()


def test_the_loop_of_fairseq_is_the_one_that_ours_was_written_for():
    """``all_epochs`` does what this does from the first ``train`` on."""
    assert LOOP in inspect.getsource(fairseq_cli.train.main)


LOOP = """
    while epoch_itr.next_epoch_idx <= max_epoch:
        if lr <= cfg.optimization.stop_min_lr:
            logger.info(
                f"stopping training because current learning rate ({lr}) is smaller "
                "than or equal to minimum learning rate "
                f"(--stop-min-lr={cfg.optimization.stop_min_lr})"
            )
            break

        # train for one epoch
        valid_losses, should_stop = train(cfg, trainer, task, epoch_itr)
        if should_stop:
            break

        # only use first validation loss to update the learning rate
        lr = trainer.lr_step(epoch_itr.epoch, valid_losses[0])

        epoch_itr = trainer.get_train_iterator(
            epoch_itr.next_epoch_idx,
            # sharded data: get train iterator for next epoch
            load_dataset=task.has_sharded_data("train"),
            # don't cache epoch iterators for sharded datasets
            disable_iterator_cache=task.has_sharded_data("train"),
        )
    train_meter.stop()
"""


def test_two_ranks_stop_behind_the_same_update_if_one_was_asked_between_two_epochs(world, tmp_path):
    log, run = tmp_path / "log", tmp_path / "run"

    def changes(rank):
        Trainer.get_train_iterator = between_epochs(send(signal.SIGTERM, rank=1))

    options = (f"optimization.max_epoch={EPOCHS}",)
    started = killed.start(world, run, log, *options, ranks=2, changes=changes)
    assert killed.statuses(started, kill_all=False) == [1, 1]  # of SystemExit in a forked process
    said = [log.with_name(f"{log.name}.{rank}").read_text() for rank in (0, 1)]
    updates = 2 * 3 + 1  # five batches are three updates of two ranks
    assert ["stopping behind this update" in text for text in said] == [False, True]
    assert f"stopped behind update {updates}, saved in {run}" in said[0]
    assert ["SystemExit: 130" in said[0], "SystemExit: 0" in said[1]] == [True, True]
    assert update_of(run) == updates


@pytest.mark.long
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM to who started them", "SIGINT to one"])
def test_two_ranks_stop_behind_the_same_update(world, tmp_path, how):
    """One can't end without the other, and the signals reach them at different moments."""
    arguments = (world.data, world.encoder, tmp_path / "run", f"optimization.max_epoch={20 * EPOCHS}")
    process = start([sys.executable, HERE / "two_processes.py", *arguments], tmp_path)

    def send():
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        ranks = [pid for pid in map(int, children) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(ranks) == 2
        if how == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)
        elif how == "SIGINT to one":
            os.kill(ranks[1], signal.SIGINT)
        else:
            process.terminate()

    status, said = stopped(process, 7, send)
    assert status == {"Ctrl-C": -signal.SIGINT, "SIGINT to one": 1}.get(how, -signal.SIGTERM), said[-3000:]
    assert f"stopped behind update {update_of(tmp_path / 'run')}, saved in" in said
    assert ends(process.pid)


@pytest.mark.long
def test_two_ranks_that_fairseq_started_stop_between_two_epochs_and_leave_nothing(world, tmp_path, tmp_path_factory):
    temporary, run = tmp_path_factory.mktemp("t"), tmp_path / "run"
    options = (world.data, world.encoder, run, f"optimization.max_epoch={EPOCHS}")
    process = start([sys.executable, HERE / "stopped_between.py", 2, 1, *options], tmp_path, TMPDIR=str(temporary))
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1, said[-3000:]  # of the parent, whose first rank ended with 130
    assert f"stopped behind update {update_of(run)}, saved in" in said
    assert update_of(run) == 2 * 3 + 1
    assert ends(process.pid)
    assert list(temporary.iterdir()) == []


def test_once_more_ends_at_once():
    with Stop().listening():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_what_follows_sigterm_ends_nothing():
    """torch sends SIGINT to the ranks when the process that started them has gone."""
    stop = Stop()
    with stop.listening():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
    assert stop.asked == signal.SIGTERM


def in_a_process_of_its_own(work, *arguments):
    """One that multiprocessing has started, as torch starts ranks; returns it and a pipe to it, which comes last."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    process = fork.Process(target=work, args=(*arguments, theirs))
    process.start()
    return process, ours


def orphan(pipe):
    stop = Stop()
    with stop.listening():
        os.kill(os.getpid(), signal.SIGINT)
        pipe.send((os.getpid(), stop.asked))
        parent = os.getppid()
        while os.getppid() == parent:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        pipe.send("goes on")


def parent_of_an_orphan(pipe):
    _process, child = in_a_process_of_its_own(orphan)
    pipe.send(child.recv())
    pipe.send(child)
    pipe.recv()
    os._exit(0)


def test_a_parent_that_goes_is_no_second_ctrl_c():
    """Linux sends SIGINT to the ranks for each thread of the process that started them, one later than the other."""
    parent, pipe = in_a_process_of_its_own(parent_of_an_orphan)
    assert pipe.recv()[1] == signal.SIGINT
    orphan = pipe.recv()
    pipe.send("go")
    parent.join()
    assert orphan.recv() == "goes on"


PARENT_OF_MANY_THREADS = """
import os, signal, threading, time
from fairseq_musc.parents import end_with_parent
from fairseq_musc.stopping import Stop

for _ in range(64):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
parent = os.getpid()
if os.fork():
    signal.pause()
end_with_parent()
stop = Stop()
with stop.listening():
    os.kill(parent, signal.SIGTERM)
    while stop.asked is None:
        pass
    stop.agreed = True
time.sleep(0.2)
print("ended by itself", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is sent when a parent dies")
def test_the_death_of_a_parent_of_many_threads_is_one_signal_to_end():
    """It used to be one for each, and the late ones ended a training before it had taken its sockets away."""
    for _ in range(5):
        command = [sys.executable, "-c", PARENT_OF_MANY_THREADS]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (-signal.SIGTERM, "ended by itself\n")


def stop_and_wait(agreed, pipe):
    stop = Stop()
    with stop.listening():
        stop.agreed = agreed
    pipe.send("stopped")
    pipe.recv()


@pytest.mark.parametrize(("agreed", "status"), [(True, 0), (False, -signal.SIGTERM)])
def test_a_rank_that_has_stopped_ends_by_itself_though_another_has_ended_before(agreed, status):
    """torch sends SIGTERM to the others, which would leave behind what Python takes away at its end."""
    process, pipe = in_a_process_of_its_own(stop_and_wait, agreed)
    assert pipe.recv() == "stopped"
    process.terminate()
    pipe.send("end")
    process.join()
    assert process.exitcode == status


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stop = Stop()
        with stop.listening():
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_one_process_was_asked_all_hear():
    asked, other = Stop(), Stop()
    asked.asked = signal.SIGINT
    logs = [stop.told({"loss": 1.0}) for stop in (asked, other)]
    assert [sorted(log) for log in logs] == [["loss", "stop"]] * 2
    other.hear([{"loss": 2.0}])
    assert not other.agreed
    other.hear([{"stop": torch.tensor(float(sum(log["stop"] for log in logs)))}])
    assert other.agreed


@pytest.mark.parametrize(
    ("max_epoch", "max_update", "updates", "next_epoch", "end"),
    [(4, 0, 20, 4, False), (4, 0, 20, 5, True), (4, 100, 100, 2, True), (0, 0, 100, 9, False)],
)
def test_a_training_that_has_ended_is_not_one_to_go_on_with(max_epoch, max_update, updates, next_epoch, end):
    cfg = SimpleNamespace(optimization=SimpleNamespace(max_epoch=max_epoch, max_update=max_update))
    assert finished(cfg, updates, next_epoch) == end


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ({}, "saved in run; the same command goes on from there"),
        ({"restore_file": "other.pt"}, "go on with checkpoint.restore_file=run/checkpoint_last.pt"),
        ({"no_save": True}, "checkpoint.no_save=true: its state was not kept"),
        ({"no_last_checkpoints": True}, "checkpoint.no_last_checkpoints=true: its state was not kept"),
    ],
)
def test_last_words_are_true(saved, words):
    checkpoint = {
        "save_dir": "run",
        "restore_file": "checkpoint_last.pt",
        "no_save": False,
        "no_last_checkpoints": False,
    }
    said = last_words(SimpleNamespace(checkpoint=SimpleNamespace(**{**checkpoint, **saved})), 9)
    assert said == f"stopped behind update 9{',' if not saved else ';'} {words}"
