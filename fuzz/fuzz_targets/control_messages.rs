//! Any bytes as control messages: they end, they lie within the bytes, and what is encoded reads the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use uv_sys::{ControlEncoder, ControlMessage, ControlMessages, Metadata};

/// Bytes of the smallest message: a header without contents.
const SMALLEST: usize = ControlEncoder::space(0);

fuzz_target!(|data: &[u8]| {
    let within = data.as_ptr_range();
    let mut messages = ControlMessages::new(data);
    let count = messages
        .by_ref()
        .inspect(|message| {
            if let ControlMessage::Other { data, .. } = message {
                let range = data.as_ptr_range();
                assert!(data.is_empty() || within.start <= range.start && range.end <= within.end);
            }
            assert!(!format!("{message:?}").is_empty());
        })
        .count();
    assert!(count <= data.len().div_ceil(SMALLEST));
    assert_eq!(messages.next(), None, "the end is the end");
    let _ = Metadata::from_control(ControlMessages::new(data));
    encode(data);
});

/// Takes the bytes for a list of levels, types and contents, and writes them into memory of some length.
fn encode(data: &[u8]) {
    let Some((&[room, first_level, first_kind], mut rest)) = data.split_first_chunk() else {
        return;
    };
    let mut memory = vec![0xa5; usize::from(room)];
    let mut control = ControlEncoder::new(&mut memory);
    let mut written = Vec::new();
    let (mut level, mut kind) = (i32::from(first_level), i32::from(first_kind));
    while let Some((&length, after)) = rest.split_first() {
        let (contents, after) = after.split_at(after.len().min(usize::from(length)));
        let before = control.as_bytes().len();
        match control.push(level, kind, contents) {
            Ok(()) => written.push((level, kind, contents)),
            Err(_) => assert_eq!(control.as_bytes().len(), before, "nothing was added"),
        }
        rest = after;
        (level, kind) = (kind, i32::from(length));
    }
    let mut messages = ControlMessages::new(control.as_bytes());
    for (level, kind, contents) in written {
        let message = messages.next().expect("what was written can be read");
        if let ControlMessage::Other {
            level: read_level,
            kind: read_kind,
            data,
        } = message
        {
            assert_eq!((read_level, read_kind, data), (level, kind, contents));
        }
    }
    assert_eq!(messages.next(), None);
}
