"""What is said about a clip, and its forms: a typed report, JSON, CSV and a short text."""
