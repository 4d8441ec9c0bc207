//! A local directory as blob store, durable in the strict sense: when a put returns, the object, its
//! name and every new directory above it have been synced.
//!
//! `object_store`'s own local backend does not do for this: its writers may return while another
//! writer is still syncing the directory both need, it spends a second journal commit on a rename
//! that unique keys make needless, and it reads in 8 KiB steps (decision 0002).

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;

/// Directories remembered as durable; beyond this the memory is dropped and they are synced again.
const REMEMBERED_DIRECTORIES: usize = 100_000;

/// Bytes of a probe: about the size of an image, so that a full disk cannot hide it.
const PROBE: usize = 1 << 20;

/// A directory tree of immutable objects. All calls block; run them off the async threads.
#[derive(Debug)]
pub(crate) struct LocalDir {
    root: PathBuf,
    /// Directories whose own names are known to be on disk. Held while directories are created, so
    /// that nobody relies on a directory that is not yet durable.
    durable: Mutex<HashSet<PathBuf>>,
}

impl LocalDir {
    /// Opens the directory, creating it if needed.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        private_dirs().recursive(true).create(root)?;
        let root = root.canonicalize()?;
        sync_dir(&root)?;
        if let Some(parent) = root.parent() {
            sync_dir(parent)?;
        }
        Ok(Self { root, durable: Mutex::new(HashSet::new()) })
    }

    /// The directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, key: &str) -> io::Result<PathBuf> {
        let safe = !key.is_empty()
            && key.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'));
        if safe {
            Ok(self.root.join(key))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "impossible blob key"))
        }
    }

    /// Writes an object from memory.
    pub(crate) fn put(&self, key: &str, parts: &[Bytes]) -> io::Result<()> {
        self.create(key, |file| {
            let mut slices: Vec<IoSlice<'_>> =
                parts.iter().map(|part| IoSlice::new(part)).collect();
            write_all_vectored(file, &mut slices)
        })
    }

    /// Writes an object that starts with `head` and goes on with what remains of `body`.
    pub(crate) fn put_file(&self, key: &str, head: &[u8], body: &mut File) -> io::Result<()> {
        self.create(key, |file| {
            file.write_all(head)?;
            io::copy(body, file).map(drop)
        })
    }

    /// Creates a new file, lets `write` fill it, and makes file and name durable. Keys are unique,
    /// so the object may be written under its final name: no row points at it before we return.
    fn create(&self, key: &str, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        let path = self.path(key)?;
        let parent = path.parent().unwrap_or(&self.root);
        self.make_durable_dir(parent)?;
        let mut file = match create_private(&path) {
            // An operator (or a sweep) may have removed the directory since we remembered it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget(parent);
                self.make_durable_dir(parent)?;
                create_private(&path)?
            }
            other => other?,
        };
        let written =
            write(&mut file).and_then(|()| file.sync_all()).and_then(|()| sync_dir(parent));
        if written.is_err() {
            // Best effort: what stays is an orphan that the sweep removes.
            let _ = fs::remove_file(&path);
        }
        written
    }

    fn forget(&self, directory: &Path) {
        let mut durable = self.durable.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        durable.retain(|known| !known.starts_with(directory) && !directory.starts_with(known));
    }

    /// Creates a directory and those above it, and syncs each new name into its parent.
    fn make_durable_dir(&self, directory: &Path) -> io::Result<()> {
        let mut durable = self.durable.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if durable.contains(directory) {
            return Ok(());
        }
        if durable.len() >= REMEMBERED_DIRECTORIES {
            durable.clear();
        }
        let missing: Vec<&Path> = directory
            .ancestors()
            .take_while(|above| *above != self.root && !durable.contains(*above))
            .collect();
        for above in missing.into_iter().rev() {
            match private_dirs().create(above) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                // Even one that exists may be unsynced: a process that died may have made it.
                _ => sync_dir(above.parent().unwrap_or(&self.root))?,
            }
            durable.insert(above.to_path_buf());
        }
        Ok(())
    }

    /// Opens an object for streaming, positioned at `offset`; also returns its size.
    pub(crate) fn open_at(&self, key: &str, offset: u64) -> io::Result<(File, u64)> {
        let mut file = File::open(self.path(key)?)?;
        let size = file.metadata()?.len();
        if offset > 0 {
            file.seek(SeekFrom::Start(offset))?;
        }
        Ok((file, size))
    }

    /// Bytes of an object.
    pub(crate) fn size(&self, key: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path(key)?)?.len())
    }

    /// Reads ranges of an object, in order. A range beyond the end fails.
    pub(crate) fn ranges(
        &self,
        key: &str,
        ranges: &[std::ops::Range<u64>],
    ) -> io::Result<Vec<Bytes>> {
        let (mut file, size) = self.open_at(key, 0)?;
        let mut found = Vec::with_capacity(ranges.len());
        for range in ranges {
            if range.start > range.end || range.end > size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.seek(SeekFrom::Start(range.start))?;
            let length = range.end - range.start;
            found.push(read_exactly(&mut file, length)?);
        }
        Ok(found)
    }

    /// Removes an object; one that is not there counts as removed.
    pub(crate) fn delete(&self, key: &str) -> io::Result<()> {
        match fs::remove_file(self.path(key)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes and removes an object, to prove that the directory takes one and the disk has room.
    pub(crate) fn probe(&self) -> io::Result<()> {
        let path = self.root.join(format!(".probe-{}", uuid::Uuid::new_v4().simple()));
        let result = create_private(&path).and_then(|mut file| file.write_all(&[0; PROBE]));
        let _ = fs::remove_file(&path);
        result
    }

    /// Whether nothing was ever stored here.
    pub(crate) fn is_empty(&self) -> io::Result<bool> {
        for entry in fs::read_dir(&self.root)? {
            if entry?.file_type()?.is_dir() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Reads `length` bytes into a fresh buffer without zeroing it first.
pub(crate) fn read_exactly(file: &mut File, length: u64) -> io::Result<Bytes> {
    let capacity = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut buffer = Vec::with_capacity(capacity);
    file.take(length).read_to_end(&mut buffer)?;
    if buffer.len() as u64 == length {
        Ok(buffer.into())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Patient data is for the owner of the process alone.
fn private_dirs() -> fs::DirBuilder {
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700);
    builder
}

fn create_private(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn sync_dir(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn write_all_vectored(file: &mut File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut slices, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_back_and_are_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalDir::open(&folder.path().join("a/b")).unwrap();
        store
            .put(
                "1/2/x.dcm",
                &[Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"cde")],
            )
            .unwrap();
        assert_eq!(store.ranges("1/2/x.dcm", &[0..5, 1..3]).unwrap(), ["abcde", "bc"]);
        assert!(store.ranges("1/2/x.dcm", &[0..1, 4..6]).is_err(), "beyond the end");
        let again = store.put("1/2/x.dcm", &[Bytes::from_static(b"other")]).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        store.delete("1/2/x.dcm").unwrap();
        store.delete("1/2/x.dcm").unwrap();
        assert!(store.open_at("1/2/x.dcm", 0).is_err());
    }

    #[test]
    fn keys_cannot_leave_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalDir::open(folder.path()).unwrap();
        for key in ["../x", "a/../../x", "/etc/x", "", "a//b", "."] {
            assert!(store.put(key, &[]).is_err(), "{key}");
        }
    }

    #[test]
    fn others_on_the_machine_see_nothing() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let store = LocalDir::open(&folder.path().join("objects")).unwrap();
        store.put("1/2/x", &[Bytes::from_static(b"x")]).unwrap();
        for path in ["objects", "objects/1", "objects/1/2", "objects/1/2/x"] {
            let mode = fs::metadata(folder.path().join(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{path}: {mode:o}");
        }
    }

    #[test]
    fn a_directory_that_vanished_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalDir::open(folder.path()).unwrap();
        store.put("1/2/x", &[]).unwrap();
        fs::remove_dir_all(folder.path().join("1")).unwrap();
        store.put("1/2/y", &[Bytes::from_static(b"y")]).unwrap();
        assert_eq!(store.ranges("1/2/y", &[0..1, 0..1]).unwrap(), ["y", "y"]);
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalDir::open(folder.path()).unwrap();
        let failed = store.create("1/x", |_| Err(io::ErrorKind::StorageFull.into()));
        assert!(failed.is_err());
        assert!(!folder.path().join("1/x").exists());
    }
}
