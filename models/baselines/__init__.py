"""The methods that RT-DeepLoc is compared with in Table 1, one file each."""
