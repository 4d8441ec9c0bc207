//! Who is found in a register, and whose images they bring.

use super::*;
use crate::Permission;

fn title(text: &str) -> AeTitle {
    AeTitle::parse(text).expect("a title")
}

const A: TenantId = TenantId::DEFAULT;
const B: TenantId = TenantId(2);
const C: TenantId = TenantId(3);

/// `calling called network certificate`, a hyphen for none.
fn rule(id: i64, tenant: TenantId, text: &str) -> PeerRule {
    let parts: Vec<&str> = text.split(' ').collect();
    let part = |at: usize| parts.get(at).copied().filter(|text| *text != "-");
    PeerRule {
        id,
        tenant,
        label: String::new(),
        calling: TitlePattern::parse(parts[0]).expect("a pattern"),
        called: part(1).map(title),
        network: part(2).map(|text| text.parse().expect("a network")),
        certificate: part(3).and_then(CertificateRule::parse),
        permissions: Permissions::of(&[Permission::Store]),
        disabled: part(4).is_some(),
        coercions: Coercions::default(),
    }
}

fn register() -> Register {
    let rules = vec![
        rule(1, A, "CT1"),
        rule(2, A, "CT* - 10.1.0.0/16"),
        rule(3, B, "*"),
        rule(4, B, "CT2 B_AE 10.2.0.7"),
        rule(5, C, "CT3 A_AE"),
        rule(6, A, "US1 - 10.1.0.1 - off"),
        rule(7, B, "MR1 - 10.3.0.0/16"),
        rule(8, C, "MR1 - 10.3.0.0/16"),
        rule(9, A, "XA1 - - CN=XA1"),
    ];
    Register::new(1, rules, vec![(title("B_AE"), B), (title("C_AE"), C)])
}

fn said(calling: &str, called: &str, address: &str, subject: Option<&str>) -> String {
    let certificate =
        subject.map(|subject| Certificate { subject: subject.into(), sha256: "0".repeat(64) });
    let (calling, called) = (title(calling), title(called));
    let register = register();
    let who = Calling {
        calling: &calling,
        called: &called,
        address: address.parse().expect("an address"),
        certificate: certificate.as_ref(),
    };
    match register.find(&who) {
        Known::Rule(rule) => format!("{}{}", rule.id, if rule.disabled { " off" } else { "" }),
        Known::Ambiguous(one, other) => format!("{} or {}", one.id, other.id),
        Known::Elsewhere(rule) => format!("not {}", rule.id),
        Known::Unknown => "nobody".into(),
    }
}

#[test]
fn the_row_that_says_most_counts_and_called_titles_belong_to_one_tenant() {
    let check = |calling: &str, called: &str, address: &str, expected: &str| {
        let found = said(calling, called, address, None);
        assert_eq!(found, expected, "{calling} calls {called} from {address}");
    };
    check("CT1", "QIANLI", "192.0.2.1", "1");
    check("CT9", "QIANLI", "10.1.2.3", "2");
    check("CT9", "QIANLI", "::ffff:10.1.2.3", "2");
    // A row of the operator that takes what nobody else does.
    check("CT9", "QIANLI", "192.0.2.1", "3");
    // What is addressed to one tenant is never drawn by another's row.
    check("CT1", "C_AE", "10.1.2.3", "nobody");
    check("CT1", "B_AE", "10.1.2.3", "3");
    check("CT2", "B_AE", "10.2.0.7", "4");
    check("CT3", "A_AE", "192.0.2.1", "3");
    check("US1", "QIANLI", "10.1.0.1", "6 off");
    check("MR1", "QIANLI", "10.3.1.1", "7 or 8");
    check("MR1", "B_AE", "10.3.1.1", "7");
}

#[test]
fn a_registered_title_from_elsewhere_is_not_just_unknown() {
    let found = |calling: &str, called: &str, address: &str| said(calling, called, address, None);
    assert_eq!(found("MR1", "C_AE", "10.4.0.1"), "not 8");
    assert_eq!(found("mr1", "C_AE", "10.3.0.1"), "nobody", "titles differ by case");
    assert_eq!(said("XA1", "QIANLI", "10.3.0.1", Some("CN=XA1")), "9");
    assert_eq!(said("XA1", "QIANLI", "10.3.0.1", Some("CN=XA2")), "not 9");
    assert_eq!(said("XA1", "QIANLI", "10.3.0.1", None), "not 9");
}

#[test]
fn patterns_and_certificates_are_read() {
    let matches = |pattern: &str, text: &str| {
        TitlePattern::parse(pattern).expect("a pattern").matches(&title(text))
    };
    for (pattern, text, expected) in [
        ("*", "X", true),
        ("CT?", "CT1", true),
        ("CT?", "CT12", false),
        ("CT?", "CT", false),
        ("*_CT*1", "A_CT_B1", true),
        ("*_CT*1", "A_CT_B2", false),
        ("****************", "SIXTEEN_LETTERS_", true),
        ("*A*A*A*A*A*A*A*A", "BBBBBBBBBBBBBBBB", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
    let digits = "AB".repeat(32);
    let coloned: Vec<&str> = (0..32).map(|_| "ab").collect();
    assert_eq!(CertificateRule::parse(&digits), CertificateRule::parse(&coloned.join(":")));
    assert_eq!(CertificateRule::parse("CN=x"), Some(CertificateRule::Subject("CN=x".into())));
    assert_eq!(CertificateRule::parse(" "), None);
    for (text, shown) in
        [("10.1.2.3/16", "10.1.0.0/16"), ("::ffff:10.1.2.3", "10.1.2.3"), ("fd00::1", "fd00::1")]
    {
        assert_eq!(text.parse::<Network>().expect("a network").to_string(), shown);
    }
    assert!("10.1.2".parse::<Network>().is_err());
}

#[test]
fn what_is_perhaps_not_meant_is_said() {
    let register = Register::new(1, Vec::new(), vec![(title("A_AE"), A), (title("B_AE"), B)]);
    let check = |tenant, text: &str, expected: &[Concern]| {
        assert_eq!(register.concerns(&rule(1, tenant, text)), expected, "{text}");
    };
    check(A, "CT1", &[]);
    check(A, "CT*", &[]);
    check(A, "*", &[Concern::Strangers]);
    check(A, "?*", &[Concern::Strangers]);
    check(A, "* A_AE", &[Concern::Strangers]);
    check(A, "* - 10.0.0.0/8", &[]);
    check(A, "* - - CN=CT", &[]);
    check(A, "CT1 B_AE", &[Concern::OthersTitle]);
    check(A, "* B_AE", &[Concern::OthersTitle]);
    check(B, "CT1 B_AE", &[]);
    check(B, "CT1 C_AE", &[]);
    let reads = |text: &str| PeerRule {
        permissions: Permissions::of(&[Permission::Read]),
        ..rule(1, A, text)
    };
    assert_eq!(register.concerns(&reads("CT1 B_AE")), [], "it reads what was granted");
    assert_eq!(register.concerns(&reads("CT* B_AE")), [Concern::OthersTitle]);
}
