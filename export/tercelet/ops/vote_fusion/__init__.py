"""VoteFusion: what the boxes of a picture say about points of a cloud, up to three votes a point."""
