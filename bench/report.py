#!/usr/bin/env python3
"""Turns the raw rows of bench/run into one table, printed and written as Markdown.

    report.py --run FOLDER --binary QIANLI --out FILE [--quick]

A cell is the median over the rounds. A ratio says how many times better Qianli is than Orthanc on the
same kind of database: it is taken within each round, between runs that lay side by side, and its median
is shown. Rows during which something else used the machine (the kit's `foreign_cores`) are left out;
where no undisturbed row remains the cell is marked with ~.
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess

DISTURBED = 0.3  # Cores used by neither the peer nor the driver.
ORDER = ["orthanc-pg", "orthanc-sqlite", "storescp", "qianli-postgres", "qianli-sqlite", "qianli-s3"]
NAMES = {
    "orthanc-pg": "Orthanc, Postgres",
    "orthanc-sqlite": "Orthanc, SQLite",
    "storescp": "storescp ¹",
    "qianli-postgres": "Qianli, Postgres",
    "qianli-sqlite": "Qianli, SQLite",
    "qianli-s3": "Qianli, Postgres + S3",
}
PAIRS = [("qianli-postgres", "orthanc-pg"), ("qianli-sqlite", "orthanc-sqlite")]

# Headings of sections that are kept.
OTHERS = ("## Cost of the audit trail", '## The time of "not found"')


def rows(path):
    """The JSON lines of a file; none when the part did not run."""
    return [json.loads(line) for line in path.open()] if path.exists() else []


def peak(row, prefix, label=None):
    """Memory of one labelled process, or of all of them together."""
    parts = [v for k, v in row.items() if k.startswith(prefix) and (label is None or k == f"{prefix}.{label}")]
    return sum(parts) if parts else None


class Line:
    """One line of the table: what is measured, from which rows, and which direction is better."""

    def __init__(self, label, unit, source, pick, value, higher=False, steady=True):
        self.label, self.unit, self.higher = label, unit, higher
        self.cells, self.marks, by_round = {}, {}, {}
        for peer in ORDER:
            mine = [r for r in source if r["peer"] == peer and pick(r) and value(r) is not None]
            calm = [r for r in mine if not steady or r.get("foreign_cores", 0) <= DISTURBED]
            used = calm or mine
            if used:
                self.cells[peer] = statistics.median(value(r) for r in used)
                self.marks[peer] = bool(mine and not calm)
                for r in used:
                    by_round.setdefault((peer, r.get("round", 0)), []).append(value(r))
        self.ratios = {}
        for ours, theirs in PAIRS:
            found = []
            for (peer, number), values in by_round.items():
                other = by_round.get((theirs, number))
                if peer == ours and other:
                    a, b = statistics.median(values), statistics.median(other)
                    top, bottom = (a, b) if higher else (b, a)
                    if bottom:
                        found.append(top / bottom)
            if found:
                self.ratios[(ours, theirs)] = statistics.median(found)


def figure(value):
    """Three significant digits, no exponent."""
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def picture_lines(pictures):
    """Rendered slices, thumbnails and frames of cines."""

    def test(name):
        return lambda r: r["test"] == name

    ms = lambda r: r.get("p50_ms")
    out = [
        Line("rendered JPEG of a CT slice, p50", "ms", pictures, test("rendered"), ms),
        Line("… processor time each", "ms", pictures, test("rendered"), lambda r: r.get("cpu_ms_per_req") or None),
        Line("… slowest percent (p99)", "ms", pictures, test("rendered"), lambda r: r.get("p99_ms")),
        Line("thumbnail of a study ², first", "ms", pictures, test("thumbnail first"), ms, steady=False),
        Line("thumbnail of a study ², again", "ms", pictures, test("thumbnail again"), ms),
    ]
    for name, length in (("", "300"), (" of a ten times longer cine", "3,000")):
        for place in ("first", "middle", "last"):
            label = f"the {place} frame of a compressed object of {length} frames, p50"
            out.append(Line(label, "ms", pictures, test(f"frame {place}{name}"), ms))
    return out


def lines(store, web, pictures, big):
    """Every line of the table, in order."""
    out = []
    for n in (1, 4, 8):
        pick = lambda r, n=n: r["assoc"] == n
        many = "1 association" if n == 1 else f"{n} associations"
        out += [
            Line(f"C-STORE CT 512 KiB, {many}", "instances/s", store, pick, lambda r: r["inst_s"], higher=True),
            Line("… processor time each", "ms", store, pick, lambda r: r["cpu_ms_per_inst"] or None),
            Line("… slowest percent (p99)", "ms", store, pick, lambda r: r["p99_ms"]),
            Line("… peak memory, server", "MB", store, pick, lambda r: peak(r, "peak_pss_mb", "server")),
            Line("… peak memory with database", "MB", store, pick, lambda r: peak(r, "peak_pss_mb")),
        ]

    def test(name):
        return lambda r: r["test"] == name

    ms, p99 = (lambda r: r.get("p50_ms")), (lambda r: r.get("p99_ms"))
    out += [
        Line("metadata of a long series, after a restart", "ms", web, test("metadata first"), ms, steady=False),
        Line("metadata of a long series, again", "ms", web, test("metadata again"), ms, steady=False),
        Line("… processor time each, 8 connections", "ms", web, test("metadata c8"), lambda r: r.get("cpu_ms_per_req")),
    ]
    for c in (1, 8):
        at = f"{c} connection" + ("s" if c > 1 else "")
        out += [
            Line(f"one frame of 512 KiB, {at}", "frames/s", web, test(f"frame c{c}"), lambda r: r.get("req_s"), higher=True),
            Line("… processor time each", "ms", web, test(f"frame c{c}"), lambda r: r.get("cpu_ms_per_req")),
            Line("… slowest percent (p99)", "ms", web, test(f"frame c{c}"), p99),
        ]
    for key, label in (
        ("qido_patientid", "QIDO by patient ID"),
        ("qido_name_prefix", "QIDO by name, prefix"),
        ("qido_name_han", "QIDO by name, Chinese"),
        ("qido_date_month", "QIDO by month"),
        ("qido_accession", "QIDO by accession number"),
        ("qido_recent_page", "QIDO, a page of 50 studies"),
    ):
        out += [
            Line(f"{label}, p50", "ms", web, test(f"{key} c1"), ms),
            Line("… p99", "ms", web, test(f"{key} c1"), p99),
        ]
    out.append(Line("QIDO by accession number, 8 connections", "requests/s", web, test("qido_accession c8"), lambda r: r.get("req_s"), higher=True))
    out.append(Line("a whole series, cached", "MB/s", web, test("series again"), lambda r: r.get("mb_s"), higher=True, steady=False))
    out.append(Line("peak memory, reading, server", "MB", web, lambda r: r["test"].endswith("c8"), lambda r: peak(r, "peak_pss_mb", "server")))
    out += picture_lines(pictures)
    every = lambda r: r.get("store_ok", 1) == 1
    out += [
        Line("one huge object by C-STORE", "MB/s", big, every, lambda r: r.get("store_mb_s"), higher=True, steady=False),
        Line("… peak memory, one process", "MB", big, every, lambda r: r.get("store_hwm_mb"), steady=False),
        Line("… one frame of it, p50", "ms", big, every, lambda r: r.get("frame_p50_ms"), steady=False),
        Line("… one frame, 4 at once, p50", "ms", big, every, lambda r: r.get("frame4_p50_ms"), steady=False),
        Line("… peak memory, one process, reading", "MB", big, every, lambda r: r.get("frame4_hwm_mb"), steady=False),
    ]
    return [line for line in out if line.cells]


def table(all_lines):
    """The one table, as rows of text."""
    peers = [p for p in ORDER if any(p in line.cells for line in all_lines)]
    pairs = [p for p in PAIRS if any(p in line.ratios for line in all_lines)]
    head = ["operation", "unit"] + [NAMES[p] for p in peers]
    head += [f"better than {NAMES[theirs]}, {NAMES[ours]} by" for ours, theirs in pairs]
    body = []
    for line in all_lines:
        cells = [figure(line.cells.get(p)) + ("~" if line.marks.get(p) else "") for p in peers]
        cells += [f"{figure(line.ratios[p])}×" if p in line.ratios else "–" for p in pairs]
        body.append([line.label, line.unit] + cells)
    return head, body


def said(*command):
    """The first line that a command prints, or nothing."""
    if not shutil.which(command[0]):
        return ""
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return next((line.strip() for line in ran.stdout.splitlines() if line.strip()), "")


def package(name):
    """A Debian package's version."""
    return said("dpkg-query", "-W", "-f=${Version}", name) if shutil.which("dpkg-query") else ""


