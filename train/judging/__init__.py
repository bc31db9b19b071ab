"""What a fitted model is worth: figures with intervals, what must be beaten, label sets, comparisons."""
