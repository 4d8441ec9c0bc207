//! Certificates as an operator may give them, made here.

use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

use super::*;

/// A certificate with its key, PEM.
fn made(name: &str, until: i32) -> (String, String) {
    let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.not_before = date_time_ymd(2020, 1, 1);
    parameters.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn files(folder: &Path, cert: &str, key: &str) -> TlsFiles {
    let files =
        TlsFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem"), client_ca: None };
    fs::write(&files.cert, cert).unwrap();
    fs::write(&files.key, key).unwrap();
    files
}

#[test]
fn what_cannot_be_used_is_named_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = made("node", 2100);
    let (_, other) = made("other", 2100);
    let check = |cert: &str, key: &str, words: &[&str]| {
        let error = format!("{:#}", inspect(&files(folder.path(), cert, key)).unwrap_err());
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert!(!error.contains("MII"), "{error}");
    };
    check(&cert, &other, &["key.pem", "does not belong", "CN=node"]);
    check(&cert, "", &["key.pem", "no private key"]);
    check(&cert, &cert, &["key.pem", "no private key"]);
    check(&key, &key, &["cert.pem", "no certificate"]);
    check("nonsense", &key, &["cert.pem", "no certificate"]);
    check(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        &key,
        &["cert.pem", "X.509"],
    );
    let absent =
        TlsFiles { cert: "/no/such.pem".into(), key: "/no/such.key".into(), client_ca: None };
    assert!(format!("{:#}", inspect(&absent).unwrap_err()).contains("/no/such.pem"));
    let mut good = files(folder.path(), &cert, &key);
    assert_eq!(inspect(&good).unwrap().trouble(SOON), None);
    good.client_ca = Some(good.key.clone());
    assert!(inspect(&good).is_err(), "a key is no authority");
    good.client_ca = Some(good.cert.clone());
    assert!(inspect(&good).is_ok());
}

#[test]
fn expired_certificates_are_used_and_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = made("old", 2021);
    let facts = inspect(&files(folder.path(), &cert, &key)).unwrap();
    assert_eq!(facts.trouble(SOON), Some(certificate::Trouble::Expired));
    assert!(facts.until().starts_with("2021-01-01"));
}

#[test]
fn a_broken_file_keeps_the_certificate_and_a_good_one_replaces_it() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = made("first", 2100);
    let tls = Tls::open("https", files(folder.path(), &cert, &key), &[b"h2"]).unwrap();
    let subject = || tls.current.read().unwrap().facts.subject.clone();
    let before = tls.current();
    files(folder.path(), "broken", &key);
    tls.reload();
    assert!(Arc::ptr_eq(&before, &tls.current()));
    let (cert, key) = made("second", 2100);
    files(folder.path(), &cert, &key);
    tls.reload();
    assert!(subject().contains("CN=second"));
    assert_eq!(tls.current().alpn_protocols, [b"h2".to_vec()]);
}
