"""What is said about a clip: a typed report, its JSON, a page with pictures, a folder's index, exports and figures."""
