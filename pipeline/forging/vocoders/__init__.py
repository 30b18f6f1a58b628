"""Small vocoders of our own: speech in, mel spectrogram, the same words out of a network that was trained here.

In: mono 16 kHz speech. Out: as many samples, the same words and voice, with the traces of one make of generator.
"""
