"""Components of our own, one a file."""
