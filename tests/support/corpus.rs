//! The corpus of real and synthetic files that `QIANLI_CORPUS` names, by its manifest.

use super::external;
use std::fs;
use std::path::PathBuf;

/// One row of `manifest.tsv`.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Path inside the corpus.
    pub file: String,
    /// Where it lies.
    pub path: PathBuf,
    /// `valid`, `quirk`, `invalid`, `hostile` or `junk`.
    pub validity: String,
    /// SOP Class UID, may be empty.
    pub class: String,
    /// Transfer Syntax UID, may be empty.
    pub transfer_syntax: String,
    /// SOP Instance UID, may be empty.
    pub instance: String,
}

/// The whole corpus.
pub struct Corpus {
    /// Its folder.
    pub folder: PathBuf,
    /// Its rows.
    pub entries: Vec<Entry>,
}

impl Corpus {
    /// Reads the manifest, unless the corpus is not there.
    pub fn open() -> Option<Self> {
        let folder = PathBuf::from(external("QIANLI_CORPUS", "the corpus")?);
        let text = fs::read_to_string(folder.join("manifest.tsv")).expect("read the manifest");
        let mut lines = text.lines();
        let names: Vec<_> = lines.next().unwrap_or_default().split('\t').collect();
        let column = |name: &str| {
            names.iter().position(|n| *n == name).unwrap_or_else(|| panic!("no column {name}"))
        };
        let file = column("file");
        let validity = column("validity");
        let class = column("sop_class_uid");
        let syntax = column("transfer_syntax_uid");
        let instance = column("sop_uid");
        let entries = lines
            .map(|line| {
                let cells: Vec<_> = line.split('\t').collect();
                let cell = |at: usize| cells.get(at).copied().unwrap_or_default().to_owned();
                Entry {
                    file: cell(file),
                    path: folder.join(cell(file)),
                    validity: match cell(file).as_str() {
                        DAMAGED => "quirk".to_owned(),
                        _ => cell(validity),
                    },
                    class: cell(class),
                    transfer_syntax: cell(syntax),
                    instance: cell(instance),
                }
            })
            .collect();
        Some(Self { folder, entries })
    }

    /// The rows of the given validities.
    pub fn of(&self, validities: &[&str]) -> Vec<&Entry> {
        self.entries.iter().filter(|entry| validities.contains(&entry.validity.as_str())).collect()
    }
}

/// The manifest calls it valid because pydicom swallows its second half as one value. An element
/// has a VR of two spaces and another has lost its length: DCMTK cannot send it, nobody can walk it.
const DAMAGED: &str = "fo-dicom/GH179B.dcm";

impl Entry {
    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).expect("read a corpus file")
    }
}
