"""Training of 2D detectors: samples, losses, the loop, and what people look at afterwards."""
