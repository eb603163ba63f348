"""Dropout within a Triton kernel, without a mask in memory: what is kept is computed again in the backward pass.

An element is kept if a hash of its place and of two seeds (:mod:`fairseq_musc.models.seeds`) is above a threshold.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def kept(place, seed_a, seed_b, threshold):
    """Which elements are kept, by their places.

    ``threshold`` is the share that is not, times BITS: 2**31, since a threshold has to fit into an int32, or Triton
    compiles for an int64.
    """
    h = place.to(tl.uint32) + seed_a.to(tl.uint32)
    h ^= h >> 16
    h *= 0x7FEB352D
    h ^= h >> 15
    h += seed_b.to(tl.uint32)
    h *= 0x846CA68B
    h ^= h >> 16
    return (h >> 1).to(tl.int32) >= threshold
