"""What can be had from frozen features: networks, regions, targets, ensembles and covariates, all judged the same way.

``config`` says what is compared; ``features`` describes every radiograph by every network; ``systems`` scores them in repeated
nested cross-validation; ``tables`` and ``study`` write what came of it.
"""
