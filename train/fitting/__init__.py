"""How a network of classes is fitted: folds, fine-tuning, and what the run writes of itself."""
