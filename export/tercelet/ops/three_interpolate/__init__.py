"""ThreeInterpolate: see README.md."""
