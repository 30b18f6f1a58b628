"""Extraction at data-set scale: a plan, workers on this machine or on a Ray cluster, and a ledger of what became of
each file.

Read in this order: `plan.py` (what is to do), `driver.py` (who does it, and what happens when somebody dies),
`worker.py` (the doing), `local.py` and `cluster.py` (where workers live), `tally.py` (what is told).
"""
