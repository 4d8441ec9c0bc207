"""Where each value of a DICOM file lies: a walk over its bytes that trusts no library.

`spans(content)` gives (begin, end, path, value representation) for every value that holds no elements itself, in
the order of the file; path is the tags from the outside in, such as "00081140/00081155". What lies between values
(tags, lengths, preamble) belongs to none. A deflated data set must be inflated first, see `inflated`.
"""

import struct
import zlib

LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
UNDEFINED = 0xFFFFFFFF
DEFLATED, BIG, IMPLICIT = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2"


def meta(content):
    """The spans of the file meta information, and the transfer syntax with where the data set begins."""
    found, at, syntax = [], 132, None
    while content[at:at + 2] == b"\x02\x00":
        begin, end, tag, vr = head(content, at, "<", True)
        found.append((begin, end, f"{tag:08X}", vr))
        if tag == 0x00020010:
            syntax = content[begin:end].rstrip(b" \0").decode("ascii")
        at = end
    return found, syntax, at


def inflated(content):
    """The file with its data set inflated, if it was deflated."""
    _, syntax, at = meta(content)
    return content[:at] + zlib.decompress(content[at:], -15) if syntax == DEFLATED else content


def head(content, at, order, explicit):
    """Begin and end of the value of the element at a place; its tag and value representation."""
    group, element = struct.unpack_from(order + "HH", content, at)
    tag = group << 16 | element
    if group == 0xFFFE or not explicit:
        (length,) = struct.unpack_from(order + "I", content, at + 4)
        begin, vr = at + 8, b""
    else:
        vr = content[at + 4:at + 6]
        if vr in LONG:
            (length,) = struct.unpack_from(order + "I", content, at + 8)
            begin = at + 12
        else:
            (length,) = struct.unpack_from(order + "H", content, at + 6)
            begin = at + 8
    return begin, None if length == UNDEFINED else begin + length, tag, vr.decode("latin-1")


def spans(content):
    found, syntax, at = meta(content)
    order = ">" if syntax == BIG else "<"
    elements(content, at, len(content), order, syntax != IMPLICIT, "", found)
    return found


def elements(content, at, end, order, explicit, outside, found):
    """Walks over elements until `end`, or the delimiter of an item; returns where it stopped."""
    while at + 8 <= end:
        begin, to, tag, vr = head(content, at, order, explicit)
        if tag == 0xFFFEE00D:
            return begin
        path = f"{outside}/{tag:08X}" if outside else f"{tag:08X}"
        if tag == 0x7FE00010 and to is None:
            at = fragments(content, begin, order, path, found)
        elif vr == "SQ" or to is None or (not explicit and sequence_like(content, begin, to, order)):
            # Of unknown representation and length is only a sequence in implicit VR (PS3.5 6.2.2).
            inside = explicit and vr != "UN"
            at = items(content, begin, to, order, inside, path, found)
        else:
            found.append((begin, to, path, vr))
            at = to
    return at


def sequence_like(content, begin, end, order):
    """Whether a value in implicit VR looks like items."""
    return end - begin >= 8 and struct.unpack_from(order + "HH", content, begin) == (0xFFFE, 0xE000)


def items(content, at, end, order, explicit, path, found):
    while end is None or at + 8 <= end:
        begin, to, tag, _ = head(content, at, order, explicit)
        if tag == 0xFFFEE0DD:
            return begin
        if tag != 0xFFFEE000:
            raise ValueError(f"no item at byte {at} in {path}")
        stop = len(content) if to is None else to
        reached = elements(content, begin, stop, order, explicit, path, found)
        at = reached if to is None else to
    return at


def fragments(content, at, order, path, found):
    # Some files end without the delimiter.
    while at + 8 <= len(content):
        begin, to, tag, _ = head(content, at, order, True)
        if tag == 0xFFFEE0DD:
            return begin
        found.append((begin, to, path, "OB"))
        at = to
    return at
