//! `qianli export`: what leaves, under which names, and that nobody is recognised in it.

use crate::on_both_setups;
use crate::portal::viewer;
use crate::support::clients;
use crate::support::corpus::Corpus;
use crate::support::node::Node;
use crate::support::setup::Setup;
use crate::support::synth::{self, Instance, Place};
use crate::support::web::value;
use qianli_model::deidentify::Project;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

on_both_setups! {
    /// Plain exports give the stored bytes, are finished by a second run, and write nothing over.
    exports_are_whole_and_never_overwrite = plain;
    /// Burned-in names are masked by rules, or the object stays.
    burned_in_names_do_not_leave = burned_in;
}

/// The corpus without identities: nothing of the originals is found in any byte, every file can be
/// read, pixels are unchanged; and the viewer opens it in another archive.
#[test]
fn nobody_is_recognised_in_the_corpus() {
    let Some(corpus) = Corpus::open() else { return };
    let node = Node::start(&Setup::Embedded);
    // Hostile files are refused; that is another test's.
    node.run("import", &[&corpus.folder.to_string_lossy()]);
    let plain = node.scratch().join("plain");
    let ran = node.run("export", &["--all", &plain.to_string_lossy()]);
    assert!(ran.status.success(), "{}", words(&ran));
    let originals = files(&plain);
    assert!(originals.len() > 350, "{} files were exported", originals.len());
    let cleaned = "modified-dates,patient-characteristics,descriptors,structured-content,graphics,\
                   safe-private";
    // The same pseudonyms in every run, so that what they have in common with a name is the same too.
    let key = node.scratch().join("corpus.key");
    fs::write(&key, "a key that all runs of this test use").expect("write the key");
    for (name, options) in [("basic", ""), ("cleaned", cleaned)] {
        let out = node.scratch().join(name);
        let (key_path, out_path) = (key.to_string_lossy(), out.to_string_lossy());
        let arguments = [
            "--all",
            "--deidentify",
            "TRIAL",
            "--project-key",
            &key_path,
            "--options",
            options,
            // What may be written in pixels is another test's; here is every file whose text can be.
            "--include-burned-in",
            &out_path,
        ];
        let ran = node.run("export", &arguments);
        assert!(ran.status.success(), "{}", words(&ran));
        println!("{}", words(&ran));
        let project = Project::new("TRIAL", &fs::read(&key).expect("the key")).expect("a project");
        let outputs = files(&out);
        assert!(outputs.len() > 390, "{} files were exported", outputs.len());
        let mut pairs = String::new();
        for (instance, path) in &originals {
            if let Some(output) = outputs.get(&project.uid(instance)) {
                pairs.push_str(&format!("{}\t{}\n", path.display(), output.display()));
            }
        }
        assert_eq!(pairs.lines().count(), outputs.len(), "every file has an original");
        let list = node.scratch().join(format!("{name}.tsv"));
        fs::write(&list, pairs).expect("write the pairs");
        let list = list.to_string_lossy();
        if let Some(ran) = clients::python(&node, "deidentified.py", &[&list]) {
            println!("{}", ran.ok());
        }
        if name == "basic" {
            open_in_viewer(&corpus, &out, &project);
        }
    }
}

