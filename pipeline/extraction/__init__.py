"""Media files in, features in the store out: one stream of clips from decoder to store."""
