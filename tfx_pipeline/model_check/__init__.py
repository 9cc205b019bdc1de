"""Whether a candidate loads, answers and agrees with itself where it will be served."""
