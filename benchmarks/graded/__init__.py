"""Bundles that grade osteoarthritis, judged on knees that others graded, through the runtime as it ships."""
