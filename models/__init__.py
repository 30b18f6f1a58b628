"""RT-DeepLoc, one file per box of the paper's Figure 2: tensors in, tensors out."""