def machine(limits):
    """What it ran on, as Markdown lines."""
    cpu = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text()).group(1)) / 2**20
    out = [
        f"- {os.cpu_count()} cores, {cpu.group(1) if cpu else os.uname().machine}; {memory:.0f} GiB; Linux {os.uname().release}; "
        "sender, servers and databases share them",
    ]
    for when, row in zip(("before", "after"), limits):
        one, four = (row[f"file512k_fdatasync_rename_dirsync{t}"] for t in ("", "_t4"))
        out.append(
            f"- disk {when} the run: {row['seq_2GiB_write_fsync_MB_s']} MB/s written and synced; files of 512 KiB created, synced, "
            f"renamed, folder synced: {one['files_s']:.0f}/s on one thread (p50 {one['p50_ms']:.2f} ms), {four['files_s']:.0f}/s on four; "
            f"8 KiB log sync {row['wal8k_fdatasync_p50_ms']:.2f} ms"
        )
    return out


def versions(binary):
    """Who took part, as Markdown lines."""
    here = pathlib.Path(__file__).resolve().parent
    commit = said("git", "-C", str(here), "rev-parse", "--short", "HEAD")
    dirty = "" if not said("git", "-C", str(here), "status", "--porcelain", "--untracked-files=no") else ", with local changes"
    out = [f"- Qianli {said(binary, '--version').removeprefix('qianli ')} (commit {commit}{dirty})"]
    if package("orthanc"):
        out.append(
            f"- Orthanc {package('orthanc')}, DICOMweb plugin {package('orthanc-dicomweb') or '?'}, PostgreSQL plugin "
            f"{package('orthanc-postgresql') or '?'} (Debian's), tuned as its book says, TCP_NODELAY=1, storage synced"
        )
    if package("dcmtk"):
        out.append(f"- DCMTK storescp {package('dcmtk')} (no index, no sync: a bound, not a peer)")
    servers = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if servers:
        out.append(f"- {said(str(servers[-1]), '--version')}, the same settings for both, synchronous_commit on")
    return out


