"""Labelled features in, a weights folder out: pre-training of extractors, training of the model, tuning."""
