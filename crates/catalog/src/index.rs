//! Attributes that an installation indexes beyond the columns of the tables: which they are, and
//! which values of an object go into their index.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use qianli_model::query::{Indexed, Kind, Level, Path, stored};

use crate::db::{Db, on_db};
use crate::error::CatalogError;
use crate::keys::bounded;

/// Always indexed: PS3.18 table 10.6.1-5 asks that series are found by them.
pub(crate) const ALWAYS: [&str; 2] = ["00400275.00400009", "00400275.00401001"];

/// Name of the search words of names among the back-fills.
pub(crate) const NAMES: &str = "names";

/// One value for the index of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    /// Digits of the path.
    pub attribute: String,
    /// Folded value.
    pub key: String,
}

/// An indexed attribute.
pub(crate) struct Entry {
    pub path: Path,
    /// Digits of the path: its name in the tables.
    pub name: String,
    pub level: Level,
    pub kind: Kind,
    /// What was stored before is in the index too.
    ready: AtomicBool,
}

/// The indexed attributes of a catalog.
pub(crate) struct Index {
    entries: Vec<Entry>,
    /// Every stored study has the search words of its names.
    names: AtomicBool,
}

impl Index {
    /// Attributes with columns of their own, and those that cannot be matched, are left out.
    pub(crate) fn new(paths: &[Path]) -> Self {
        let always = ALWAYS.iter().filter_map(|text| Path::parse(text));
        let mut entries: Vec<Entry> = Vec::new();
        for path in always.chain(paths.iter().cloned()) {
            let has_column =
                path.steps().len() == 1 && Indexed::from_tag(path.outermost()).is_some();
            let known = entries.iter().any(|entry| entry.path == path);
            let Some(kind) = path.kind().filter(|_| !has_column && !known) else { continue };
            entries.push(Entry {
                name: path.to_string(),
                level: path.level(),
                kind,
                ready: AtomicBool::new(false),
                path,
            });
        }
        Self { entries, names: AtomicBool::new(false) }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of a path that holds every stored object.
    pub(crate) fn ready(&self, path: &Path) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.path == *path && entry.is_ready())
    }

    /// The values of the attributes of a level in a DICOM JSON object.
    pub(crate) fn values(&self, level: Level, json: &[u8]) -> Vec<Value> {
        let mut values = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.level == level) {
            values.extend(entry.values(json));
        }
        values
    }

    /// Looks whether other nodes filled what this one holds for incomplete.
    pub(crate) async fn refresh(&self, db: &Db, path: &Path) -> Result<(), CatalogError> {
        let waiting = self.entries.iter().find(|entry| entry.path == *path && !entry.is_ready());
        let Some(entry) = waiting else { return Ok(()) };
        if is_done(db, &entry.name).await? {
            entry.set_ready(true);
        }
        Ok(())
    }

    /// Whether names can be searched by their sound without missing older studies. Asks the database
    /// only until they can.
    pub(crate) async fn has_all_names(&self, db: &Db) -> Result<bool, CatalogError> {
        if !self.names.load(Ordering::Relaxed) && is_done(db, NAMES).await? {
            self.set_names(true);
        }
        Ok(self.names.load(Ordering::Relaxed))
    }

    pub(crate) fn set_names(&self, ready: bool) {
        self.names.store(ready, Ordering::Relaxed);
    }

    /// The digits of the attributes that an installation chose.
    pub(crate) fn chosen(&self) -> BTreeSet<String> {
        let names = self.entries.iter().map(|entry| entry.name.clone());
        names.filter(|name| !ALWAYS.contains(&name.as_str())).collect()
    }
}

async fn is_done(db: &Db, name: &str) -> Result<bool, CatalogError> {
    let row: Option<(bool,)> = on_db!(db, pools => {
        sqlx::query_as("SELECT done FROM backfills WHERE name = $1")
            .bind(name)
            .fetch_optional(&pools.read)
            .await?
    });
    Ok(row.is_some_and(|row| row.0))
}

impl Entry {
    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// The attribute's values in a DICOM JSON object.
    pub(crate) fn values(&self, json: &[u8]) -> impl Iterator<Item = Value> {
        let keys = stored::keys(json, &self.path).into_iter();
        keys.map(|key| Value { attribute: self.name.clone(), key: bounded(&key) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_not_indexed_twice() {
        let paths =
            ["StationName", "DeviceSerialNumber", "PixelData", "0018,1000", "00400275.00400009"];
        let paths: Vec<Path> = paths.iter().filter_map(|text| Path::parse(text)).collect();
        let index = Index::new(&paths);
        let names: Vec<&str> = index.entries().iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["00400275.00400009", "00400275.00401001", "00181000"]);
        let json = br#"{"00181000":{"vr":"LO","Value":["Ab","cd"]},"00400275":{"vr":"SQ"}}"#;
        let keys: Vec<String> =
            index.values(Level::Series, json).into_iter().map(|value| value.key).collect();
        assert_eq!(keys, ["ab", "cd"]);
        assert!(index.values(Level::Instance, json).is_empty());
    }
}
