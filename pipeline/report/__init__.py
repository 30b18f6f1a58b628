"""The report on a clip: its type, JSON, page, exports and figures, and the index of a folder."""
