"""Our Triton kernels: run by Triton's interpreter on the CPU (see conftest.py), compiled for a GPU that is not there.

They need Triton, which torch brings along on machines with a GPU; elsewhere `make test-kernels` does.
"""

import math
import subprocess
import sys

import pytest
import torch
from triton_interpreter import needs_interpreter

from fairseq_musc.models import attention, packed

triton = pytest.importorskip("triton", reason="without Triton there are no kernels to test")

import triton.language as tl  # noqa: E402

from fairseq_musc.models.seeds import draw_seeds, threshold_of  # noqa: E402
from fairseq_musc.models.triton_dropout import kept  # noqa: E402

CPU = torch.device("cpu")


@needs_interpreter
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_attention_has_the_values_gradients_and_dropout_of_the_padded_way(dtype):
    torch.manual_seed(0)
    attention.check(attention.triton(), CPU, dtype, 2, 16)


@needs_interpreter
def test_rows_longer_than_two_blocks():
    cu_seqlens = torch.tensor([0, 150, 151, 216], dtype=torch.int32)
    spans = attention.Spans(cu_seqlens, 150, 216)
    torch.manual_seed(0)
    qkv = torch.randn(216, 3, 1, 16, requires_grad=True)
    upstream = torch.randn(216, 1, 16)
    values = [way.of_whole(qkv, spans, 0.0) for way in (attention.triton(), attention.PADDED)]
    gradients = [torch.autograd.grad(value, qkv, upstream)[0] for value in values]
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)


@needs_interpreter
def test_more_tokens_than_32_bits_count_go_to_flash_attention(monkeypatch):
    monkeypatch.setattr(attention, "flash", lambda q, k, v, of_q, of_k, dropout: v + dropout)
    spans = attention.Spans(torch.tensor([0, 4], dtype=torch.int32), 4, 4)
    qkv = torch.randn(4, 3, 1, 16)
    way = attention.triton()
    assert not torch.equal(way.of_whole(qkv, spans, 0.0), qkv[:, 2])
    monkeypatch.setattr(attention, "LARGEST", qkv.numel())
    assert torch.equal(way.of_whole(qkv, spans, 0.5), qkv[:, 2] + 0.5)
    monkeypatch.setattr(attention, "LARGEST", qkv[:, 1:].numel())
    assert torch.equal(way.of_parts(qkv[:, 0], qkv[:, 1:], spans, spans, 0.5), qkv[:, 2] + 0.5)


@needs_interpreter
def test_dropout_residual_and_norm_have_the_values_gradients_and_dropout_of_torch_s(monkeypatch):
    from fairseq_musc.models import triton_norm

    monkeypatch.setattr(triton_norm, "PROGRAMS", 7)  # so that a program takes several rows
    torch.manual_seed(0)
    packed.check_fused(packed.fused_behind_attention, CPU, torch.float32, 24)


@needs_interpreter
@pytest.mark.parametrize("lengths", [[7, 128, 1, 64, 80], [150, 9]], ids=str)
@pytest.mark.parametrize("some", [False, True], ids=["whole", "some queries"])
def test_a_bias_in_front_of_attention_gets_the_sum_of_the_gradients_with_dropout_too(lengths, some):
    tokens, R = sum(lengths), len(lengths)
    spans = attention.Spans(torch.tensor([0, *lengths]).cumsum(0).int(), max(lengths), tokens)
    torch.manual_seed(0)
    q, x = torch.randn(R, 2, 16), torch.randn(tokens, 2 if some else 3, 2, 16, requires_grad=True)
    bias = torch.randn(x[0].numel(), requires_grad=True)
    with_bias = x + bias.view(x.shape[1:])  # what the gradient is of is here, beside what sums it by the way
    by_the_way = torch.zeros_like(bias, requires_grad=True)
    of_ones = attention.Spans.of_ones(R, CPU)
    for way in (attention.triton(), attention.PADDED):
        if some:
            value = way.of_parts(q, with_bias, of_ones, spans, 0.3, None, by_the_way)
        else:
            value = way.of_whole(with_bias, spans, 0.3, None, by_the_way)
        inputs = (x, bias, by_the_way)
        d_x, d_bias, summed = torch.autograd.grad(value, inputs, torch.randn_like(value), retain_graph=True)
        torch.testing.assert_close(summed, d_bias)
        torch.testing.assert_close(summed, d_x.sum(0).flatten())


