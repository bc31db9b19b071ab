"""What PyInstaller must know to freeze a program that uses osteo-edge; the entry point ``pyinstaller40`` leads it here.

PyInstaller is a tool of whoever freezes a program (GPL with an exception for what it builds); this package does not need it.
"""

from __future__ import annotations

from pathlib import Path


def hook_folders() -> list[str]:
    """Folders of hooks, for PyInstaller's ``hook-dirs``."""
    return [str(Path(__file__).parent)]
