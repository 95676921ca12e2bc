//! The behaviour of UDP handles, on real sockets on loopback.

mod functional {
    mod absent;
    mod backlog;
    mod bad_input;
    mod batches;
    mod connecting;
    mod counters;
    mod errors;
    mod fairness;
    mod harness;
    mod life;
    mod metadata;
    mod model;
    mod network;
    mod one_loop;
    mod options;
    mod port;
    mod receiving;
    mod regressions;
    mod sending;
    mod sockets;
    mod threads;
    mod user_memory;
}
