//! Rules of the Rust suite that C cannot express, and why: the C face has libuv's functions, and no others.

const SEGMENTS: &str = "libuv has no function that takes a segment size";
const COUNTERS: &str = "libuv has no counters";
const METADATA: &str = "libuv's receive callback has no place for what comes beside a datagram";
const HEADERS: &str = "libuv's sends take a payload and an address, and no headers";
const REPORTS: &str = "libuv's receive callback gets the number of an error, and no report";
const PANICS: &str = "C has no panics";
const REFERENCES: &str =
    "a C handle lives from uv_udp_init to uv_close, whoever has pointers to it";
const POSTS: &str = "uv_async_send carries no closure, and wake-ups are coalesced";
const SYSTEM_CALLS: &str = "a promise of the crate with the system calls, which C has itself";

/// Name and reason.
pub(super) const NOT_IN_C: &[(&str, &str)] = &[
    ("reports/a-closed-port-is-told-in-full", REPORTS),
    ("reports/too-big-with-its-mtu", REPORTS),
    (
        "options/a-tied-handle-stays-tied",
        "libuv has no function that ties a handle to a device",
    ),
    (
        "options/the-path-mtu-is-the-kernels",
        "libuv has no function that tells the path MTU",
    ),
    (
        "bind/a-reuse-port-group-shares-the-flows",
        "libuv has no selector by CPU; the rest is bind/a-reuse-port-group-gets-each-datagram-once",
    ),
    (
        "sockets/into-fd-gives-it-back",
        "libuv has no function that takes the socket out of a handle",
    ),
    (
        "requests/complete-however-the-handle-is-closed",
        "uv_close is the one way to close a C handle",
    ),
    ("metadata/is-off-at-first", METADATA),
    ("metadata/tos-and-ecn", METADATA),
    ("metadata/ttl", METADATA),
    ("metadata/destination-and-interface", METADATA),
    ("metadata/kernel-timestamp", METADATA),
    ("metadata/kernel-drops", METADATA),
    ("transmit/tos-ecn-and-ttl-per-datagram", HEADERS),
    ("transmit/ecn-alone-keeps-the-dscp", HEADERS),
    (
        "transmit/source-address-per-datagram-and-by-default",
        HEADERS,
    ),
    (
        "transmit/an-answer-leaves-from-where-the-question-came-to",
        HEADERS,
    ),
    ("transmit/a-default-segment-size-cuts-everything", SEGMENTS),
    ("transmit/a-time-needs-a-clock", HEADERS),
    ("transmit/bad-headers-are-refused-at-once", HEADERS),
    (
        "memory/truncation-is-told-with-the-full-length",
        "libuv's receive callback has no place for the full length; the rest is memory/what-does-not-fit-is-partial",
    ),
    (
        "pressure/beyond-the-limit-is-enobufs",
        "libuv has no limit for the queue of sends",
    ),
    (
        "pressure/drained-is-told-after-the-last-callback",
        "libuv has no callback for an empty queue",
    ),
    ("counters/tell-what-was-done", COUNTERS),
    ("counters/tell-what-went-wrong", COUNTERS),
    ("input/a-ttl-of-0-is-einval", HEADERS),
    ("life/a-callback-may-drop-the-last-reference", REFERENCES),
    ("life/an-active-handle-outlives-its-holders", REFERENCES),
    ("life/an-inactive-handle-closes-when-dropped", REFERENCES),
    ("life/a-panic-in-a-receive-callback-reaches-run", PANICS),
    ("life/a-panic-in-a-send-callback-reaches-run", PANICS),
    ("life/a-panic-in-a-close-callback-reaches-run", PANICS),
    (
        "life/without-its-loop-every-call-is-ebadf",
        "a C loop cannot go before its handles: loop/closes-when-its-handles-are",
    ),
    (
        "batch/try-send-segments-sends-datagrams-of-one-size",
        SEGMENTS,
    ),
    ("batch/a-segment-size-cuts-what-is-queued-too", SEGMENTS),
    ("loop/a-panic-leaves-it-usable", PANICS),
    ("remote/posts-run-in-order-on-the-loop", POSTS),
    ("remote/posting-to-a-loop-that-is-gone-is-ecanceled", POSTS),
    ("remote/a-handle-sends-for-other-threads", POSTS),
    ("reports/a-long-datagram-is-told-by-its-start", REPORTS),
    (
        "bind/a-selector-chooses-by-cpu",
        "libuv has no selector by CPU",
    ),
    (
        "bind/a-connected-member-splits-its-group",
        "a habit of the kernel that the library's docs tell of; C programs see the same",
    ),
    (
        "bind/a-selector-misses-half-of-a-split-group",
        "libuv has no selector by CPU",
    ),
    (
        "bind/an-incoming-cpu-is-preferred",
        "libuv has no incoming CPU",
    ),
    ("options/a-mark-steers-the-route", "libuv has no marks"),
    (
        "options/a-tied-handle-hears-its-device-alone",
        "libuv has no function that ties a handle to a device",
    ),
    (
        "options/other-crates-read-the-same",
        "that other crates read the same is a promise of the crate; the options that libuv has are in other rules",
    ),
    (
        "options/path-mtu-discovery-decides-who-fragments",
        "libuv has no path MTU discovery",
    ),
    (
        "options/the-path-mtu-is-what-another-crate-reads",
        "libuv has no function that tells the path MTU",
    ),
    (
        "options/without-privilege-it-is-eperm",
        "libuv has none of the options that take a privilege",
    ),
    (
        "memory/coalesced-datagrams-come-with-their-segment-size",
        "libuv's receive callback has no place for a segment size",
    ),
    ("counters/tell-batches-received", COUNTERS),
    ("counters/tell-fallbacks", COUNTERS),
    ("counters/tell-what-the-kernel-dropped", COUNTERS),
    ("counters/drops-are-datagrams", COUNTERS),
    ("transmit/a-time-is-kept", HEADERS),
    ("transmit/interface-in-every-form", HEADERS),
    ("transmit/segment-size-in-every-form", SEGMENTS),
    ("transmit/source-in-every-form", HEADERS),
    ("transmit/time-in-every-form", HEADERS),
    ("transmit/ttl-and-tos-by-default", HEADERS),
    (
        "sys/capabilities-are-the-kernels",
        "libuv has no function that tells what the kernel can do",
    ),
    ("sys/serves-a-socket-of-the-standard-library", SYSTEM_CALLS),
    ("sys/nothing-waits", SYSTEM_CALLS),
    ("sys/batches-keep-order-and-boundaries", SYSTEM_CALLS),
    ("sys/segments-arrive-as-datagrams", SYSTEM_CALLS),
    (
        "sys/disconnect-dissolves-and-loses-what-it-says",
        SYSTEM_CALLS,
    ),
    ("sys/truncation-is-told", SYSTEM_CALLS),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::c_rules::listed;
    use super::super::report::Face;
    use super::super::run::instances;
    use super::*;

    #[test]
    fn every_rule_is_in_c_in_both_forms_and_for_the_same_families_or_here() {
        let in_c: BTreeSet<_> = listed()
            .unwrap()
            .into_iter()
            .map(|rule| (rule.id, rule.family, rule.face))
            .collect();
        let mut wrong = Vec::new();
        for instance in instances() {
            let (id, family) = (instance.rule.id, instance.family_name());
            let here = NOT_IN_C.iter().any(|&(name, _)| name == id);
            for face in [Face::C, Face::CV1] {
                if in_c.contains(&(id.to_owned(), family, face)) == here {
                    let place = if here { "both places" } else { "neither" };
                    wrong.push(format!("{instance} ({}) is in {place}", face.name()));
                }
            }
        }
        assert!(
            wrong.is_empty(),
            "express it in crates/uv-capi/tests/c/conform, or say in NOT_IN_C why C cannot:\n{}",
            wrong.join("\n")
        );
    }

    #[test]
    fn nothing_is_here_that_is_no_rule() {
        let names: BTreeSet<_> = instances()
            .iter()
            .map(|instance| instance.rule.id)
            .collect();
        for (name, reason) in NOT_IN_C {
            assert!(names.contains(name), "{name}");
            assert!(!reason.is_empty(), "{name}");
        }
    }
}
