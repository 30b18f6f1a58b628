"""A renderer of invented talking heads with synthetic speech, so that the project can ship clips of its own."""
