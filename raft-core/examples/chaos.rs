//! The simulator at work: run seeds for as long as you like, or one of them with its whole story.
//!
//! `cargo run --release -p raft-core --features sim --example chaos -- --help`

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use raft_core::sim::{Coverage, Failure, NeverHappened, Options, Shrunk, run_bytes, run_script, run_seed};

const USAGE: &str = "\
Run a deterministic cluster through faults, one run for each seed, and watch every invariant.

usage: chaos [--seeds N] [--first S] [--servers 1..5] [--quiet]
       chaos --seconds T [--seed X] [--servers 1..5] [--quiet]
       chaos --seed X [--servers 1..5] [--trace]
       chaos --bytes HEX [--servers 1..5] [--trace]
       chaos --script FILE

  --seeds N     how many seeds (default 1000)
  --first S     the first of them (default 0)
  --seconds T   as many seeds as fit in T seconds, from X on
  --servers N   how many first members in every run (default: drawn for each)
  --seed X      this seed alone, if there are no seconds to fill; what breaks is cut down to a script
  --bytes HEX   these bytes in place of a seed, as a fuzzer found them
  --trace       print every event and action, as a script (docs/scripts.md), and cut nothing down
  --script FILE run this script and print it with what came out
  --quiet       no progress, no table";

struct Arguments {
    first: u64,
    seeds: u64,
    limit: Option<Duration>,
    bytes: Option<Vec<u8>>,
    script: Option<String>,
    options: Options,
    quiet: bool,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(what) => {
            eprintln!("{what}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Some(file) = &arguments.script {
        return script(file);
    }
    let result = match &arguments.bytes {
        Some(bytes) => match run_bytes(bytes, arguments.options) {
            Ok(report) => {
                eprintln!("{} steps", report.steps);
                Ok(())
            }
            Err(failure) => Err(Trouble::Broken(failure)),
        },
        None => campaign(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Trouble::Missed(missed)) => {
            println!("{missed}");
            ExitCode::FAILURE
        }
        // What was printed is a script, and stays one.
        Err(Trouble::Broken(failure)) if arguments.options.trace => {
            eprintln!("{}\nreplay: {}", failure.violation, failure.replay);
            ExitCode::FAILURE
        }
        Err(Trouble::Broken(failure)) => {
            println!("{failure}");
            eprintln!("cutting the story down ...");
            match failure.shrunk() {
                Some(shrunk) => print_script(&shrunk),
                None => println!("its story breaks nothing as a script: time matters"),
            }
            ExitCode::FAILURE
        }
    }
}

/// What is printed can be put into a file as it is.
fn print_script(shrunk: &Shrunk) {
    let Shrunk { script, violation, commands: (all, left), tries } = shrunk;
    println!("\n# {violation}");
    println!(
        "# {left} of {all} commands are left after {tries} tries; put this into tests/scripts/NAME.txt, or into a"
    );
    println!("# file for: cargo run -p raft-core --features sim --example chaos -- --script FILE\n\n{script}");
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let options = Options::default();
    let mut arguments =
        Arguments { first: 0, seeds: 1000, limit: None, bytes: None, script: None, options, quiet: false };
    while let Some(word) = words.next() {
        let mut number = || {
            let value = words.next().ok_or_else(|| format!("{word} needs a number"))?;
            value.parse::<u64>().map_err(|_| format!("{word} {value}: not a number"))
        };
        match word.as_str() {
            "--seeds" => arguments.seeds = number()?,
            "--first" => arguments.first = number()?,
            "--seed" => (arguments.first, arguments.seeds) = (number()?, 1),
            "--seconds" => arguments.limit = Some(Duration::from_secs(number()?)),
            "--servers" => {
                let count = usize::try_from(number()?).ok().filter(|count| (1..=5).contains(count));
                arguments.options.servers = Some(count.ok_or("--servers: from 1 through 5")?);
            }
            "--bytes" => arguments.bytes = Some(hex(&words.next().ok_or("--bytes needs hexadecimal digits")?)?),
            "--script" => arguments.script = Some(words.next().ok_or("--script needs a file")?),
            "--trace" => arguments.options.trace = true,
            "--quiet" => arguments.quiet = true,
            "--help" | "-h" => return Ok(None),
            _ => return Err(format!("{word}: not known")),
        }
    }
    if arguments.limit.is_some() {
        arguments.seeds = u64::MAX;
    }
    Ok(Some(arguments))
}

fn script(file: &str) -> ExitCode {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string());
    match text.and_then(|text| run_script(&text).map_err(|error| error.to_string())) {
        Ok(result) => {
            print!("{result}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{file}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn hex(digits: &str) -> Result<Vec<u8>, String> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes = digits.as_bytes().chunks(2).map(byte).collect::<Option<_>>();
    bytes.ok_or_else(|| "--bytes: not hexadecimal".into())
}

/// Why a campaign is no success.
enum Trouble {
    Broken(Box<Failure>),
    /// Nothing was broken, but not everything was tried.
    Missed(NeverHappened),
}

fn campaign(arguments: &Arguments) -> Result<(), Trouble> {
    let began = Instant::now();
    let mut total = Total::default();
    let mut told = began;
    for seed in arguments.first..arguments.first.saturating_add(arguments.seeds) {
        if arguments.limit.is_some_and(|limit| began.elapsed() >= limit) {
            break;
        }
        let report = run_seed(seed, arguments.options).map_err(Trouble::Broken)?;
        total.seeds += 1;
        total.steps += report.steps;
        total.ticks += report.ticks;
        total.busiest = total.busiest.max((report.steps, seed));
        total.slowest_healing = total.slowest_healing.max((report.healing_ticks, seed));
        total.hash = total.hash.rotate_left(5).wrapping_mul(0x2545_f491_4f6c_dd1d) ^ report.trace_hash;
        total.coverage.add(&report.coverage);
        // A terminal sees it at once, a log now and then.
        let (pause, end) = if std::io::stderr().is_terminal() { (1, "\r") } else { (60, "\n") };
        if !arguments.quiet && told.elapsed() >= Duration::from_secs(pause) {
            told = Instant::now();
            let unseen = total.coverage.missing().count();
            let (steps, rate, seconds) = (total.steps, total.rate(began), began.elapsed().as_secs());
            eprint!("seed {seed}: {seconds} s, {steps} steps, {rate:.0} steps/s, {unseen} things never happened {end}");
            let _ = std::io::stderr().flush();
        }
    }
    if arguments.options.trace {
        return Ok(());
    }
    if !arguments.quiet {
        println!("{}", total.coverage);
    }
    println!(
        "{} seeds, {} steps, {} ticks, {:.1} s, {:.0} steps/s, busiest run {} steps (seed {}), \
         slowest healing {} ticks (seed {}), trace hash {:016x}",
        total.seeds,
        total.steps,
        total.ticks,
        began.elapsed().as_secs_f64(),
        total.rate(began),
        total.busiest.0,
        total.busiest.1,
        total.slowest_healing.0,
        total.slowest_healing.1,
        total.hash,
    );
    // Two servers have no bridge between them: only a campaign of all sizes can meet everything.
    let seeds = if arguments.options.servers.is_none() { total.seeds } else { 0 };
    total.coverage.guard(seeds).map_err(Trouble::Missed)
}

#[derive(Default)]
struct Total {
    seeds: u64,
    steps: u64,
    ticks: u64,
    /// In steps, and of which seed.
    busiest: (u64, u64),
    /// In ticks, and of which seed.
    slowest_healing: (u64, u64),
    hash: u64,
    coverage: Coverage,
}

impl Total {
    fn rate(&self, since: Instant) -> f64 {
        self.steps as f64 / since.elapsed().as_secs_f64()
    }
}
