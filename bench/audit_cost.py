"""Makes the table of bench/audit-cost from its lines: NAME, on or off, rate, processor time (us)."""

import datetime
import re
import statistics
import sys


def main() -> None:
    lines, mode, rounds, only = sys.argv[1:5]
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for line in open(lines, encoding="utf-8"):
        name, trail, rate, cpu = line.rsplit(maxsplit=3)
        found.setdefault(name, {}).setdefault(trail, []).append((float(rate), float(cpu)))
    database = {"sqlite": "SQLite", "postgres": "Postgres"}[mode]
    part = "" if only == "search,store" else f", {only} alone"
    heading = f"## Cost of the audit trail, {database}{part}"
    now = datetime.datetime.now(datetime.UTC)
    text = [
        heading,
        "",
        f"Measured {now:%Y-%m-%d %H:%M} UTC by `bench/audit-cost --mode {mode}`: one binary, the trail on and off",
        f"in turns, {rounds} rounds. A rate is the median; a ratio, on to off, is the median of those within a round, with",
        "the smallest and the largest.",
        "",
        "| operation | per second, on | off | ratio | processor time each, on (µs) | off | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, trails in found.items():
        cells = []
        for column, digits in ((0, 0), (1, 1)):
            on = [pair[column] for pair in trails["on"]]
            off = [pair[column] for pair in trails["off"]]
            ratios = [a / b for a, b in zip(on, off, strict=True)]
            cells += [
                f"{statistics.median(on):,.{digits}f}",
                f"{statistics.median(off):,.{digits}f}",
                f"{statistics.median(ratios):.3f} ({min(ratios):.2f}–{max(ratios):.2f})",
            ]
        text.append(f"| {name} | {' | '.join(cells)} |")
    section = "\n".join(text) + "\n"
    print(section)
    if len(sys.argv) > 5:
        with open(sys.argv[5], encoding="utf-8") as file:
            old = file.read()
        section += "\n"
        pattern = re.compile(rf"^{re.escape(heading)}$.*?(?=^## |\Z)", re.M | re.S)
        new = pattern.sub(lambda _: section, old) if pattern.search(old) else old.rstrip("\n") + "\n\n" + section
        with open(sys.argv[5], "w", encoding="utf-8") as file:
            file.write(new.rstrip("\n") + "\n")


main()
