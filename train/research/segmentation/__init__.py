"""Bone segmentation: masks drawn by eye, two networks compared, and the measures that a mask allows.

Rooms: `sampling` (which knees are drawn), `drawing` (the aid they are drawn with), `annotations` (outlines and their checks),
`pictures` and `views` (real and synthetic crops with masks, and random views of them), `networks` (attention U-Net and a small
transformer), `fitting`, `judgement` (Dice and surface distance), `measures` (cortex, texture, joint space), `association` (with
T), `masking` (a classifier's masked input), `settings`, `room` (a whole comparison) and `commands`.
"""
