"""The documents of the samples: a result page as a picture (secondary capture) and a PDF report.

The picture needs a font with Chinese letters (Debian: fonts-noto-cjk); the PDF is written by hand so
that every byte of it is known.
"""

import io
import os
import zlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONTS = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/google-noto-cjk/NotoSansCJK-Regular.ttc",
)
INK, DIM, LINE, ACCENT = (24, 34, 48), (102, 116, 134), (214, 221, 229), (16, 110, 190)


def chinese(size):
    """The CJK font at `size`; the third face of the collection is Simplified Chinese."""
    for path in FONTS:
        if os.path.exists(path):
            return ImageFont.truetype(path, size, index=2)
    raise SystemExit("generate: no CJK font found; install fonts-noto-cjk")


def window(hu, centre, width):
    """Eight-bit grey of `hu` in a window."""
    return (np.clip((hu - centre) / width + 0.5, 0, 1) * 255).astype(np.uint8)


def result_page(lung, soft, coronal):
    """A screen as post-processing stations send it: views of the nodule, a table, a density curve."""
    page = Image.new("RGB", (760, 560), (247, 249, 251))
    draw = ImageDraw.Draw(page)
    draw.rectangle([0, 0, 760, 52], fill=ACCENT)
    draw.text((20, 9), "肺结节分析", font=chinese(24), fill="white")
    draw.text((168, 17), "Lung nodule analysis", font=chinese(16), fill=(214, 233, 248))
    draw.text((600, 18), "SYNTHETIC 演示", font=chinese(15), fill=(255, 226, 140))
    for k, (picture, label) in enumerate(((lung, "横断面 肺窗"), (soft, "横断面 纵隔窗"), (coronal, "冠状面 肺窗"))):
        left = 20 + k * 244
        tile = Image.fromarray(picture).convert("RGB").resize((232, 200), Image.LANCZOS)
        page.paste(tile, (left, 68))
        draw.rectangle([left, 68, left + 104, 90], fill=(16, 20, 26))
        draw.text((left + 6, 69), label, font=chinese(13), fill=(255, 226, 140))
    for left, (cx, cy) in ((20, (62, 76)), (264, (62, 76)), (508, (63, 64))):
        draw.ellipse([left + cx - 15, 68 + cy - 15, left + cx + 15, 68 + cy + 15], outline=(255, 92, 70), width=2)
    rows = (("位置 Location", "右肺上叶 RUL"), ("长径 Diameter", "15.8 mm"), ("体积 Volume", "1 810 mm³"),
            ("平均密度 Mean", "31 HU"), ("毛刺 Spiculation", "是 yes"), ("分类 Category", "Lung-RADS 4B"))
    draw.text((20, 284), "测量 Measurements", font=chinese(16), fill=INK)
    for k, (name, value) in enumerate(rows):
        top = 316 + 34 * k
        draw.line([(20, top + 30), (366, top + 30)], fill=LINE)
        draw.text((20, top + 4), name, font=chinese(15), fill=DIM)
        draw.text((206, top + 4), value, font=chinese(15), fill=INK)
    draw.text((400, 284), "密度直方图 Histogram (HU)", font=chinese(16), fill=INK)
    box = (400, 318, 738, 510)
    draw.rectangle(box, fill="white", outline=LINE)
    for k in range(34):
        hu = -800 + 27 * k
        tall = 150 * np.exp(-(((hu - 32) / 60) ** 2)) + 34 * np.exp(-(((hu + 560) / 170) ** 2))
        draw.rectangle([406 + k * 9.7, 506 - tall, 413 + k * 9.7, 508], fill=ACCENT if hu > -300 else (150, 190, 222))
    for k, hu in enumerate((-800, -400, 0)):
        draw.text((402 + k * 144, 512), str(hu), font=chinese(12), fill=DIM)
    draw.text((20, 534), "合成数据，仅用于演示，不可用于诊断。 Synthetic data: not for diagnosis.", font=chinese(13), fill=DIM)
    return np.asarray(page)


def pdf_report(picture):
    """A one-page A4 PDF: text in Helvetica, the Chinese heading and the film as images."""
    head = Image.new("L", (1040, 120), 255)
    draw = ImageDraw.Draw(head)
    draw.text((0, 0), "千里示范医院", font=chinese(58), fill=30)
    draw.text((420, 22), "影像诊断报告", font=chinese(40), fill=90)
    film = Image.fromarray(picture).resize((456, 504), Image.LANCZOS)
    shot = io.BytesIO()
    film.save(shot, "JPEG", quality=85)
    lines = (
        ("F2", 15, 720, "Radiology report"),
        ("F1", 10, 692, "Patient   LI, Xiaohong      ID   QL-0002      Born   1979-04-12      Sex   F"),
        ("F1", 10, 676, "Study   Chest PA      Date   2025-03-18      Accession   QL25031801"),
        ("F2", 12, 640, "Findings"),
        ("F1", 10, 622, "Both lungs are clear. No pleural effusion, no pneumothorax."),
        ("F1", 10, 607, "The heart is of normal size. The aortic arch and both hila are unremarkable."),
        ("F1", 10, 592, "Ribs, collar bones and shoulder blades are intact."),
        ("F2", 12, 562, "Impression"),
        ("F1", 10, 544, "Normal chest radiograph."),
        ("F1", 10, 92, "Signed   Dr CHEN      2025-03-18 15:42"),
        ("F1", 8, 60, "Synthetic sample written by a program. It describes no person and is not for diagnosis."),
    )
    text = "0.1 0.13 0.19 rg\n" + "".join(f"BT /{f} {s} Tf 56 {y} Td ({t}) Tj ET\n" for f, s, y, t in lines)
    draws = "q 350 0 0 40.4 56 752 cm /Head Do Q\nq 300 0 0 331.6 56 150 cm /Film Do Q\n"
    rule = "0.06 0.43 0.75 RG 1.2 w 56 740 m 539 740 l S\n"
    content = zlib.compress((draws + rule + text).encode("ascii"), 9)
    banner = zlib.compress(head.tobytes(), 9)
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /%s /Encoding /WinAnsiEncoding >>"
    image = "<< /Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceGray /BitsPerComponent 8 /Filter /%s /Length %d >>"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << "
        b"/Font << /F1 5 0 R /F2 6 0 R >> /XObject << /Head 7 0 R /Film 8 0 R >> >> >>",
        b"<< /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        (font % "Helvetica").encode(),
        (font % "Helvetica-Bold").encode(),
        (image % (head.width, head.height, "FlateDecode", len(banner))).encode() + b"\nstream\n" + banner + b"\nendstream",
        (image % (film.width, film.height, "DCTDecode", len(shot.getvalue()))).encode()
        + b"\nstream\n" + shot.getvalue() + b"\nendstream",
    ]
    out = bytearray(b"%PDF-1.4\n%\xe5\x8d\x83\xe9\x87\x8c\n")
    offsets = []
    for number, item in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, item)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % o for o in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)
