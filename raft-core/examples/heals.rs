//! How long a server takes to be a voter again that lost its disk under load, without an operator: one cluster for each seed.
//!
//! `cargo run --release -p raft-core --features sim --example heals -- 1000`

use std::process::ExitCode;

use raft_core::sim::heal_seed;

fn main() -> ExitCode {
    let seeds = std::env::args().nth(1).map_or(Ok(1000), |count| count.parse::<u64>());
    let Ok(seeds) = seeds else {
        eprintln!("usage: heals [HOW MANY SEEDS]");
        return ExitCode::from(2);
    };
    let (mut healed, mut leaders, mut acknowledged) = (vec![], 0, 0);
    for seed in 0..seeds {
        match heal_seed(seed) {
            Ok(healing) => {
                match healing.ticks {
                    Some(ticks) => healed.push((ticks, seed)),
                    None => println!("seed {seed}: not healed: {healing:?}"),
                }
                leaders += u64::from(healing.led);
                acknowledged += healing.acknowledged;
            }
            Err(violation) => {
                println!("seed {seed}: {violation}");
                return ExitCode::FAILURE;
            }
        }
    }
    healed.sort_unstable();
    let at = |part: usize| healed.get(healed.len() * part / 100).or(healed.last()).copied().unwrap_or_default();
    let ((median, _), (most, _), (worst, seed)) = (at(50), at(99), at(100));
    println!(
        "healed in {} of {seeds} ({leaders} of them leaders), median {median} ticks, 99 % {most}, worst {worst} (seed {seed}); \
         {acknowledged} commands acknowledged, none lost",
        healed.len()
    );
    if healed.len() as u64 == seeds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
