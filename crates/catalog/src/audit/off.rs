//! The trail cannot be switched off. What it costs can be measured all the same: a binary that is
//! built with the feature `bench-no-audit` leaves nothing in the trail while the environment has
//! `QIANLI_BENCH_NO_AUDIT`. No release is built with it.

/// Whether nothing is to be left in the trail, for measuring. Always false in what is released.
#[cfg(not(feature = "bench-no-audit"))]
pub const fn audit_is_off() -> bool {
    false
}

/// Whether nothing is to be left in the trail, for measuring. Always false in what is released.
#[cfg(feature = "bench-no-audit")]
pub fn audit_is_off() -> bool {
    static OFF: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *OFF.get_or_init(|| std::env::var_os("QIANLI_BENCH_NO_AUDIT").is_some())
}
