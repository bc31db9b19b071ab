"""What is fitted: the table of backbones, networks, and the linear classifiers on their features."""
