"""A data set folder in, findings about it out: is it complete, what is in it, can shortcuts tell its classes apart."""
