"""BallQuery: see README.md."""
