"""A package, as one of the dependencies installs another of this name."""
