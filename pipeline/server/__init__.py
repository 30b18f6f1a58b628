"""A local web page and HTTP API: uploads in, the reports of `pipeline run` out.

`app.py` answers requests, `uploads.py` takes files to disk, `jobs.py` keeps the queue, and `worker.py` has one process
of its own analyse one upload after the other.
"""
