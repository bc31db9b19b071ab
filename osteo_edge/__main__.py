"""``python -m osteo_edge``: the same as the command ``osteo-edge``."""

from osteo_edge.cli.main import main

if __name__ == "__main__":
    main()
