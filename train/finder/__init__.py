"""Make and judge the joint finder of `osteo_edge/images/region.py`: `python -m train finder --help`."""
