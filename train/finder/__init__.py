"""Make and judge the joint finder of `osteo_edge/finder/`: `python -m train finder --help`."""
