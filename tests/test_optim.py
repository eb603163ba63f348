"""The fused optimizer is torch's Adam, fairseq's up to the place of epsilon, and leaves bad gradients out."""

from types import SimpleNamespace

import pytest
import tiny
import torch
from fairseq import tasks
from fairseq.logging import metrics
from fairseq.optim.adam import Adam as FairseqAdam

from fairseq_musc.criterions.musc import MuscCriterion
from fairseq_musc.errors import InputError
from fairseq_musc.finite import NotFiniteError
from fairseq_musc.late import Late
from fairseq_musc.optim import MuscAdam, MuscAdamConfig


def config(**values):
    return MuscAdamConfig(**{"lr": [0.1], "fp16": False, "bf16": False, "amp": False, **values})


def parameters():
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape)) for shape in ((3, 4), (5,))]


def run(step, own, count=5):
    """Some steps on gradients that hang on the parameters and differ from step to step."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        for p in own:
            p.grad = p.detach() + torch.randn(p.shape, generator=generator)
        step()
    return own


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_its_steps_are_torch_s_and_nearly_fairseq_s(decay):
    values = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": decay}
    fused = MuscAdam(config(adam_betas="(0.9, 0.99)", weight_decay=decay), parameters())
    got = run(fused.step, list(fused.params))
    plain = parameters()
    reference = torch.optim.AdamW(plain, foreach=False, **values) if decay else torch.optim.Adam(plain, **values)
    other = parameters()
    for expected in (run(reference.step, plain), run(FairseqAdam(other, **values).step, other)):
        for one, two in zip(got, expected, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("max_norm", [0.0, 0.5])
def test_gradients_are_clipped_as_fairseq_clips(max_norm):
    ours, theirs = MuscAdam(config(), parameters()), MuscAdam(config(bf16=True), parameters())
    for optimizer in (ours, theirs):
        for p in optimizer.params:
            p.grad = p.detach().clone()
    norms = [optimizer.clip_grad_norm(max_norm) for optimizer in (ours, theirs)]
    torch.testing.assert_close(*norms)
    assert norms[0] == pytest.approx(float(sum((p**2).sum() for p in parameters()) ** 0.5))
    for one, two in zip(ours.params, theirs.params, strict=True):
        torch.testing.assert_close(one.grad, two.grad)


def test_a_gradient_that_is_not_finite_leaves_the_parameters_as_they_are():
    optimizer = MuscAdam(config(), parameters())
    for p in optimizer.params:
        p.grad = torch.ones_like(p)
    next(optimizer.params).grad[0, 0] = float("nan")
    with pytest.raises(NotFiniteError, match="the norm of the gradient is nan in an update"):
        optimizer.clip_grad_norm(0.0)
    optimizer.skips = True
    assert optimizer.clip_grad_norm(0.0) == 0
    optimizer.step()
    assert all(torch.equal(p, before) for p, before in zip(optimizer.params, parameters(), strict=True))
    run(lambda: (optimizer.clip_grad_norm(0.0), optimizer.step()), list(optimizer.params), 1)
    assert not any(torch.equal(p, before) for p, before in zip(optimizer.params, parameters(), strict=True))


def test_gradients_are_multiplied_but_not_by_one():
    optimizer = MuscAdam(config(), parameters())
    for p in optimizer.params:
        p.grad = torch.ones_like(p)
    for factor, expected in ((1.0, 1), (0.5, 0.5), (torch.tensor(3.0), 1.5)):
        optimizer.multiply_grads(factor)
        assert all((p.grad == expected).all() for p in optimizer.params)


def test_numbers_are_those_of_the_time_before():
    late, waited = Late(), []
    shown = [late.exchange((torch.tensor(float(i)), lambda i=i: waited.append(i))).item() for i in range(4)]
    assert shown == [0, 0, 1, 2]
    assert waited == [0, 0, 1, 2]
    assert Late().read(torch.tensor(7.0)) == 7  # on a CPU there is nothing to wait for
    resumed = Late()
    resumed.wait_for(late.waiting())  # as a run does that goes on from a checkpoint
    assert resumed.exchange((torch.tensor(4.0), lambda: None)) == 3
    assert Late().waiting() is None


def test_wrong_values_are_said_all_at_once():
    problems = "\n".join(MuscAdamConfig.problems(config(adam_betas="(0.9, 1)", adam_eps=-1.0, weight_decay=-0.1)))
    for part in ("'(0.9, 1)'; it is two numbers", "adam_eps is -1.0", "weight_decay is -0.1"):
        assert part in problems
    with pytest.raises(InputError, match="adam_betas is 'fast'"):
        MuscAdam(config(adam_betas="fast"), parameters())


def of_several_processes(loss, stop):
    """What a task is given of an update of two processes: sums, all on the GPU."""
    logged = {"loss": loss, "L_ce": loss / 2, "sample_size": 2, "nsentences": 8, "ntokens": 90, "stop": stop}
    return [{key: torch.tensor(float(value), dtype=torch.float64) for key, value in logged.items()}]


def late_task(world, folder, monkeypatch):
    """A task for which all tensors lie on a GPU, and what it has shown of each update."""
    task = tasks.setup_task(tiny.compose(world.data, world.encoder, folder / "run").task)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    for late in (task.late, task.asked):
        monkeypatch.setattr(late, "read", lambda values, late=late: late.exchange((values, lambda: None)))

    def shown(logs):
        with metrics.aggregate(new_root=True) as seen:
            task.reduce_metrics(logs, MuscCriterion.__new__(MuscCriterion))
        return seen["loss"].avg

    return task, shown


def test_a_run_of_several_gpus_that_was_stopped_goes_on_for_more_than_an_update(world, tmp_path, monkeypatch):
    task, shown = late_task(world, tmp_path, monkeypatch)
    assert [shown(of_several_processes(loss, stop=0)) for loss in (8, 6)] == [4, 4]
    assert shown(of_several_processes(5, stop=1)) == 3
    assert not task.stop.agreed
    assert shown(of_several_processes(4, stop=2)) == 2.5  # all hear of it together, an update later
    assert task.stop.agreed
    again, shown = late_task(world, tmp_path, monkeypatch)
    again.late.wait_for(task.late.waiting())
    assert [shown(of_several_processes(loss, stop=0)) for loss in (3, 2)] == [2, 1.5]
    assert not again.stop.agreed


def test_a_run_may_go_on_with_another_number_of_gpus(world, tmp_path, monkeypatch):
    of_one = [{"loss": torch.tensor(7.0), "L_ce": torch.tensor(3.0), "sample_size": 1, "nsentences": 4, "ntokens": 9}]
    for before, behind, expected in (
        (of_one, of_several_processes(6, stop=0), 3),
        (of_several_processes(6, stop=0), of_one, 7),
    ):
        first, shown = late_task(world, tmp_path, monkeypatch)
        shown(before)
        second, shown = late_task(world, tmp_path, monkeypatch)
        second.late.wait_for(first.late.waiting())
        assert shown(behind) == expected


def test_what_a_gpu_logs_is_summed_and_read_late(world, tmp_path, monkeypatch):
    """The task's way, with the copy from the GPU replaced: keys, weights and order stay with their numbers."""
    task = tasks.setup_task(tiny.compose(world.data, world.encoder, tmp_path / "run").task)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    monkeypatch.setattr(task, "late", SimpleNamespace(read=lambda values: values + 1))
    logs = [
        {"loss": torch.tensor(x), "L_ce": torch.tensor(2 * x), "sample_size": 1, "nsentences": 4, "ntokens": 9}
        for x in (1.0, 3.0)
    ]
    with metrics.aggregate(new_root=True) as shown:
        task.reduce_metrics(logs, MuscCriterion.__new__(MuscCriterion))
    assert shown["loss"].avg == (1 + 3 + 1) / 2
    assert shown["L_ce"].avg == (2 + 6 + 1) / 2
    assert shown["bsz"].avg == 8
