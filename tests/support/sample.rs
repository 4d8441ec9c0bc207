//! What a node costs and leaves behind: memory and open files from the kernel, metrics over HTTP,
//! files in its data folder.

use super::eventually;
use super::node::Node;
use super::synth::{self, Place};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Resident memory now, in bytes.
pub fn resident(node: &Node) -> u64 {
    resident_of(node.pid())
}

/// Open file descriptors, sockets included.
pub fn open_files(node: &Node) -> usize {
    fs::read_dir(format!("/proc/{}/fd", node.pid())).map_or(0, Iterator::count)
}

/// The value of a metric, summed over its labels; 0 when it was never set.
pub fn metric(node: &Node, name: &str) -> f64 {
    let text = node.web().get("/metrics").send_ok().text();
    let of_name = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ') || rest.starts_with('{'))
    };
    text.lines()
        .filter(of_name)
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Every file under a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Files in the node's data folder that are neither the index nor a finished object nor a
/// setting: what an aborted or refused store must not leave.
pub fn leftovers(node: &Node) -> Vec<PathBuf> {
    let left = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let index = name.contains(".sqlite") || name.contains(".db");
        let finished = name.ends_with(".dcm") || name.ends_with(".toml");
        let inside = path.strip_prefix(node.data()).unwrap_or(path);
        let temporary = inside.starts_with("spool") || name.contains('#');
        temporary || !(index || finished || name.ends_with(".lock"))
    };
    files(&node.data()).into_iter().filter(left).collect()
}

fn resident_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Samples resident memory every few milliseconds until it is asked for the highest value.
pub struct MemoryWatch {
    stop: Arc<AtomicBool>,
    highest: Arc<AtomicU64>,
    sampler: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    /// Starts to sample.
    pub fn start(node: &Node) -> Self {
        let (stop, highest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopping, seen, pid) = (stop.clone(), highest.clone(), node.pid());
        let sampler = std::thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                seen.fetch_max(resident_of(pid), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(4));
            }
        });
        Self { stop, highest, sampler: Some(sampler) }
    }

    /// Returns the highest resident memory seen, in bytes.
    pub fn finish(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sampler) = self.sampler.take() {
            let _ = sampler.join();
        }
        self.highest.load(Ordering::Relaxed)
    }
}

/// What a node costs at rest.
pub struct Baseline {
    /// Resident memory, bytes.
    pub resident: u64,
    /// Open file descriptors.
    pub open_files: usize,
}

impl Baseline {
    /// Measures a node that does nothing.
    pub fn of(node: &Node) -> Self {
        Self { resident: resident(node), open_files: open_files(node) }
    }

    /// The node is alive, useful, and back to what it cost before.
    pub fn is_restored(&self, node: &mut Node) {
        assert!(node.is_alive(), "the node died");
        let log = node.log();
        assert!(!log.contains("panicked"), "the node panicked: {log}");
        let limit = Duration::from_secs(20);
        eventually("no association is left", limit, || {
            (metric(node, "qianli_dimse_associations_active") == 0.0).then_some(())
        });
        // A few more than before: kept HTTP connections and the pool of the index.
        eventually("the open files are back to where they were", limit, || {
            (open_files(node) <= self.open_files + 24).then_some(())
        });
        let grown = resident(node).saturating_sub(self.resident);
        assert!(grown < 150_000_000, "{grown} bytes more than before");
        let leftovers = leftovers(node);
        assert!(leftovers.is_empty(), "left behind: {leftovers:?}");
        let instance = synth::ct(&Place::new(), 1, 64);
        node.web().stow_instance(&instance);
        assert!(node.web().file(&instance).ends_with(&instance.data_set));
    }
}
