//! The workload "replicate": what consensus itself costs, without disk, sockets or clock.
//!
//! N servers in one thread. One round: the leader is handed BATCH commands, each an owned buffer made inside the timed
//! region; messages are delivered first in, first out, as values; every write is kept in an in-memory log and reported
//! durable at once; every committed entry is applied. The round ends when all servers have applied all BATCH entries.
//! Every 4,096 applied entries each server compacts its log.
//!
//! ```text
//! cargo bench -p raft-core --bench replicate                     time, allocations and memory, all sizes
//! cargo bench -p raft-core --bench replicate -- --instructions   instructions per entry, counted by valgrind
//! cargo bench -p raft-core --bench replicate -- --check          the allocation limits, and with valgrind the
//!                                                                instruction limits; exits with 1 above one
//! ```

mod allocations;
mod cluster;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use cluster::{Cluster, Shape};

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

const NODES: [usize; 2] = [3, 5];
const PAYLOADS: [usize; 3] = [16, 256, 4096];
const BATCHES: [usize; 3] = [1, 32, 256];

/// At most so many instructions and allocations per entry, with 3 servers and 256 bytes, at each batch size.
const LIMITS: [(usize, f64, f64); 3] = [(1, 8_500.0, 2.01), (32, 870.0, 1.1), (256, 610.0, 1.02)];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => measure_all(),
        ["--instructions"] => return instructions_all(),
        ["--check"] => return check(),
        ["--rounds", nodes, payload, batch, rounds] => run_rounds([nodes, payload, batch, rounds]),
        _ => {
            eprintln!("usage: cargo bench -p raft-core --bench replicate [-- --instructions | --check]");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn measure_all() {
    println!("nodes  payload  batch   ns/entry  (min..max)          allocations/entry  bytes/entry  peak KiB");
    for nodes in NODES {
        for payload in PAYLOADS {
            for batch in BATCHES {
                measure(Shape { nodes, payload, batch });
            }
        }
    }
}

fn measure(shape: Shape) {
    const SAMPLES: usize = 11;
    let Shape { nodes, payload, batch } = shape;
    let mut cluster = Cluster::elect(shape);
    let rounds = rounds_for(&mut cluster, Duration::from_millis(40));
    let entries = (rounds * batch) as f64;
    let mut times = Vec::with_capacity(SAMPLES);
    allocations::reset();
    for _ in 0..SAMPLES {
        let begin = Instant::now();
        cluster.run(rounds);
        times.push(begin.elapsed().as_nanos() as f64 / entries);
    }
    let counted = allocations::count();
    times.sort_by(f64::total_cmp);
    let all = entries * SAMPLES as f64;
    println!(
        "{nodes:5}  {payload:7}  {batch:5}  {median:9.0}  {range:<18}  {allocations:17.2}  {bytes:11.0}  {peak:8}",
        median = times[SAMPLES / 2],
        range = format!("({:.0}..{:.0})", times[0], times[SAMPLES - 1]),
        allocations = counted.allocations as f64 / all,
        bytes = counted.bytes as f64 / all,
        peak = counted.peak_live / 1024,
    );
}

/// How many rounds take about so long; warms up on the way.
fn rounds_for(cluster: &mut Cluster, target: Duration) -> usize {
    let mut rounds = 16;
    loop {
        let begin = Instant::now();
        cluster.run(rounds);
        let took = begin.elapsed();
        if took * 2 > target {
            return rounds;
        }
        rounds *= 2;
    }
}

/// What valgrind runs: nothing but rounds.
fn run_rounds(args: [&str; 4]) {
    let [nodes, payload, batch, rounds] = args.map(|arg| arg.parse::<usize>().expect("a number"));
    Cluster::elect(Shape { nodes, payload, batch }).run(rounds);
}

fn instructions_all() -> ExitCode {
    println!("nodes  payload  batch  instructions/entry");
    for (nodes, payload) in [(3, 16), (3, 256), (3, 4096), (5, 256)] {
        for batch in BATCHES {
            match instructions(Shape { nodes, payload, batch }) {
                Ok(count) => println!("{nodes:5}  {payload:7}  {batch:5}  {count:18.0}"),
                Err(why) => {
                    eprintln!("{why}");
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    ExitCode::SUCCESS
}

/// Instructions per entry: the difference between a run and one of twice its rounds, so that start and election cancel
/// out.
fn instructions(shape: Shape) -> Result<f64, String> {
    let rounds = (16_384 / shape.batch).max(64);
    let once = instructions_of(shape, rounds)?;
    let twice = instructions_of(shape, 2 * rounds)?;
    Ok((twice - once) / (rounds * shape.batch) as f64)
}

fn instructions_of(Shape { nodes, payload, batch }: Shape, rounds: usize) -> Result<f64, String> {
    let me = std::env::current_exe().map_err(|e| e.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(me)
        .arg("--rounds")
        .args([nodes, payload, batch, rounds].map(|number| number.to_string()))
        .output()
        .map_err(|e| format!("cannot run valgrind ({e}): install it, for instance by `apt-get install valgrind`"))?;
    let report = String::from_utf8_lossy(&output.stderr);
    let counted = report.lines().find_map(|line| line.split_once("Collected :"));
    counted.and_then(|(_, count)| count.trim().parse().ok()).ok_or_else(|| format!("no count in: {report}"))
}

fn check() -> ExitCode {
    let mut failed = false;
    println!("batch  allocations/entry  limit   instructions/entry  limit");
    for (batch, instructions_max, allocations_max) in LIMITS {
        let shape = Shape { nodes: 3, payload: 256, batch };
        let mut cluster = Cluster::elect(shape);
        let rounds = 65_536 / batch;
        cluster.run(rounds);
        allocations::reset();
        cluster.run(rounds);
        let allocations = allocations::count().allocations as f64 / (rounds * batch) as f64;
        let instructions = match instructions(shape) {
            Ok(count) => count,
            Err(why) => {
                eprintln!("{why}");
                return ExitCode::FAILURE;
            }
        };
        let bad = allocations > allocations_max || instructions > instructions_max;
        let mark = if bad { "  OVER THE LIMIT" } else { "" };
        failed |= bad;
        println!("{batch:5}  {allocations:17.2}  {allocations_max:5}  {instructions:19.0}  {instructions_max:6}{mark}");
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
