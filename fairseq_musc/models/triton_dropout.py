"""Dropout within a Triton kernel, without a mask in memory: what is kept is computed again in the backward pass.

An element is kept if a hash of its place and of two seeds (:mod:`fairseq_musc.models.seeds`) is above a threshold.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def kept(place, seed_a, seed_b, threshold):
    """Which elements are kept, by their places; ``threshold`` as of :func:`fairseq_musc.models.seeds.threshold_of`.

    Eight operations of an integer unit, which in attention over short rows is what there is least of.
    """
    h = place.to(tl.uint32) * 0x9E3779B1 + seed_a.to(tl.uint32)
    h ^= h >> 15
    h = h * 0x85EBCA77 + seed_b.to(tl.uint32)
    h ^= h >> 13
    h *= 0xC2B2AE3D
    return h.to(tl.int32) >= threshold
