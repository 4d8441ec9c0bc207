//! Settings of the C library's allocator, which can only be made before a process starts.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Allocations of this size and more (bytes) are given back to the system as soon as they are freed,
/// and so is what is free at the end of an arena beyond the second. By itself glibc raises both to the
/// largest allocation it has seen freed, times two, for each of its arenas: one burst of large objects
/// then stays resident for good ([decision 0011](../docs/decisions/0011-malloc-thresholds.md)).
const THRESHOLDS: [(&str, &str); 2] =
    [("MALLOC_MMAP_THRESHOLD_", "1048576"), ("MALLOC_TRIM_THRESHOLD_", "2097152")];

/// Starts this program again under the same process id with the allocator's thresholds fixed, unless
/// somebody has set one of them. Returns when that is not needed or not possible.
pub fn fix_thresholds() {
    let is_set = |(name, _): &(&str, &str)| std::env::var_os(name).is_some();
    if !cfg!(target_env = "gnu") || THRESHOLDS.iter().any(is_set) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from("qianli"));
    // It returns only when it fails; then things go on as they are, with more memory held.
    let error = Command::new(program).arg0(name).args(arguments).envs(THRESHOLDS).exec();
    tracing::debug!(%error, "the allocator's thresholds stay as they are");
}
