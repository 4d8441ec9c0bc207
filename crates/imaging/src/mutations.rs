//! Damaged streams of every codec: an error or a frame of the right size, and no more memory than
//! frames of this size call for.

use qianli_model::TransferSyntax;

use crate::testdata::{Random, json};
use crate::{can_decode, can_encode, decode, transcode};

/// Damaged copies of each stream.
const ROUNDS: usize = 400;

/// Far above what frames of these sizes need, far below what a header can claim.
const MEMORY_KIB: u64 = 512 << 10;

const SHAPES: [(&str, usize); 3] = [
    ("rows=37 columns=41", 37 * 41),
    ("rows=37 columns=41 bits=16 stored=12 high=11 signed=1", 37 * 41 * 2),
    ("rows=37 columns=41 samples=3 photometric=RGB planar=0", 37 * 41 * 3),
];

/// The greatest resident memory of this process so far, where the system tells.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

fn damaged(stream: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = stream.to_vec();
    for _ in 0..=random.next() % 3 {
        let at = random.next() as usize % out.len().max(1);
        let byte = random.next() as u8;
        match random.next() % 8 {
            0 => out.truncate(at),
            1 => out.insert(at, byte),
            2 => out[at] = 0xFF,
            3..=5 => out[at] = byte,
            _ => out[at] ^= 1 << (byte & 7),
        }
        if out.is_empty() {
            break;
        }
    }
    out
}

#[test]
fn damaged_streams_cost_an_error_at_most() {
    let before = peak_kib();
    let native = TransferSyntax::EXPLICIT_LITTLE;
    let mut random = Random::new(20_260_101);
    for (words, length) in SHAPES {
        let json = json(words);
        let pixels: Vec<u8> = (0..length)
            .map(|i| if i % 2 == 0 { (i / 3) as u8 } else { (i % 5) as u8 & 7 })
            .collect();
        let targets = TransferSyntax::all().filter(|s| can_encode(*s) && can_decode(*s));
        for to in targets.filter(|syntax| syntax.is_encapsulated()) {
            let Ok(stream) = transcode(json.as_bytes(), native, to, &pixels, 0) else { continue };
            for _ in 0..ROUNDS {
                let stream = damaged(&stream.bytes, &mut random);
                if let Ok(pixels) = decode(json.as_bytes(), to, &stream, 0) {
                    assert_eq!(pixels.len(), length, "{to} {words}");
                }
            }
        }
    }
    if let (Some(before), Some(after)) = (before, peak_kib()) {
        assert!(after - before < MEMORY_KIB, "{} KiB", after - before);
    }
}
