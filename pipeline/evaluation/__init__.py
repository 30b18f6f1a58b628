"""Labelled clips or predictions in, measured quality out: proposals, named protocols, tables."""
