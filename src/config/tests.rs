//! Settings as an operator writes them.

use super::*;

fn decide(file: &str) -> anyhow::Result<Config> {
    Settings::default().decide(toml::from_str(file)?)
}

#[test]
fn the_annotated_file_is_valid_and_says_the_defaults() {
    let text = include_str!("../../qianli.toml");
    let uncommented: String = text
        .lines()
        .map(|line| line.strip_prefix("#: ").unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n");
    toml::from_str::<Settings>(text).unwrap();
    toml::from_str::<Settings>(&uncommented).unwrap();
}

#[test]
fn unknown_keys_and_bad_units_are_errors() {
    let error = format!("{:#}", decide("htpp = '127.0.0.1:1'").unwrap_err());
    assert!(error.contains("htpp"), "{error}");
    assert!(decide("idle_timeout = '30'").is_err());
    assert!(decide("max_object = 'many'").is_err());
    assert_eq!(decide("idle_timeout = '90s'").unwrap().idle_timeout.as_secs(), 90);
}

#[test]
fn encodings_and_senders_are_checked() {
    let config = decode_sources("'CT 1=gbk', '192.0.2.7=EUC-KR', '*=shift_jis'").unwrap();
    assert_eq!(config.source_charsets.len(), 3);
    for bad in ["'CT1'", "'CT1=klingon'", "'=gbk'", "'SEVENTEEN-LETTERS=gbk'", "'CT1=utf-16le'"] {
        assert!(decode_sources(bad).is_err(), "{bad}");
    }
    assert!(decide("unlabelled_charset = 'gb18030'").is_ok());
    let error = format!("{:#}", decide("unlabelled_charset = 'GB-2312x'").unwrap_err());
    assert!(error.contains("unlabelled_charset") && error.contains("gbk"), "{error}");
}

fn decode_sources(list: &str) -> anyhow::Result<Config> {
    decide(&format!("source_charsets = [{list}]"))
}

#[test]
fn indexed_attributes_are_checked() {
    let config = decide("indexed_attributes = ['StationName', '0018,1030', '00400275.00400009']");
    let names: Vec<String> =
        config.unwrap().indexed_attributes.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["00081010", "00181030", "00400275.00400009"]);
    for bad in ["Nonsense", "PixelData", "RequestAttributesSequence", ""] {
        let error =
            format!("{:#}", decide(&format!("indexed_attributes = ['{bad}']")).unwrap_err());
        assert!(error.contains("indexed_attributes"), "{error}");
    }
}

#[test]
fn nothing_listens_beyond_loopback() {
    for address in ["0.0.0.0:80", "10.0.0.1:80", "[::]:80"] {
        assert!(decide(&format!("http = '{address}'")).is_err(), "{address}");
        assert!(decide(&format!("no_auth = true\ndimse = '{address}'")).is_err(), "{address}");
    }
    assert!(decide("http = '127.0.0.1:0'\ndimse = '[::1]:0'").is_ok());
    let https = "public_url = 'https://images.example'";
    assert!(decide(&format!("http = '0.0.0.0:80'\n{https}")).is_ok());
    for but in ["no_auth = true", "demo = true"] {
        assert!(decide(&format!("http = '0.0.0.0:80'\n{https}\n{but}")).is_err(), "{but}");
    }
    assert!(decide("dimse = '0.0.0.0:104'").is_err(), "anybody could call");
    assert!(decide("dimse = '0.0.0.0:104'\ncalling_aets = ['CT1']").is_ok());
    assert!(decide("dimse = '0.0.0.0:104'\nunknown_peers = 'refuse'").is_ok());
}

#[test]
fn flags_win_over_the_file_and_passwords_stay_hidden() {
    let flags = Settings { aet: Some("FLAG".into()), ..Settings::default() };
    let file: Settings =
        toml::from_str("aet = 'FILE'\ndatabase = 'postgres://u:secret@db/x'").unwrap();
    let config = flags.decide(file).unwrap();
    assert_eq!(config.aet.as_str(), "FLAG");
    assert!(!format!("{config:?}").contains("secret"));
}

