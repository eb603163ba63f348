"""What processes exchange behind an update: the sums are right, and gradients that are not the same end the run."""

from types import SimpleNamespace

import killed
import pytest
import torch
from fairseq.trainer import Trainer

from fairseq_musc.exchange import NotZero, hold_together, make_unwaited
from fairseq_musc.finite import TrainingError
from fairseq_musc.late import Late
from fairseq_musc.optim import MuscAdam
from fairseq_musc.ranks import summed_over_ranks


@pytest.fixture(autouse=True, scope="module")
def unwaited():
    make_unwaited()


def on_ranks(work, folder, count):
    """What a function of the rank returns on each of some forked ranks (gloo, CPU)."""

    def as_rank(rank):
        store = f"file://{folder / 'store'}"
        torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=count)
        torch.save(work(rank), folder / f"{rank}.pt")
        torch.distributed.barrier()

    started = [killed.forked(as_rank, rank) for rank in range(count)]
    assert killed.statuses(started, timeout=60) == [0] * count
    return [torch.load(folder / f"{rank}.pt") for rank in range(count)]


def trainer_of(task, **more):
    """As much of fairseq's trainer as the exchange looks at."""
    optimizer = MuscAdam.__new__(MuscAdam)
    optimizer.late = Late()
    trainer = Trainer.__new__(Trainer)
    trainer.__dict__.update(task=task, _optimizer=optimizer, _device=torch.device("cpu"), device=torch.device("cpu"))
    trainer.__dict__.update(more)
    return trainer


def test_sums_over_ranks_are_those_of_numbers_and_tensors(tmp_path):
    def work(rank):
        values = [rank + 1, torch.tensor([2.5 * rank]), 0.25, torch.tensor(3, dtype=torch.int64)]
        summed = summed_over_ranks(values, torch.device("cpu"))
        return [(float(each), each.dtype, each.shape) for each in summed]

    expected = [1.0 + 2 + 3, 2.5 + 5, 0.75, 9.0]
    for found in on_ranks(work, tmp_path, 3):
        assert found == [(value, torch.float64, torch.Size([])) for value in expected]


def test_logs_are_added_up_and_a_stand_in_adds_nothing(tmp_path):
    """Of three ranks, one with two batches of an update, one with one, and one with none but a stand-in."""
    batches = [
        [{"L_ce": 1.0, "n": 8}, {"L_ce": 2.0, "n": 7}],
        [{"L_ce": 4.0, "n": 3}],
        [{"L_ce": float("nan"), "n": 9}],
    ]

    def work(rank):
        logs = [{"L_ce": torch.tensor(log["L_ce"]), "n": log["n"]} for log in batches[rank]]
        trainer = trainer_of(SimpleNamespace(norms=Late()))
        (logged,), extra = trainer._fast_stat_sync_sum(logs, len(logs) * (rank < 2), 5.0, ignore=rank == 2)
        return {key: float(value) for key, value in logged.items()}, [float(each) for each in extra]

    for logged, extra in on_ranks(work, tmp_path, 3):
        assert logged == {"L_ce": 7.0, "n": 18.0}
        assert extra == [3.0, 15.0]


def test_the_sum_of_sample_sizes_is_a_divisor_that_nobody_looks_at():
    size = torch.tensor(4.0, dtype=torch.float64).as_subclass(NotZero)
    by = 2 / (size or 1.0)
    assert type(by) is torch.Tensor and by == 0.5
    assert torch.zeros(()).as_subclass(NotZero) or False  # it would have to be looked at


def test_gradients_are_multiplied_by_it_as_by_a_number():
    parameters = [
        torch.nn.Parameter(torch.ones(3)),
        torch.nn.Parameter(torch.ones(2, 2)),
        torch.nn.Parameter(torch.ones(1)),
    ]
    optimizer = MuscAdam.__new__(MuscAdam)
    optimizer._optimizer = torch.optim.SGD(parameters, lr=1.0)
    for parameter in parameters[:2]:  # the last has no gradient
        parameter.grad = torch.arange(1.0, parameter.numel() + 1).view_as(parameter)
    optimizer.multiply_grads(torch.tensor(1.5, dtype=torch.float64))
    assert parameters[0].grad.tolist() == [1.5, 3.0, 4.5]
    assert parameters[1].grad.tolist() == [[1.5, 3.0], [4.5, 6.0]]
    assert parameters[2].grad is None


def test_ranks_whose_gradients_differ_are_told_so(tmp_path):
    def work(rank):
        trainer = trainer_of(SimpleNamespace(norms=Late()), _grad_norm_buf=torch.zeros(2))
        trainer._check_grad_norms(torch.tensor(7.25))
        with pytest.raises(TrainingError, match=r"2\.5 of process 0, 2\.625 of process 1"):
            trainer._check_grad_norms(torch.tensor(2.5 + rank / 8))

    on_ranks(work, tmp_path, 2)


def test_norms_may_differ_by_rounding():
    hold_together(torch.tensor([3.0, 3.0000005]))
    hold_together(torch.tensor([0.0, 0.0]))
    with pytest.raises(TrainingError, match="not the same gradient"):
        hold_together(torch.tensor([3.0, 3.00003]))


def test_what_is_not_ours_is_exchanged_as_fairseq_does(monkeypatch):
    """Another task, and an optimizer that reads the norm of the gradient in its step."""
    asked = []
    monkeypatch.setattr(
        "fairseq.distributed.utils.all_reduce_dict", lambda data, device, group: asked.append(list(data)) or data
    )
    monkeypatch.setattr(Trainer, "data_parallel_process_group", None)
    other, scaled = trainer_of(SimpleNamespace()), trainer_of(SimpleNamespace(norms=Late()))
    scaled._optimizer.late = None
    for trainer in (other, scaled):
        logged, (size,) = trainer._fast_stat_sync_sum([{"loss": 2}, {"loss": 3}], 2)
        assert logged == [{"loss": 5}] and size == 2
    assert asked == [["extra_stats_0", "logging_outputs_loss"]] * 2