@needs_interpreter
def test_biases_behind_attention_get_the_sums_of_the_gradients_with_dropout_too(monkeypatch):
    from fairseq_musc.models import triton_gelu, triton_norm

    monkeypatch.setattr(triton_norm, "PROGRAMS", 7)
    monkeypatch.setattr(triton_gelu, "PROGRAMS", 6)
    monkeypatch.setattr(triton_gelu, "COLUMNS", 16)  # so that 40 columns are three blocks, the last one cut off
    torch.manual_seed(0)
    x, a, upstream = (torch.randn(101, 40) for _ in range(3))
    a.requires_grad_()
    bias, weight = torch.randn(40, requires_grad=True), torch.rand(40)
    normed = triton_norm.DropAddNorm.apply(x, a, bias, weight, weight, 0.4, 1e-5)
    d_a, d_bias = torch.autograd.grad(normed, (a, bias), upstream)
    assert 0.3 < float((d_a == 0).double().mean()) < 0.5
    torch.testing.assert_close(d_bias, d_a.sum(0))
    expected = torch.nn.functional.gelu(a + bias)
    got = triton_gelu.GeluOfBiased.apply((a + bias.detach()), bias)
    torch.testing.assert_close(got, expected)
    for one, other in zip(*(torch.autograd.grad(y, (a, bias), upstream) for y in (got, expected)), strict=True):
        torch.testing.assert_close(one, other)


@needs_interpreter
def test_gelu_is_off_by_less_than_rounding_of_single_precision():
    """Held to the error function of Python in double precision, far out to both sides, too."""
    from fairseq_musc.models.triton_gelu import GeluOfBiased

    x = torch.linspace(-9, 9, 1801)[:, None].requires_grad_()
    got = GeluOfBiased.apply(x, torch.zeros(1))
    (gradient,) = torch.autograd.grad(got.sum(), x)
    for at, y, dy in zip(x.flatten().tolist(), got.flatten().tolist(), gradient.flatten().tolist(), strict=True):
        below = math.erfc(-at / math.sqrt(2)) / 2
        density = math.exp(-at * at / 2) / math.sqrt(2 * math.pi)
        assert abs(y - at * below) < 3e-7 * max(1, abs(at))
        assert abs(dy - below - at * density) < 1e-6


