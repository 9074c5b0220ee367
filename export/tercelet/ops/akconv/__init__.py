"""AKConv: AKConvSample, the convolution over its samples, bias and SiLU, in one op."""
