//! What the black-box tests stand on: nodes under test, scripted peers, other people's clients,
//! synthetic instances and the corpus. Holds no test of its own.

pub mod clients;
pub mod corpus;
pub mod data_set;
pub mod node;
pub mod peer;
pub mod postgres;
pub mod proxy;
pub mod raw;
pub mod s3;
pub mod sample;
pub mod setup;
pub mod synth;
pub mod tls;
pub mod web;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Returns the folder for screenshots, tables and logs that outlive a run.
pub fn artifacts() -> PathBuf {
    let folder = std::env::var_os("QIANLI_ARTIFACTS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("artifacts"), PathBuf::from);
    fs::create_dir_all(&folder).expect("create the artifacts folder");
    folder
}

/// Writes one artefact whole.
pub fn keep(name: &str, content: &str) {
    fs::write(artifacts().join(name), content).expect("write an artefact");
}

/// Says that part of the suite cannot run here, and why. With `QIANLI_REQUIRE_ALL=1` (as in CI) a
/// missing part is a failure, so that nothing is skipped unnoticed.
pub fn skip(what: &str, why: &str) {
    let required = std::env::var("QIANLI_REQUIRE_ALL").is_ok_and(|value| value == "1");
    assert!(!required, "{what}: {why}, and QIANLI_REQUIRE_ALL=1");
    println!("skipped: {what}: {why}");
    if let Ok(mut list) =
        OpenOptions::new().create(true).append(true).open(artifacts().join("skipped.txt"))
    {
        let _ = writeln!(list, "{what}: {why}");
    }
}

/// Reads an environment variable that names something the tests need.
pub fn external(variable: &str, what: &str) -> Option<String> {
    match std::env::var(variable) {
        Ok(value) if !value.is_empty() => Some(value),
        _ => {
            skip(what, &format!("{variable} is not set"));
            None
        }
    }
}

/// Held while a heavy test runs: the operating system releases the lock when the file closes, also
/// across the processes that nextest starts.
pub struct Turn {
    _lock: File,
}

/// Waits until no other heavy test runs.
pub fn heavy() -> Turn {
    let path = std::env::temp_dir().join("qianli-heavy-test.lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .expect("open the lock file");
    lock.lock().expect("lock the lock file");
    Turn { _lock: lock }
}

/// Polls until `done` gives a value; panics with `what` when it does not in time.
pub fn eventually<T>(what: &str, limit: Duration, mut done: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A small generator for choosing moments and sizes; a printed seed repeats a run.
pub struct Dice(u64);

impl Dice {
    /// Starts from a variable's value if it is set, else from the clock.
    pub fn from_env(variable: &str) -> Self {
        let chosen = std::env::var(variable).ok().and_then(|text| text.parse().ok());
        let seed = chosen.unwrap_or_else(|| u64::from(unique() as u32));
        println!("{variable}={seed}");
        Self(seed)
    }

    /// Returns a number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64: short, and good enough to pick moments.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

/// Returns a number that no other test process of this machine returns.
pub fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_nanos() as u64);
    let step = COUNTER.fetch_add(1, Ordering::Relaxed);
    (nanos << 12) ^ (u64::from(std::process::id()) << 40) ^ step
}
