"""The extractors of the preset compact: measures of the face and of speech, and the networks that read them."""
