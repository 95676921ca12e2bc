//! Posts from other threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use uv_core::{Errno, KeepAlive, Loop, LoopProxy, RunMode, Timer};

use super::embedding::is_readable;
use super::support::{Log, inside, run_to_panic};

/// The log of a loop, for its posts.
fn note(event_loop: &Loop, entry: usize) {
    event_loop.local(Log::new).add(entry);
}

fn noted(event_loop: &Loop) -> Vec<usize> {
    event_loop.local(Log::new).take()
}

#[test]
fn a_proxy_is_send_sync_and_clone() {
    fn check<T: Send + Sync + Clone + 'static>() {}
    check::<LoopProxy>();
    fn check_keep_alive<T: Send + Sync + 'static>() {}
    check_keep_alive::<KeepAlive>();
}

#[test]
fn posts_of_one_closure_type_and_of_many_run_in_order() {
    let event_loop = Loop::new().unwrap();
    let proxy = event_loop.proxy();
    for _ in 0..3 {
        for entry in 0..30 {
            // Many of one closure type, then one of another, then one that owns memory.
            let text = entry.to_string();
            let posted = match entry {
                0..10 => proxy.post(move |event_loop| note(event_loop, entry)),
                10..20 if entry % 2 == 0 => {
                    proxy.post(move |event_loop| event_loop.local(Log::new).add(entry))
                }
                _ => proxy.post(move |event_loop| note(event_loop, text.parse().unwrap())),
            };
            posted.unwrap();
        }
        event_loop.run(RunMode::NoWait).unwrap();
        assert_eq!(noted(&event_loop), Vec::from_iter(0..30));
    }
}

#[test]
fn later_posts_keep_the_loop_alive_during_a_post() {
    let event_loop = Loop::new().unwrap();
    for panics in [false, true] {
        for last in [false, false, true] {
            let post = move |event_loop: &Loop| {
                assert_eq!(event_loop.alive(), !last);
                assert_eq!(
                    event_loop.poll_timeout(),
                    Ok((!last).then_some(Duration::ZERO))
                );
                assert!(!panics || last, "oops");
            };
            event_loop.proxy().post(post).unwrap();
        }
        for _ in 0..2 * usize::from(panics) {
            assert_eq!(run_to_panic(&event_loop, RunMode::Default), "oops");
            assert!(event_loop.alive(), "the panic affected one post");
        }
        assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    }
}

#[test]
fn posts_of_one_closure_type_allocate_nothing_in_the_long_run() {
    let event_loop = Loop::new().unwrap();
    let proxy = event_loop.proxy();
    let pass = |posts: usize| {
        for _ in 0..posts {
            let owned = [posts; 4];
            proxy.post(move |_| assert_eq!(owned[0], owned[3])).unwrap();
        }
        event_loop.run(RunMode::NoWait).unwrap();
    };
    (0..3).for_each(|_| pass(500));
    let allocated = allocation_counter::measure(|| (0..100).for_each(|_| pass(500)));
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
}

#[test]
fn a_post_made_by_a_post_runs_in_the_next_iteration() {
    let event_loop = Loop::new().unwrap();
    let proxy = event_loop.proxy();
    for index in 0..3 {
        let again = proxy.clone();
        proxy
            .post(move |event_loop| {
                note(event_loop, index);
                again
                    .post(move |event_loop| note(event_loop, 10 + index))
                    .unwrap();
            })
            .unwrap();
    }
    assert_eq!(event_loop.run(RunMode::NoWait), Ok(true));
    assert_eq!(noted(&event_loop), [0, 1, 2]);
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert_eq!(noted(&event_loop), [10, 11, 12]);
}

#[test]
fn a_post_to_an_awake_loop_makes_no_wake_up() {
    let event_loop = Loop::new().unwrap();
    event_loop
        .proxy()
        .post(|event_loop| note(event_loop, 1))
        .unwrap();
    assert!(!is_readable(&event_loop));
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(noted(&event_loop), [1]);
}

#[test]
fn posts_to_a_sleeping_loop_wake_it_once() {
    let event_loop = Loop::new().unwrap();
    assert_eq!(event_loop.poll_timeout(), Ok(None));
    for index in 0..1_000 {
        event_loop
            .proxy()
            .post(move |event_loop| note(event_loop, index))
            .unwrap();
        assert!(is_readable(&event_loop));
    }
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(noted(&event_loop).len(), 1_000);
    assert!(!is_readable(&event_loop), "the wake-up is consumed");
    assert_eq!(event_loop.poll_timeout(), Ok(None));
}

#[test]
fn a_loop_does_not_fall_asleep_with_a_pending_post() {
    let event_loop = Loop::new().unwrap();
    event_loop
        .proxy()
        .post(|event_loop| note(event_loop, 1))
        .unwrap();
    assert_eq!(event_loop.poll_timeout(), Ok(Some(Duration::ZERO)));
}

#[test]
fn a_post_wakes_a_loop_that_waits_for_a_timer() {
    let event_loop = Loop::new().unwrap();
    let timer = Timer::new(&event_loop);
    timer
        .start(Duration::from_secs(3600), Duration::ZERO, |_| ())
        .unwrap();
    let proxy = event_loop.proxy();
    let thread = thread::spawn(move || proxy.post(Loop::stop).unwrap());
    assert_eq!(event_loop.run(RunMode::Default), Ok(true));
    thread.join().unwrap();
}