@needs_interpreter
@pytest.mark.parametrize("shape", [(1, 3), (300, 2, 21), (128, 16)], ids=str)
def test_sums_over_what_programs_leave(shape):
    from fairseq_musc.models.triton_sums import added_up

    torch.manual_seed(0)
    parts = torch.randn(shape)
    torch.testing.assert_close(added_up(parts, torch.float32), parts.double().sum(0).float())
    assert added_up(parts, torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize(("name", "exact"), [("gelu", True), ("gelu_new", False), ("relu", False)])
def test_only_the_exact_gelu_is_taken_for_it(name, exact):
    from transformers.activations import ACT2FN

    assert packed.is_gelu(ACT2FN[name]) is exact


@needs_interpreter
@pytest.mark.parametrize("largest", [9 * 16, 9 * 16 + 1])
def test_another_activation_and_more_elements_than_32_bits_count_are_left_to_torch(monkeypatch, largest):
    from fairseq_musc.models import triton_gelu

    taken = []
    plain = triton_gelu.GeluOfBiased.apply
    monkeypatch.setattr(triton_gelu.GeluOfBiased, "apply", lambda *given: taken.append(1) or plain(*given))
    monkeypatch.setattr(packed, "LARGEST", largest)
    torch.manual_seed(0)
    w = packed.Weights(*(torch.randn(s, requires_grad=True) for s in packed_shapes(8)))
    x, attended, upstream = torch.randn(9, 8), torch.randn(9, 8), torch.randn(9, 8)
    for activation in (torch.nn.functional.silu, torch.nn.functional.gelu):
        results = []
        for way in (packed.fused_behind_attention, packed.behind_attention):
            value = way(x, attended, w, activation, 0.0, 1e-5)
            results.append((value, *torch.autograd.grad(value, w[2:], upstream)))
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert len(taken) == (largest > 9 * 16)


def packed_shapes(d):
    return (3 * d, d), (3 * d,), (d, d), (d,), (d,), (d,), (2 * d, d), (2 * d,), (d, 2 * d), (d,), (d,), (d,)


@needs_interpreter
def test_draws_are_independent_of_their_neighbours_and_of_other_calls():
    from fairseq_musc.models.triton_norm import DropAddNorm

    n, d, p = 200, 64, 0.5
    torch.manual_seed(0)
    zero, one = torch.zeros(n, d), torch.ones(n, d)
    masks = [(DropAddNorm.apply(zero, one, zero[0], one[0], zero[0], p, 1e-5) > 0).double() - p for _ in range(3)]
    bound = 4.5 * p**2 / (n * d) ** 0.5  # standard errors of a covariance of independent draws
    for mask in masks:
        assert abs(mask.mean()) < 4.5 * p / (n * d) ** 0.5
        for shift in (1, 2, d):
            assert abs((mask.flatten()[shift:] * mask.flatten()[:-shift]).mean()) < bound
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert abs((masks[i] * masks[j]).mean()) < bound


@triton.jit
def write_kept(OUT, SEEDS, threshold, N: tl.constexpr):
    place = tl.arange(0, N)
    tl.store(OUT + place, kept(place, tl.load(SEEDS), tl.load(SEEDS + 1), threshold).to(tl.int32))


@needs_interpreter
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_what_is_dropped_is_not_correlated_over_any_distance(p):
    torch.manual_seed(0)
    n = 2**19
    out = torch.empty(n, dtype=torch.int32)
    for _ in range(2):
        write_kept[(1,)](out, draw_seeds(CPU), threshold_of(p), n)
        dropped = 1.0 - out.double() - p
        assert abs(float(dropped.mean())) < 4.5 * (p * (1 - p) / n) ** 0.5
        for distance in (*range(1, 130), 192, 256, 768, 1536, 3072, 12 * 64, 12 * 128, 65536):
            together = float((dropped[distance:] * dropped[:-distance]).mean())
            assert abs(together) < 5 * p * (1 - p) / (n - distance) ** 0.5, distance


COMPILE = """
import subprocess, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from fairseq_musc.models import triton_attention, triton_gelu, triton_norm, triton_sums
from fairseq_musc.models import triton_whole_rows as whole_rows

FLOATS = {"LSE", "DELTA", "MEAN", "SCALE", "SUMS", "PARTS"}

def made(kernel, constants, warps=4):
    types = {}
    for name in kernel.arg_names:
        if name in constants: types[name] = "constexpr"
        elif name in ("cu_q", "cu_k", "SEEDS"): types[name] = "*i32"
        elif name in ("scale", "back_scale", "grow", "eps"): types[name] = "fp32"
        elif name.isupper(): types[name] = "*fp32" if name in FLOATS else "*bf16"
        else: types[name] = "i32"
    aligned = [i for i, name in enumerate(kernel.arg_names)
               if name not in constants and (name.isupper() or name.startswith("stride"))]
    source = ASTSource(kernel, types, constants, {(i,): [["tt.divisibility", 16]] for i in aligned})
    return compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps, "num_stages": 1})

for M in (16, 64):
    shape = {"heads": 12, "D": 64, "M": M, "N": 64, "DROPOUT": True}
    for kernel in (triton_attention.forward_kernel, triton_attention.backward_kernel):
        binary = made(kernel, {**shape, "ABOVE": 128})
        assert binary.metadata.shared <= 48 * 1024, binary.metadata.shared
for kernel, of, more in ((whole_rows.whole_forward_kernel, whole_rows.WHOLE_FORTH, {}),
                         (whole_rows.whole_backward_kernel, whole_rows.WHOLE_BACK, {"OF_Q": True})):
    above = 0
    for tiles in of:
        for few in (False, True):
            how = tiles.launched(few)
            sizes = {"heads": 12, "D": 64, "M": how["M"], "N": how["N"], "ABOVE": above}
            made(kernel, {**sizes, "DROPOUT": True, **more}, tiles.warps)
        above = tiles.N
assert [tiles.N for tiles in whole_rows.WHOLE_FORTH] == [tiles.N for tiles in whole_rows.WHOLE_BACK]
made(triton_attention.delta_kernel, {"heads": 12, "D": 64, "M": 64})
for kernel, more in ((triton_norm.forward_kernel, {}), (triton_norm.backward_kernel, {"STAGES": triton_norm.STAGES})):
    made(kernel, {"d": 768, "WIDTH": 1024, "M": triton_norm.ROWS, "DROPOUT": True, **more})
made(triton_gelu.forward_kernel, {"BLOCK": triton_gelu.BLOCK})
made(triton_gelu.backward_kernel, {"d": 3072, "M": triton_gelu.ROWS, "N": triton_gelu.COLUMNS})
made(triton_sums.sum_kernel, {"M": triton_sums.ROWS, "N": triton_sums.COLUMNS})
"""


@pytest.mark.long
def test_all_kernels_compile_for_mbert_s_shape_on_an_h100(tmp_path, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
