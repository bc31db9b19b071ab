"""Several processes, one predictor in each: python examples/pool.py FOLDER

A predictor holds an engine and cannot be sent to another process; each makes its own when it starts. Answers and errors can be
sent. One process with several threads (``OsteoPredictor(workers=...).predict_many``) does the same in less memory; this is for
programs that have a pool already. A research screening aid, not a diagnosis.
"""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from osteo_edge import InputError, OsteoPredictor, Prediction

_predictor: OsteoPredictor


def start() -> None:
    """What each process does first."""
    global _predictor
    _predictor = OsteoPredictor(threads=1)


def answer(path: Path) -> Prediction | InputError:
    """One picture's answer, or why it could not be read."""
    try:
        return _predictor.predict(path)
    except InputError as error:
        return error


def main(folder: Path) -> None:
    pictures = sorted(path for path in folder.iterdir() if path.is_file())
    # "spawn" starts clean processes; forked ones would share the state of libraries that have threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=2, mp_context=context, initializer=start) as pool:
        for path, answered in zip(pictures, pool.map(answer, pictures), strict=True):
            print(answered if isinstance(answered, Prediction) else f"{path}: {answered}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