#[test]
fn the_last_keep_alive_ends_the_run() {
    let event_loop = Loop::new().unwrap();
    let proxy = event_loop.proxy();
    let (first, second) = (proxy.keep_alive(), proxy.keep_alive());
    assert!(event_loop.alive());
    drop(first);
    assert!(event_loop.alive());
    let thread = thread::spawn(move || {
        proxy.post(|event_loop| note(event_loop, 1)).unwrap();
        drop(second);
    });
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert_eq!(noted(&event_loop), [1], "the post before the drop has run");
    thread.join().unwrap();
}

/// While another thread posts and then drops its `KeepAlive`, the loop sees the one or the other.
#[test]
fn a_loop_is_alive_from_the_keep_alive_to_the_post_without_a_gap() {
    const ROUNDS: usize = 5_000;
    let event_loop = Loop::new().unwrap();
    let (tell, events) = std::sync::mpsc::channel::<KeepAlive>();
    let done = AtomicUsize::new(0);
    let proxy = event_loop.proxy();
    thread::scope(|scope| {
        scope.spawn(|| {
            for alive in events {
                proxy.post(|_| ()).unwrap();
                drop(alive);
                done.fetch_add(1, SeqCst);
            }
        });
        let mut gaps = 0;
        for round in 0..ROUNDS {
            tell.send(event_loop.proxy().keep_alive()).unwrap();
            for look in 1.. {
                if done.load(SeqCst) > round {
                    break;
                }
                gaps += usize::from(!event_loop.alive());
                // Lets the other thread run where threads are serialised, as under valgrind.
                if look % 100 == 0 {
                    thread::yield_now();
                }
            }
            assert_eq!(event_loop.run(RunMode::Default), Ok(false));
        }
        drop(tell);
        assert_eq!(gaps, 0);
    });
}

#[test]
fn a_closure_may_post_when_it_is_dropped() {
    struct PostsOnDrop(LoopProxy);
    impl Drop for PostsOnDrop {
        fn drop(&mut self) {
            assert_eq!(self.0.post(|_| ()), Err(Errno::ECANCELED));
        }
    }
    let event_loop = Loop::new().unwrap();
    let proxy = event_loop.proxy();
    let posts = PostsOnDrop(proxy.clone());
    proxy.post(move |_| drop(posts)).unwrap();
    drop(event_loop);
    let posts = PostsOnDrop(proxy.clone());
    assert_eq!(proxy.post(move |_| drop(posts)), Err(Errno::ECANCELED));
}

#[test]
fn no_wake_up_is_lost_between_threads_that_post_and_a_loop_that_keeps_falling_asleep() {
    const THREADS: usize = 4;
    const EACH: usize = 5_000;
    let event_loop = Loop::new().unwrap();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (proxy, alive) = (event_loop.proxy(), event_loop.proxy().keep_alive());
            thread::spawn(move || {
                for index in 0..EACH {
                    proxy
                        .post(move |event_loop| note(event_loop, thread * EACH + index))
                        .unwrap();
                    if index % 3 == 0 {
                        thread::yield_now();
                    }
                }
                drop(alive);
            })
        })
        .collect();
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    let noted = noted(&event_loop);
    for thread in 0..THREADS {
        let of_thread = noted.iter().filter(|entry| **entry / EACH == thread);
        assert!(of_thread.copied().eq(thread * EACH..(thread + 1) * EACH));
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn two_loops_that_wake_each_other_lose_no_wake_up() {
    const ROUNDS: usize = 5_000;

    fn serve(to: &LoopProxy, back: &LoopProxy, left: usize) {
        let (next_to, next_back) = (back.clone(), to.clone());
        to.post(move |event_loop| {
            if left > 0 {
                serve(&next_to, &next_back, left - 1);
            }
            if left < 2 {
                event_loop.stop();
            }
        })
        .unwrap();
    }

    let event_loop = Loop::new().unwrap();
    let proxy = event_loop.proxy();
    let (tell, events) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        let other = Loop::new().unwrap();
        let _alive = other.proxy().keep_alive();
        tell.send(other.proxy()).unwrap();
        other.run(RunMode::Default).unwrap();
    });
    let _alive = proxy.keep_alive();
    serve(&proxy, &events.recv().unwrap(), ROUNDS);
    event_loop.run(RunMode::Default).unwrap();
    thread.join().unwrap();
}

#[test]
fn no_wake_up_is_lost_when_the_last_keep_alive_is_dropped_as_the_loop_falls_asleep() {
    const ROUNDS: usize = 20_000;
    let event_loop = Loop::new().unwrap();
    let (tell, events) = std::sync::mpsc::channel::<KeepAlive>();
    let (ready, started) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            for (round, alive) in events.into_iter().enumerate() {
                ready.fetch_add(1, SeqCst);
                while started.load(SeqCst) <= round {
                    thread::yield_now();
                }
                // A little later each time, so that some drops coincide with the loop's last check.
                for step in 0..round % 500 {
                    std::hint::black_box(step);
                }
                drop(alive);
            }
        });
        for round in 0..ROUNDS {
            tell.send(event_loop.proxy().keep_alive()).unwrap();
            while ready.load(SeqCst) <= round {
                thread::yield_now();
            }
            started.fetch_add(1, SeqCst);
            assert_eq!(event_loop.run(RunMode::Default), Ok(false));
        }
        drop(tell);
    });
}

#[test]
fn a_post_from_the_loops_own_thread_runs_from_the_loop_and_not_inside_the_call() {
    let event_loop = Loop::new().unwrap();
    let inside_call = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&inside_call);
    inside(&event_loop, move |event_loop| {
        flag.store(true, SeqCst);
        let seen = Arc::clone(&flag);
        event_loop
            .proxy()
            .post(move |_| assert!(!seen.load(SeqCst)))
            .unwrap();
        flag.store(false, SeqCst);
    });
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
}