/// Refused, and the message names the setting, the value where it is no secret, and an example.
#[test]
fn values_that_make_no_sense_are_refused() {
    for (setting, values) in [
        ("max_object", &["'0'", "'64'", "'1EiB'", "''", "'-1MiB'", "5", "-1"][..]),
        ("spool_memory", &["'0'", "'1EiB'", "'8'"]),
        ("pixel_memory", &["'0'", "'1KiB'", "'1EiB'"]),
        ("max_pdu", &["'0'", "'1KiB'", "'1GiB'"]),
        ("idle_timeout", &["'0s'", "'10ms'", "'1000years'", "''", "'-5s'", "30"]),
        ("artim_timeout", &["'0s'", "'2days'"]),
        ("drain_timeout", &["'1day'"]),
        ("delete_grace", &["'1000years'", "'-1h'"]),
        ("settle_after", &["'0s'", "'2days'"]),
        ("workitem_retention", &["'0s'", "'1000years'"]),
        ("max_associations", &["0", "4294967295", "-1"]),
        ("max_associations_per_address", &["0", "4294967295"]),
        ("max_connections_per_address", &["0", "4294967295", "4294967296"]),
        ("database_connections", &["0", "1000000", "-1"]),
        ("database", &["''", "'sqlite:'", "'sqlite://'", "'mysql://x'"]),
        ("store", &["''", "'s3://'", "'s3:///prefix'", "'az://'", "'gs://'", "'objects'"]),
        ("store", &["'file://'", "'file://objects'", "'ftp://x'"]),
        ("data", &["''"]),
        ("spool", &["''"]),
        ("viewer", &["''", "'/no/such'"]),
        ("aet", &["''", "'   '", "'SEVENTEEN-LETTERS'"]),
        ("trusted_proxies", &["['proxy.example']", "['10.0.0.0/33']", "['']"]),
        ("dimse_tls", &["''", "'2762'", "'127.0.0.1:2762'"]),
        ("tls_key", &["'/etc/key.pem'"]),
        ("dimse_tls_cert", &["'/etc/chain.pem'"]),
        ("max_requests_per_second_per_address", &["-1", "4294967296"]),
        ("calling_aets", &["['']", "['CT1', 'SEVENTEEN-LETTERS']"]),
        ("public_url", &["''", "'images.example'", "'https://'", "'https:///x'", "'https://a b'"]),
        ("cors_origins", &["['']", "['*']", "['https://']", "['https://a/b']"]),
        ("log", &["''", "'inof'", "'info,wran'"]),
        ("http", &["''", "'8080'", "'localhost:8080'", "'127.0.0.1:99999'"]),
    ] {
        for value in values {
            let line = format!("{setting} = {value}");
            let refused = decide(&line).map(drop).expect_err(&line);
            let error = format!("{refused:#}");
            assert!(error.contains(setting), "{line}: {error}");
            let helps = ["write", "such as", "use", "expected", "example"];
            assert!(helps.iter().any(|word| error.contains(word)), "{line}: {error}");
        }
    }
    for fine in [
        "max_object = '1MiB'",
        "drain_timeout = '0s'",
        "delete_grace = '0s'",
        "database = 'postgres:///qianli'",
        "store = 's3://bucket'",
        "store = 'file:///var/lib/qianli'",
        "public_url = 'https://images.example/pacs'",
        "cors_origins = ['https://viewer.example:8443']",
        "log = 'warn,qianli_dimse=debug'",
        "max_associations_per_address = 1",
    ] {
        assert!(decide(fine).is_ok(), "{fine}: {:?}", decide(fine).err());
    }
}

/// A tunnel or proxy of this machine brings everybody in from loopback.
#[test]
fn loopback_is_limited_only_when_told() {
    let (by_default, told) =
        (decide("").unwrap(), decide("max_associations_per_address = 3").unwrap());
    let default = by_default.max_associations_per_address;
    assert_eq!((default.remote, default.loopback), (64, usize::MAX));
    let told = told.max_associations_per_address;
    assert_eq!((told.remote, told.loopback), (3, 3));
}

#[test]
fn sizes_are_shown_as_they_are_written() {
    for (bytes, shown) in
        [(0, "0B"), (1, "1B"), (1500, "1500B"), (64 << 10, "64KiB"), (3 << 30, "3GiB")]
    {
        assert_eq!(Size(bytes).to_string(), shown);
    }
}

/// TLS opens HTTP to the network, and certificates of peers open DIMSE over TLS.
#[test]
fn tls_opens_what_plain_text_does_not() {
    let tls = "tls_cert = '/c.pem'\ntls_key = '/k.pem'";
    assert!(decide("http = '10.0.0.1:80'").is_err());
    assert!(decide(&format!("{tls}\nhttp = '10.0.0.1:443'")).is_ok());
    let dimse = format!("{tls}\ndimse_tls = '10.0.0.1:2762'");
    let error = format!("{:#}", decide(&dimse).unwrap_err());
    assert!(error.contains("dimse_tls_client_ca"), "{error}");
    assert!(decide(&format!("{dimse}\ncalling_aets = ['CT1']")).is_ok());
    let config = decide(&format!("{dimse}\ndimse_tls_client_ca = '/ca.pem'")).unwrap();
    assert_eq!(config.dimse_tls_files.unwrap().client_ca, Some("/ca.pem".into()));
    assert!(decide(&format!("{dimse}\ndimse_tls_client_ca = '/ca.pem'\nno_auth = true")).is_err());
}
