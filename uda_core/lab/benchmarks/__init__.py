"""What the benchmarks share: forms that are timed in turn, a table of their times, and a report of the figures."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tqdm import trange


def report(result: dict, text: str, out: Path | None) -> int:
    """Print the table of a result, write the figures as JSON to `out`; the exit status is 1 if a target is missed."""
    print(text)
    if out:
        out.write_text(json.dumps(result, indent=2) + "\n")
    return int(any(row["ratio"] < row["target"] for row in result.get("ratios", ())))


def race(
    make_forms: Callable[[], dict[str, Callable]],
    targets: dict[tuple[str, str], float],
    rounds: int,
    name: str,
    threads: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict:
    """Milliseconds of each form (median over `rounds`, interleaved), and the ratio of each slow one to its fast one."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            forms = make_forms()
        for form in forms.values():  # first calls allocate
            form()
        times = {form: [] for form in forms}
        for _ in trange(rounds, desc=name, unit="round", leave=False):
            for form, call in forms.items():
                start = clock()
                call()
                times[form].append(1000 * (clock() - start))
    finally:
        torch.set_num_threads(before)
    medians = {form: statistics.median(values) for form, values in times.items()}
    ratios = [
        {"slow": slow, "fast": fast, "ratio": medians[slow] / medians[fast], "target": target}
        for (slow, fast), target in targets.items()
    ]
    return {"torch": torch.__version__, "threads": threads, "rounds": rounds, "median_ms": medians, "ratios": ratios}


def table(result: dict) -> str:
    """The figures of `race`, one line each, the images per second, and what was missing, where there are some."""
    lines = [f"{ms:9.1f} ms  {name}" for name, ms in result["median_ms"].items()]
    for row in result["ratios"]:
        slow = row["slow"].removeprefix(row["fast"].split(", ")[0] + ", ")  # what they share is said once
        lines.append(f"{row['ratio']:9.2f} x   {row['fast']} against {slow}; at least {row['target']} wanted")
    lines += [f"{images:9.1f} images/s  {name}" for name, images in result.get("images_per_s", {}).items()]
    lines += [f"        -     {what}" for what in result.get("missing", [])]
    how = f"torch {result['torch']}, threads: {result['threads']}, median of {result['rounds']} interleaved rounds"
    return "\n".join([*lines, how])