def targets(all_lines, limits):
    """What issue and design ask for, against what was measured."""
    by_label, group, out = {}, "", []
    for line in all_lines:
        group = line.label if not line.label.startswith("…") else group
        by_label[group if group == line.label else f"{group} {line.label}"] = line
    pair = PAIRS[0]
    ingest = by_label.get("C-STORE CT 512 KiB, 4 associations")
    if ingest and pair in ingest.ratios:
        share = ""
        met = ingest.ratios[pair] >= 5
        if limits:
            limit = statistics.median(row["file512k_fdatasync_rename_dirsync_t4"]["files_s"] for row in limits)
            part = ingest.cells["qianli-postgres"] / limit
            met = met or part >= 0.8
            share = f", {100 * part:.0f} % of the {limit:.0f} synced files/s that four threads reach here"
        out.append((met, f"ingest at 4 associations on Postgres: 5 times Orthanc or 80 % of the disk's limit: "
                         f"{figure(ingest.ratios[pair])} times{share}"))
    for label, wanted, words in (
        ("C-STORE CT 512 KiB, 4 associations … processor time each", 5, "processor time per instance: a fifth of Orthanc's"),
        ("metadata of a long series, again", 20, "series metadata: 20 times faster"),
        ("one frame of 512 KiB, 8 connections", 4, "single frames at 8 connections: 4 times the throughput"),
        ("rendered JPEG of a CT slice, p50", 5, "rendered JPEG of a CT slice: 5 times faster"),
        ("thumbnail of a study ², again", 20, "thumbnail of a study after the first: 20 times faster"),
        ("the middle frame of a compressed object of 300 frames, p50", 20, "frame 150 of a compressed object of 300 frames: 20 times faster"),
        ("the last frame of a compressed object of 3,000 frames, p50", 20, "frame 3,000 of one of 3,000 frames: 20 times faster"),
    ):
        line = by_label.get(label)
        if line and pair in line.ratios:
            out.append((line.ratios[pair] >= wanted, f"{words}: {figure(line.ratios[pair])} times"))
    frames = [
        line.cells[pair[0]]
        for label, line in by_label.items()
        if "frame of a compressed object" in label and pair[0] in line.cells
    ]
    if len(frames) == 6:
        # A millisecond more or less is the machine's doing, not that of the object's length.
        apart = max(frames) - min(frames)
        met = max(frames) <= 2 * min(frames) or apart < 1
        words = f"{figure(min(frames))} to {figure(max(frames))} ms"
        out.append((met, f"a frame costs the same wherever it lies and however long the object is: {words}"))
    frame = by_label.get("one huge object by C-STORE … one frame of it, p50")
    if frame and "qianli-postgres" in frame.cells:
        value = frame.cells["qianli-postgres"]
        out.append((value < 100, f"a frame of the huge object in milliseconds: {figure(value)} ms"))
    return [f"- {'met' if met else 'NOT met'}: {words}" for met, words in out]


