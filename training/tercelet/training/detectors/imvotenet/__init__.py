"""ImVoteNet: oriented boxes from a point cloud and what a 2D detector sees in the picture of it."""