/// Another archive takes the files, and OHIF shows a CT and an MR of them.
fn open_in_viewer(corpus: &Corpus, folder: &Path, project: &Project) {
    let Some(viewer) = viewer() else { return };
    let node = Node::plan(&Setup::Embedded).arg("--viewer").arg(viewer.to_string_lossy()).start();
    let ran = node.run("import", &[&folder.to_string_lossy()]);
    assert!(ran.status.success(), "{}", words(&ran));
    let manifest = corpus.folder.join("manifest.tsv").to_string_lossy().into_owned();
    let mut arguments = vec![manifest];
    for (name, file) in [("ct", "synthetic/ct-jls_0"), ("mr", "dcm4che/dicom-MR")] {
        let found = corpus.entries.iter().find(|entry| entry.file.starts_with(file));
        let instance = project.uid(&found.expect("a file of the corpus").instance);
        let rows = node.web().json(&format!("/instances?SOPInstanceUID={instance}"));
        let study = value(rows.first().expect("the instance"), "0020000D");
        arguments.push(format!("deidentified-{name}=image={study}"));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let Some(ran) = clients::browser(&node, "ohif_modalities.js", &arguments) {
        println!("{}", ran.ok());
    }
}

/// What may have names in its pixels stays, is masked by a rule, or leaves when told to.
fn burned_in(setup: &Setup) {
    let node = Node::start(setup);
    let place = Place::new();
    let uid = synth::new_uid();
    let elements = synth::elements(&place, "1.2.840.10008.5.1.4.1.1.6.1", &uid)
        .text(0x0008_0060, "CS", "US")
        .text(0x0008_0070, "LO", "Acme")
        .text(0x0010_0010, "PN", "Wangler^Wilma");
    let pixels = vec![0xEE; 16 * 16 * 2];
    let instance = Instance::new(
        &place,
        "1.2.840.10008.5.1.4.1.1.6.1",
        &uid,
        &synth::image(elements, 16, 16, pixels),
    );
    node.web().stow_instance(&instance);
    let scratch = node.scratch().to_path_buf();
    let key = scratch.join("key").to_string_lossy().into_owned();
    let rules = scratch.join("masks.toml");
    fs::write(
        &rules,
        "[[rule]]\nmodality = \"US\"\nmanufacturer = \"acme*\"\nrectangles = [[0, 0, 16, 2]]\n",
    )
    .expect("write the rules");
    let rules = rules.to_string_lossy().into_owned();
    let export = |name: &str, more: &[&str]| {
        let folder = scratch.join(name);
        let path = folder.to_string_lossy().into_owned();
        let basic = ["--all", "--deidentify", "TRIAL", "--project-key", &key];
        let ran = node.run("export", &[&basic, more, &[path.as_str()][..]].concat());
        assert!(ran.status.success(), "{}", words(&ran));
        (
            words(&ran),
            files(&folder).into_values().next().map(|path| fs::read(path).expect("a file")),
        )
    };
    let (said, nothing) = export("plain", &[]);
    assert!(nothing.is_none() && said.contains("burned-in"), "{said}");
    let (_, whole) = export("included", &["--include-burned-in"]);
    let whole = whole.expect("a file");
    let (_, masked) = export("masked", &["--masks", &rules]);
    let masked = masked.expect("a file");
    let count = |file: &[u8], run: &[u8]| file.windows(run.len()).any(|part| part == run);
    assert!(count(&whole, &[0xEE; 512]) && !count(&masked, &[0xEE; 512]));
    assert!(masked.ends_with(&[&[0; 64][..], &[0xEE; 448][..]].concat()), "two rows are black");
    assert!(count(&masked, b"113101"), "Clean Pixel Data is said");
    for file in [&whole, &masked] {
        assert!(!count(file, b"Wangler") && !count(file, uid.as_bytes()));
    }
    // Another key would give the same folder two sets of pseudonyms.
    let (other, folder) = (scratch.join("other"), scratch.join("masked"));
    let (other, folder) = (other.to_string_lossy(), folder.to_string_lossy());
    let mixed = ["--all", "--deidentify", "TRIAL", "--project-key", &other, &folder];
    assert_eq!(node.run("export", &mixed).status.code(), Some(2));
}

fn plain(setup: &Setup) {
    let node = Node::start(setup);
    let place = Place::new();
    let instances: Vec<_> = (1..=5).map(|number| synth::ct(&place, number, 64)).collect();
    for instance in &instances {
        node.web().stow_instance(instance);
    }
    let folder = node.scratch().join("out");
    let path = folder.to_string_lossy().into_owned();
    let ran = node.run("export", &["--study", &place.study, &path]);
    assert!(ran.status.success(), "{}", words(&ran));
    let there = files(&folder);
    assert_eq!(there.len(), 5);
    for instance in &instances {
        let exported = fs::read(&there[&instance.uid]).expect("an exported file");
        assert_eq!(exported, node.web().file(instance), "the stored bytes");
    }
    let trail = node.run("audit", &["list"]);
    let trail = words(&trail);
    assert!(trail.contains("export") && trail.contains(&place.study), "{trail}");
    // What was cut off is finished; what is there is left.
    fs::remove_file(&there[&instances[2].uid]).expect("remove a file");
    let again = words(&node.run("export", &["--all", &path]));
    assert!(again.contains("written              1"), "{again}");
    assert!(again.contains("already there        4"), "{again}");
    fs::write(&there[&instances[0].uid], "something else").expect("write a file");
    let refused = node.run("export", &["--all", &path]);
    assert_eq!(refused.status.code(), Some(1), "{}", words(&refused));
    let kept = fs::read(&there[&instances[0].uid]).expect("the other file");
    assert_eq!(kept, b"something else");

    let zip = node.scratch().join("out.zip");
    let zip_path = zip.to_string_lossy().into_owned();
    let ran = node.run("export", &["--query", "ModalitiesInStudy=CT", "--zip", &zip_path]);
    assert!(ran.status.success(), "{}", words(&ran));
    let file = fs::File::open(&zip).expect("the zip file");
    assert_eq!(zip::ZipArchive::new(file).expect("a zip archive").len(), 5);
    let length = fs::metadata(&zip).expect("the zip file").len();
    let refused = node.run("export", &["--all", "--zip", &zip_path]);
    assert_eq!(refused.status.code(), Some(1), "{}", words(&refused));
    assert_eq!(fs::metadata(&zip).expect("the zip file").len(), length);

    let nothing = node.run("export", &["--study", "1.2.3.4.5.6", &path]);
    assert_eq!(nothing.status.code(), Some(1));
    let wrong = node.run("export", &["--query", "Nonsense=1", &path]);
    assert_eq!(wrong.status.code(), Some(2), "{}", words(&wrong));
    let wrong = node.run("export", &[&path]);
    assert_eq!(wrong.status.code(), Some(2), "nothing was chosen");
}

/// Exported files by their SOP Instance UIDs.
fn files(folder: &Path) -> HashMap<String, PathBuf> {
    let mut found = HashMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("read a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "dcm") {
                let uid = path.file_stem().expect("a name").to_string_lossy().into_owned();
                assert!(found.insert(uid, path).is_none(), "one file for each instance");
            }
        }
    }
    found
}

fn words(ran: &Output) -> String {
    let (out, error) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    format!("{out}{error}")
}