def empty_answers(log):
    """Which queries a peer answered with nothing: quick, but no answer."""
    found = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        hit = re.match(r"check (qido_\w+)\s+(\S+)\s+status 20\d .* 0 objects", line)
        if hit or re.match(r"check (qido_\w+)\s+(\S+)\s+status 204", line):
            name, peer = line.split()[1:3]
            found.setdefault(peer, []).append(name)
    return [f"- {NAMES.get(peer, peer)} finds nothing (and says so quickly) for: {', '.join(names)}" for peer, names in found.items()]


def kept(path):
    """Sections that other scripts wrote: what the audit trail costs, and the time of "not found"."""
    if not path.exists():
        return ""
    parts = re.split(r"^(?=## )", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return "".join("\n" + part.rstrip("\n") + "\n" for part in parts if part.startswith(OTHERS))


def main():
    """Reads, prints, writes."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--run", type=pathlib.Path, required=True)
    options.add_argument("--binary", required=True)
    options.add_argument("--out", type=pathlib.Path, required=True)
    options.add_argument("--quick", action="store_true")
    asked = options.parse_args()
    names = ("store", "web", "pictures", "big", "limits")
    store, web, pictures, big, limits = (rows(asked.run / f"{name}.jsonl") for name in names)
    everything = lines(store, web, pictures, big)
    head, body = table(everything)

    short = [h.replace("better than ", "> ").split(", Qianli")[0] for h in head]
    widths = [max(len(row[k]) for row in [short] + body) for k in range(len(head))]
    for row in [short] + body:
        print("  ".join(cell.ljust(w) if k < 2 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths))))

    failed = sum(r.get("fail", 0) + r.get("lost", 0) + r.get("refused", 0) for r in store)
    wrong = {}
    for r in web + pictures:
        errors = r.get("status_errors", 0) + r.get("socket_errors", 0) + r.get("bad", 0)
        if errors:
            wrong[r["peer"]] = wrong.get(r["peer"], 0) + errors
    all_rows = store + pictures + [r for r in web if "req_s" in r]
    disturbed = sum(r.get("foreign_cores", 0) > DISTURBED for r in all_rows)
    instances = max((r["ok"] for r in store), default=0)
    series = max((r.get("objects", 0) for r in web), default=0)
    frames = max((r.get("frames", 0) for r in big), default=0)
    notes = [
        f"- ingest: {instances} instances a run; long series: {series} instances; huge object: {frames} frames of 512 KiB",
        f"- {disturbed} of {len(all_rows)} rows were disturbed by something else on the machine"
        + (", and count only where no calm one exists (~)" if disturbed else ""),
    ]
    notes += empty_answers(asked.run / "web.log")
    if failed:
        notes.append(f"- {failed} stores failed or were refused")
    notes += [f"- {NAMES.get(peer, peer)}: {count} requests failed" for peer, count in wrong.items()]
    goals = targets(everything, limits)

    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    text = ["# Qianli beside its peers", "", f"Measured {date} by `bench/run`{' --quick' if asked.quick else ''}."]
    if asked.quick:
        text += ["", "**A quick run: small data, one round, no quiet machine. It shows that the benchmark works, not how fast anything is.**"]
    text += ["", "A cell is the median of the rounds. A ratio says how many times better Qianli is than Orthanc on the same kind of",
             "database (above 1 is better, also where less is better), as the median of ratios within a round. A cell with ~ was",
             "disturbed in every round.", ""]
    text += ["| " + " | ".join(row) + " |" for row in [head]]
    text += ["|---|---|" + "---:|" * (len(head) - 2)]
    text += ["| " + " | ".join(row) + " |" for row in body]
    text += ["", "¹ DCMTK's storescp writes files and does nothing else: no index, no sync."]
    if pictures:
        text += ["", "² Orthanc's plugin has no thumbnails of studies: its figure is what a client does without (a search for a",
                 "series, one for an instance, a small rendered picture)."]
    text.append("")
    if goals:
        text += ["## Against what we asked of ourselves", ""] + goals + [""]
    text += ["## Machine", ""] + machine(limits) + ["", "## Versions", ""] + versions(asked.binary) + ["", "## The run", ""] + notes
    asked.out.write_text("\n".join(text) + "\n" + kept(asked.out), encoding="utf-8")
    print()
    print("\n".join(goals + notes))


if __name__ == "__main__":
    main()
