"""FurthestPointSample: see README.md."""
