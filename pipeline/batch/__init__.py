"""Extraction at data-set scale: a plan, workers on this machine or on a Ray cluster, and a ledger of what became of
each file.

Read in this order: `plan.py` (what is to do), `driver.py` (who does it, and what happens when a worker dies),
`worker.py` (the work), `local.py` and `cluster.py` (where workers run), `tally.py` (progress and results).
"""
