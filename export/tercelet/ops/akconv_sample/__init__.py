"""AKConvSample: N samples of a feature map for every place of the output, at learned positions."""
