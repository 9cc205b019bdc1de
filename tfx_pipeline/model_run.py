"""Where things lie inside a ModelRun artifact."""

HISTORY_FILE = "history.json"
"""The `History` that `fit` returned."""

GATES_FILE = "gates.json"
"""What `mean_gates` returned."""

TRAINED = "trained"
"""What the training ended with, a checkpoint."""
