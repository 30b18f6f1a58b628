"""Samples as they are heard: within full scale, and one channel out of several: their mean, unless they cancel out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PIECE_S = 0.1
"""Channels are compared over this long."""
LOSS, BACK = 0.1, 0.25
"""Shares of the loudest channel's power: below the first the mix is left, above the second it is taken again.

Two channels with nothing in common lose 3 dB, one beside a silent one 6 dB; 10 dB are lost where they cancel.
"""
FADE_S = 0.005
QUIET = 1e-6
"""Mean power below which nothing is compared: -60 dB of full scale."""


def audible(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """`samples` as a player gives them: cut off beyond full scale, and 0 where they are no numbers.

    Floating-point sound may hold anything, and one sample beyond measure would hide all others.
    """
    return np.nan_to_num(samples).clip(-1.0, 1.0)


class Mix:
    """The mean of the channels as FFmpeg mixes it, or the loudest channel where the mean loses it.

    Samples come at `rate` Hz. `lost_s` counts the seconds in which a channel was taken.
    """

    def __init__(self, rate: int) -> None:
        self.lost_s = 0.0
        self._rate, self._size, self._fade = rate, round(PIECE_S * rate), round(FADE_S * rate)
        self._mono, self._channels = np.zeros(0, np.float32), np.zeros((0, 0), np.float32)
        self._power = np.zeros(0)
        self._taken: int | None = None

    def push(
        self, mono: NDArray[np.float32], channels: NDArray[np.float32], last: bool = False
    ) -> NDArray[np.float32]:
        """Samples (N,) that are settled, given the next ones: the mean (M,) and the channels (C, M)."""
        if not self._channels.size:
            self._channels = np.zeros((len(channels), 0), np.float32)
            self._power = np.zeros(len(channels))
        self._mono = np.concatenate([self._mono, mono])
        self._channels = np.concatenate([self._channels, channels], axis=1)
        n = min(len(self._mono), self._channels.shape[1])
        n = len(self._mono) if last else n // self._size * self._size
        done = [self._piece(k, min(k + self._size, n)) for k in range(0, n, self._size)]
        self._mono, self._channels = self._mono[n:], self._channels[:, n:]
        return np.concatenate([*done, np.zeros(0, np.float32)])

    def _piece(self, first: int, stop: int) -> NDArray[np.float32]:
        mono, channels = self._mono[first:stop], self._channels[:, first:stop]
        if channels.shape[1] < len(mono):
            return mono
        power = np.square(channels, dtype=np.float64).mean(axis=1)
        before, loudest = self._taken, float(power.max(initial=0.0))
        if loudest > QUIET:
            share = float(np.square(mono, dtype=np.float64).mean()) / loudest
            self._power = 0.9 * self._power + power
            if self._taken is None and share < LOSS:
                self._taken = int(np.argmax(self._power))
            elif self._taken is not None and share > BACK:
                self._taken = None
        self.lost_s += len(mono) / self._rate if self._taken is not None else 0.0
        after = mono if self._taken is None else channels[self._taken]
        if before == self._taken:
            return after
        earlier = mono if before is None else channels[before]
        ramp = np.minimum(1.0, np.arange(len(mono), dtype=np.float32) / max(1, self._fade))
        return np.asarray(earlier + ramp * (after - earlier), np.float32)
