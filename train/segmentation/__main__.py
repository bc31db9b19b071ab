"""``python -m train.segmentation``: the same commands as ``python -m train segmentation``."""

from train.segmentation.commands import segmentation

if __name__ == "__main__":
    segmentation()
