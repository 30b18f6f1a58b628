"""Decoders behind one interface, the clock that samples them and the killable process that runs them."""

from __future__ import annotations

from data.errors import UsageError
from pipeline.media.base import AudioBatch, Backend, VideoBatch

__all__ = ["AudioBatch", "Backend", "VideoBatch", "backend"]


def backend(name: str, threads: int = 2) -> Backend:
    """A fresh decoder that works on `threads` threads: "pyav" (the reference), "ffmpeg" or "decord".

    Raises UsageError when the name is unknown or what the decoder needs is not installed.
    """
    if name == "pyav":
        from pipeline.media.pyav import PyAVBackend

        return PyAVBackend(threads)
    if name == "ffmpeg":
        from pipeline.media.ffmpeg import FFmpegBackend

        return FFmpegBackend(threads)
    if name == "decord":
        from pipeline.media.decord import DecordBackend

        return DecordBackend(threads)
    raise UsageError(f"unknown decoder '{name}'", fix="use pyav, ffmpeg or decord")
