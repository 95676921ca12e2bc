//! What the loop promises, one file per topic.

mod functional {
    mod embedding;
    mod hooks;
    mod life;
    mod panics;
    mod posts;
    mod queue;
    mod refusals;
    mod run;
    mod sources;
    mod support;
    mod timers;
}
