//! Rendered images (PS3.18 section 10.4.1.1.3).

use crate::on_both_setups;
use crate::support::node::Node;
use crate::support::setup::Setup;
use crate::support::synth::{self, Instance, MULTI_FRAME_WORD, Place};

on_both_setups! {
    /// Rendered images open and have the right size; windows are applied.
    rendered_images_open = rendered;
}

const SIZE: usize = 16 * 16 * 2;

fn multi_frame(count: usize) -> Instance {
    let place = Place::new();
    let uid = synth::new_uid();
    let pixels = synth::noise(11, SIZE * count);
    let elements = synth::elements(&place, MULTI_FRAME_WORD, &uid)
        .text(0x0028_0008, "IS", &count.to_string())
        .text(0x0028_1050, "DS", "32768")
        .text(0x0028_1051, "DS", "65536");
    let elements = synth::image(elements, 16, 16, pixels);
    Instance::new(&place, MULTI_FRAME_WORD, &uid, &elements)
}

fn rendered(setup: &Setup) {
    let node = Node::start(setup);
    let web = node.web();
    let instance = multi_frame(9);
    web.stow_instance(&instance);
    let cases: [(&str, &str, &[u8]); 4] = [
        ("/frames/3/rendered", "image/jpeg", &[0xFF, 0xD8]),
        ("/frames/3/rendered", "image/png", b"\x89PNG"),
        ("/rendered", "image/jpeg", &[0xFF, 0xD8]),
        ("/frames/3/rendered?accept=image/png", "application/x-other", b"\x89PNG"),
    ];
    for (tail, accept, magic) in cases {
        let answer = web.dicom(&format!("{}{tail}", instance.path())).accept(accept).send();
        assert_eq!(answer.status, 200, "{tail} {accept}: {}", answer.text());
        assert!(answer.header("Content-Type").starts_with("image/"), "{tail} {accept}");
        assert!(answer.body.starts_with(magic), "{tail} {accept}");
    }
    let window = |window: &str| {
        let path = format!("{}/frames/1/rendered?window={window}", instance.path());
        web.dicom(&path).accept("image/png").send_ok().body
    };
    assert_ne!(window("100,50,linear"), window("40000,30000,linear"), "the window has no effect");
}
