//! The workload "put" through the nodes of both drivers, side by side: three members in this process, over loopback TCP,
//! each with a log of its own in a directory and real fsync; callers that put 256 bytes to the leader and wait for the
//! answer before the next. In rounds that alternate; medians, and the ratio of tasks to the better of the std driver's two
//! ways to wait.
//!
//! `cargo bench -p raft-tokio-driver --bench put -- [--seconds 2] [--rounds 5] [--callers 1,16,64,256]`

mod clusters;

use std::path::Path;
use std::time::Duration;

use clusters::{OnThreads, OnTokio};

/// How many puts one caller was answered, and how long each took.
type Latencies = Vec<Duration>;

struct Options {
    seconds: f64,
    rounds: usize,
    callers: Vec<usize>,
}

fn options() -> Options {
    let mut options = Options { seconds: 2.0, rounds: 5, callers: vec![1, 16, 64, 256] };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{name} wants a value"));
        match name.as_str() {
            "--bench" => {} // cargo says so
            "--seconds" => options.seconds = value().parse().expect("--seconds wants a number"),
            "--rounds" => options.rounds = value().parse().expect("--rounds wants a number"),
            "--callers" => {
                options.callers =
                    value().split(',').map(|count| count.parse().expect("--callers wants numbers")).collect();
            }
            other => panic!("unknown option {other}"),
        }
    }
    options
}

/// Puts per second, and percentiles of how long one took.
#[derive(Clone, Copy)]
struct Figures {
    rate: f64,
    p50: Duration,
    p99: Duration,
}

fn figures(mut latencies: Latencies, took: Duration) -> Figures {
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)];
    #[allow(clippy::cast_precision_loss, reason = "counts of puts")]
    let rate = latencies.len() as f64 / took.as_secs_f64();
    Figures { rate, p50: at(50), p99: at(99) }
}

/// The one in the middle by rate.
fn median(mut runs: Vec<Figures>) -> Figures {
    runs.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    runs[runs.len() / 2]
}

fn main() {
    let options = options();
    let time = Duration::from_secs_f64(options.seconds);
    let directory = tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a directory");
    let on_threads = OnThreads::start(&directory.path().join("std"));
    let on_tokio = OnTokio::start(&directory.path().join("tokio"));
    println!("callers  way                  puts/s     p50 ms     p99 ms   to the best of std");
    for &callers in &options.callers {
        let (mut waits, mut calls, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
        // The first round warms up.
        for round in 0..=options.rounds {
            let ways = [
                (&mut waits, on_threads.threads_that_wait(callers, time)),
                (&mut calls, on_threads.callbacks(callers, time)),
                (&mut tasks, on_tokio.tasks(callers, time)),
            ];
            for (runs, (latencies, took)) in ways {
                if round > 0 {
                    runs.push(figures(latencies, took));
                }
            }
        }
        let [waits, calls, tasks] = [waits, calls, tasks].map(median);
        let best = waits.rate.max(calls.rate);
        for (way, run) in [("std, threads", waits), ("std, callbacks", calls), ("tokio, tasks", tasks)] {
            let [p50, p99] = [run.p50, run.p99].map(|time| time.as_secs_f64() * 1e3);
            println!("{callers:>7}  {way:<16} {:>10.0} {p50:>10.3} {p99:>10.3} {:>10.2}", run.rate, run.rate / best);
        }
    }
}
