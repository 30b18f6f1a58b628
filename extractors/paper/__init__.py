"""The extractors of the preset paper: TSN ResNet-50 and wav2vec 2.0, on fused operations."""
