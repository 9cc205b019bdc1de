"""What metrics are called where people read of them."""

METRIC_NAMES = {
    "auc": "AUC",
    "gauc": "GAUC",
    "ndcg": "NDCG",
    "logloss": "log loss",
    "normalized_entropy": "normalized entropy",
    "calibration": "calibration",
    "mse": "mean squared error",
    "accuracy": "accuracy",
}
