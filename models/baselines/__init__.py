"""The methods that the paper compares RT-DeepLoc with, one file each, on the same features, trainer and scorer."""
