"""A data set in, the paper's tables and figures out: ours beside the published numbers."""
