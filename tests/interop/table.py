"""The document: an overview of all cells, and what was seen in each."""

from harness import CALLS_US, EXPLAINED, GREEN, IS_CALLED, RED, SKIPPED

SERVICES = ["C-ECHO", "C-STORE", "C-FIND", "C-MOVE", "C-GET", "Storage commitment", "Worklist", "MPPS", "Shutdown (private)"]
# The worst of several cells counts.
WORST = [RED, SKIPPED, GREEN, EXPLAINED]

HEAD = """# Interoperability

Printed by `scripts/interop`, which starts a node on an empty folder and these peers beside it on one
machine, and looks at what arrived: how many objects, which names, and every object compared with what was
made. "Byte for byte" means that the encoded data set is the same; "element for element" that every element
is, but it was written anew; "decoded for it" that a side took no compressed objects and got the pixels
uncompressed, all other elements as they were. A cell is **green** when that was seen, **explained** when it cannot be, with the reason, and
**RED** when something is wrong. `make interop` runs it again."""


def document(cells, versions, missing, date):
    parts = [HEAD, f"Run of {date}:\n\n" + "\n".join(f"- {text}" for text in versions.values())]
    if missing:
        parts.append("Skipped:\n\n" + "\n".join(f"- {peer}: {why}" for peer, why in missing.items()))
    parts.append("## Overview\n\n" + overview(cells))
    for peer in dict.fromkeys(one.peer for one in cells):
        parts.append(f"## {peer}\n\n" + details([one for one in cells if one.peer == peer]))
    count = {state: sum(one.state == state for one in cells) for state in (GREEN, EXPLAINED, RED, SKIPPED)}
    parts.append(f"{len(cells)} cells: " + ", ".join(f"{number} {state}" for state, number in count.items() if number) + ".")
    return "\n\n".join(parts)


def overview(cells):
    peers = list(dict.fromkeys(one.peer for one in cells))
    lines = ["| service | " + " | ".join(f"{peer} {way}" for peer in peers for way in ("calls us", "is called")) + " |",
             "|---" * (1 + 2 * len(peers)) + "|"]
    for service in SERVICES:
        states = []
        for peer in peers:
            for way in (CALLS_US, IS_CALLED):
                found = [one.state for one in cells if (one.peer, one.way, one.service) == (peer, way, service)]
                states.append(next((state for state in WORST if state in found), "–"))
        if any(state != "–" for state in states):
            lines.append(f"| {service} | " + " | ".join(states) + " |")
    return "\n".join(lines)


def details(cells):
    lines = ["| service | who calls | with | result | what was seen |", "|---|---|---|---|---|"]
    for service in SERVICES:
        for way in (CALLS_US, IS_CALLED):
            for one in cells:
                if (one.service, one.way) == (service, way):
                    seen = one.text.replace("|", "\\|")
                    lines.append(f"| {service} | {way} | {one.tool} | {one.state} | {seen} |")
    return "\n".join(lines)
