"""What was measured as text for the terminal."""

from __future__ import annotations

from benchmarks.peers.records import COLD, FOLDER, IMAGE, Peers, Ratio


def table(found: Peers) -> str:
    """A part a task, the fastest first; then memory, disk and answers."""
    lines = [f"{found.processor}, {found.cores} core(s); rounds interleaved, medians, 95 % intervals over rounds"]
    lines.append(
        f"times: as long as {found.default}, and as osteo-edge with the same network; peers are given the knees' boxes"
    )
    for task, threads in dict.fromkeys((row.task, row.threads) for row in found.rows):
        rows = [row for row in found.rows if (row.task, row.threads) == (task, threads)]
        lines += ["", f"{_told(task, threads, found)}, {max(len(row.samples_ms) for row in rows)} rounds"]
        lines.append(f"{'':<70} {'ms':>9} {'a second':>9}  {'times the default':<22} {'times the same network':<22}")
        for row in sorted(rows, key=lambda row: row.median_ms):
            ratios = f"{_interval(row.times_default):<22} {_interval(row.times_same):<22}".rstrip()
            lines.append(f"{row.entrant:<70} {row.median_ms:>9.2f} {1000 / row.median_ms:>9.1f}  {ratios}".rstrip())
    lines += ["", f"{'':<70} {'peak MB':>8} {'cold MB':>8} {'installed MB':>13} {'off by':>8}"]
    for one in found.participants:
        peak, cold = (_number(value) for value in (one.peak_mb, one.cold_peak_mb))
        off = "-" if one.max_difference is None else f"{one.max_difference:.0e}"
        lines.append(f"{one.name:<70} {peak:>8} {cold:>8} {one.total_mb:>13.0f} {off:>8}")
    for one in found.participants:
        if one.stages_ms:
            stages = ", ".join(f"{stage} {milliseconds:.2f}" for stage, milliseconds in one.stages_ms.items())
            lines.append(f"{one.name}, ms of the image on one thread: {stages}")
    lines += ["", *(f"left out: {name}: {why}" for name, why in found.left_out.items())]
    return "\n".join(lines).rstrip()


def _told(task: str, threads: int | None, found: Peers) -> str:
    many = "one thread" if threads == 1 else "all threads"
    if task == COLD:
        return "whole process, the image"
    if task == IMAGE:
        return f"the image, {many}"
    if task == FOLDER:
        return f"a folder of {found.pictures[FOLDER]} pictures, {many}; ms a picture"
    return f"radiographs of {task} ({found.pictures[task]} in turn), {many}"


def _interval(ratio: Ratio | None) -> str:
    return "" if ratio is None else f"{ratio.value:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
