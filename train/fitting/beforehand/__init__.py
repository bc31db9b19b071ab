"""Weights to begin with, where none are to be had: learnt on knees without a label of bone density."""
