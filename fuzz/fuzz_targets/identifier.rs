//! Identifiers and procedure steps: what is read of any bytes can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qianli_model::TransferSyntax;
use qianli_model::identifier::{read, write};

const SYNTAXES: [&str; 4] = [
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
];

fuzz_target!(|data: &[u8]| {
    let Some((first, data)) = data.split_first() else { return };
    let syntax = TransferSyntax::from_uid(SYNTAXES[usize::from(*first) % 4]).expect("known");
    let Ok(found) = read(data, syntax) else { return };
    // Answers are written in these two: no context for them is accepted with another.
    if syntax != TransferSyntax::IMPLICIT_LITTLE && syntax != TransferSyntax::EXPLICIT_LITTLE {
        return;
    }
    for requested in [found.charset.as_str(), "GB18030", "\\ISO 2022 IR 87", ""] {
        let written = write(&found.attributes, syntax, requested);
        assert_eq!(written.len() % 2, 0);
        read(&written, syntax).expect("what we write can be read");
    }
});
