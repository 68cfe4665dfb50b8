"""Blocks to segments: the same as padding and slicing the whole clip."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from artist_features.audio.segments import Segmenter
from artist_features.config import FrontEnd

front_ends = st.integers(16, 40).flatmap(
    lambda n_fft: st.builds(
        FrontEnd,
        n_fft=st.just(n_fft),
        hop_length=st.integers(1, n_fft),
        segment_frames=st.integers(1, 12),
    )
)
cuts = st.lists(st.integers(0, 400), max_size=8)


def whole(clip, front_end):
    """Contract section 1, on the clip in one piece."""
    length, hop = front_end.segment_samples, front_end.segment_hop_samples
    if len(clip) + 2 * front_end.pad_samples < length:
        needed = length - 2 * front_end.pad_samples
        clip = np.tile(clip, -(-needed // len(clip)))[:needed]
    padded = np.pad(clip, front_end.pad_samples, mode="reflect")
    starts = range(0, len(padded) - length + 1, hop)
    return np.stack([padded[start : start + length] for start in starts])


def in_blocks(clip, cuts, front_end):
    segmenter = Segmenter(front_end)
    edges = sorted({0, len(clip), *(cut for cut in cuts if cut < len(clip))})
    parts = [segmenter.push(clip[a:b]).copy() for a, b in itertools.pairwise(edges)]
    parts.append(segmenter.finish().copy())
    assert all(part.dtype == np.float32 for part in parts)
    segments = np.concatenate(parts)
    assert segmenter.n_segments == len(segments)
    assert segmenter.n_samples == len(clip)
    return segments, segmenter


@given(front_ends, st.integers(1, 500), cuts)
@settings(deadline=None, max_examples=400)
def test_any_blocks_give_the_segments_of_the_whole_clip(front_end, n_samples, cuts):
    clip = np.arange(1, n_samples + 1, dtype=np.float32)
    segments, segmenter = in_blocks(clip, cuts, front_end)
    np.testing.assert_array_equal(segments, whole(clip, front_end))
    assert segmenter.short == (n_samples + 2 * front_end.pad_samples < front_end.segment_samples)


@given(
    st.sampled_from([1, 511, 512, 513, 65535, 65536, 66560, 131_583, 131_584, 200_000]),
    st.lists(st.integers(1, 200_000), max_size=5),
)
@settings(deadline=None, max_examples=40)
def test_real_front_end(n_samples, cuts):
    clip = np.random.default_rng(n_samples).uniform(-1, 1, n_samples).astype(np.float32)
    segments, segmenter = in_blocks(clip, cuts, FrontEnd())
    np.testing.assert_array_equal(segments, whole(clip, FrontEnd()))
    assert segments.shape == (max(1, (n_samples + 1024 - 66560) // 66048 + 1), 66560)
    assert segmenter.short == (n_samples < 65536)


def test_short_clip_is_looped_then_reflected():
    front_end = FrontEnd(n_fft=16, hop_length=16, segment_frames=3)  # 48 samples, 8 at each end
    clip = np.arange(1, 21, dtype=np.float32)
    segments, segmenter = in_blocks(clip, [], front_end)
    assert segmenter.short
    looped = [*range(1, 21), *range(1, 13)]
    expected = [*looped[8:0:-1], *looped, *looped[-2:-10:-1]]
    assert segments.tolist() == [expected]


def test_memory_does_not_grow_with_the_clip():
    segmenter, block = Segmenter(FrontEnd()), np.zeros(65_536, np.float32)
    for _ in range(50):
        segmenter.push(block)
    held = [block if block.base is None else block.base for block in segmenter._blocks]
    assert sum(block.nbytes for block in held) < 2_000_000
    assert sum(map(len, segmenter._blocks)) == segmenter._n_pending < 66_560 + 66_048


def test_no_samples_at_all():
    segmenter = Segmenter(FrontEnd())
    assert segmenter.push(np.empty(0, np.float32)).shape == (0, 66560)
