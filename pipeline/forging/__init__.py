"""Authentic clips in, a labelled data set of partial forgeries out."""
