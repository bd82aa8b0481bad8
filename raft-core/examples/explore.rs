//! The explorer at work: every state of a small world, as large as you like.
//!
//! `cargo run --release -p raft-core --features sim --example explore -- --help`

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use raft_core::sim::explore::{Bounds, Report, explore, replay};

const USAGE: &str = "\
Meet every state that three real servers can come to within some bounds, and look at every invariant in each.

usage: explore [--world NAME] [--BOUND N]... [--replay WORDS]

  --world NAME      begin with the bounds of one of the tests' worlds
  --terms N         the highest term (default 2)
  --campaigns N     election timeouts that run out (default 2)
  --commands N      commands that clients start (default 1)
  --crashes N       crashes, each with the restart (default 0)
  --duplicates N    messages that come twice (default 0)
  --heartbeats N    heartbeats beyond those of an election (default 0)
  --step-downs N    leaders that hear no quorum (default 0)
  --compactions N   snapshots that applications make (default 0)
  --late-writes N   times that a disk takes its time; 255: always (default 0)
  --reads N         reads that clients ask for (default 0)
  --transfers N     transfers of leadership that are asked for (default 0)
  --wipes N         disks that are lost; wants --stage 3 (default 0)
  --changes N       changes of the membership that are asked for (default 0)
  --stage N         the first configuration: 0 three voters, 1 server 1 leaves it, 2 server 3 is a
                    learner, 3 voters on recorded disks (default 0)
  --window N        entries in a message, and messages in flight (default 8)
  --pre-votes 0|1   whether pre-votes travel (default 0)
  --leases 0|1      whether who hears a leader may refuse to vote (default 0)
  --noop 0|1        whether leaders begin with a no-op (default 0)
  --tight 0|1       whether followers with a busy disk take no more entries (default 0)
  --symmetry 0|1    whether mirrored states are one (default 1)
  --tidy 0|1        whether replies without effect leave the network (default 1)
  --figure-3 0|1    whether only Figure 3, votes and halts are judged (default 0)
  --lying-disks 0|1 whether disks keep nothing of what they say they keep (default 0)
  --states N        give up after so many states
  --replay WORDS    walk this path, as a counterexample prints it";

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(Some((bounds, None))) => meet_all(bounds),
        Ok(Some((bounds, Some(words)))) => match replay(bounds, &words, |line| println!("{line}")) {
            Ok(()) => ExitCode::SUCCESS,
            Err(end) => {
                println!("{}", end.violation);
                ExitCode::FAILURE
            }
        },
        Ok(None) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("{what}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

type Arguments = (Bounds, Option<String>);

fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let (mut bounds, mut path) = (Bounds::CALM, None);
    while let Some(word) = words.next() {
        if word == "--help" || word == "-h" {
            return Ok(None);
        }
        let name = word.strip_prefix("--").ok_or_else(|| format!("{word}: not known"))?;
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        if name == "replay" {
            path = Some(value);
        } else if name == "world" {
            bounds = Bounds::named(&value).ok_or_else(|| format!("--world {value}: not known"))?;
        } else {
            bounds.set(name, value.parse().map_err(|_| format!("{word} {value}: not a number"))?)?;
        }
    }
    Ok(Some((bounds, path)))
}

fn meet_all(bounds: Bounds) -> ExitCode {
    println!("{bounds}");
    let (began, shows) = (Instant::now(), std::io::stderr().is_terminal());
    let result = explore(bounds, |report| {
        if shows {
            eprint!("\r{}", sum(report, began));
            let _ = std::io::stderr().flush();
        }
    });
    if shows {
        eprintln!();
    }
    match result {
        Ok(report) => {
            println!("{}", sum(&report, began));
            let Report { servers, messages, steps, complete, .. } = report;
            println!("{servers} states of single servers, {messages} messages, {steps} steps of the core");
            println!("{}", if complete { "complete: no invariant is broken" } else { "not complete: out of states" });
            print_memory();
            ExitCode::SUCCESS
        }
        Err(counterexample) => {
            println!(
                "{counterexample}\n{:.1} s, {:.1} s of the processor",
                began.elapsed().as_secs_f64(),
                cpu_seconds()
            );
            ExitCode::FAILURE
        }
    }
}

fn sum(report: &Report, began: Instant) -> String {
    let Report { states, transitions, depth, waiting, .. } = report;
    let seconds = began.elapsed().as_secs_f64();
    let busy = cpu_seconds();
    let rate = *states as f64 / if busy > 0.0 { busy } else { seconds };
    format!(
        "{states} states, {transitions} transitions, depth {depth}, {waiting} waiting, {seconds:.1} s, \
         {busy:.1} s of the processor, {rate:.0} states/s of it"
    )
}

/// What the processor spent on this, where the system says so; 0 where it does not.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// Where the system says how much memory was used at most.
fn print_memory() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(peak) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
        println!("{} of memory at most", peak.trim());
    }
}
