"""How long before the loss internal signals warn, and how often falsely: runs, series, labels and scores."""
