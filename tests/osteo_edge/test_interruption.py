"""Ctrl-C and SIGTERM while something must be done whole."""

from __future__ import annotations

import signal

import pytest

from osteo_edge.interruption import held_back, sigterm_as_interrupt


def test_what_is_held_back_takes_effect_at_the_end() -> None:
    done: list[str] = []

    def interrupted() -> None:
        with held_back():
            signal.raise_signal(signal.SIGINT)
            done.append("whole")
        done.append("not reached")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == ["whole"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_sigterm_is_an_interruption_and_told_apart() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with sigterm_as_interrupt() as termination:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert not termination.came
        with pytest.raises(KeyboardInterrupt), held_back():
            signal.raise_signal(signal.SIGTERM)
        assert termination.came
    assert signal.getsignal(signal.SIGTERM) == before
