"""Samples in, features out: TSN for frames, wav2vec 2.0 for sound, and their alignment on one clock."""
