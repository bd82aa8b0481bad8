//! Plants bugs, one at a time, into a copy of the tree, and says which check catches each, after how long.
//!
//! `cargo run -p raft-core --example planted -- --help`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[path = "../tests/planted/catalogue.rs"]
mod catalogue;

use catalogue::{Bug, parse};

const USAGE: &str = "\
Plant each bug of tests/planted/catalogue.txt into a copy of the tree, and see what catches it: the tests of Figure 2, the other
directed tests, the small worlds, the simulator, in this order. What catches it ends its search.

usage: planted [--only TEXT] [--seconds S] [--jobs N] [--simulator-only] [--keep DIR]

  --only TEXT        only bugs whose names hold TEXT; again for more
  --seconds S        how long the simulator may search (default 60)
  --jobs N           how many copies work side by side (default 1)
  --simulator-only   leave out the tests: does the simulator alone find it in time?
  --keep DIR         where to put copies and builds, which then stay (default: a temporary folder)";

/// No check needs so much: what does has lost its end.
const MEMORY_KIB_MAX: u64 = 8 << 20;
const TESTS_TIME_MAX: Duration = Duration::from_secs(120);
const WORLDS_TIME_MAX: Duration = Duration::from_secs(600);
/// Without a bug there is nothing to find.
const CLEAN_SECONDS_MAX: u64 = 5;
/// A run that has begun in time may end after it.
const SIMULATOR_TIME_MORE: Duration = Duration::from_secs(30);

struct Arguments {
    only: Vec<String>,
    seconds: u64,
    jobs: usize,
    simulator_only: bool,
    keep: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = match arguments(std::env::args().skip(1)) {
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
    match plant_all(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::from(2)
        }
    }
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let mut arguments = Arguments { only: vec![], seconds: 60, jobs: 1, simulator_only: false, keep: None };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{word} {text}: not a number"));
        match word.as_str() {
            "--only" => arguments.only.push(value()?),
            "--seconds" => arguments.seconds = number(value()?)?,
            "--jobs" => arguments.jobs = usize::try_from(number(value()?)?.max(1)).unwrap_or(1),
            "--simulator-only" => arguments.simulator_only = true,
            "--keep" => arguments.keep = Some(value()?.into()),
            "--help" | "-h" => return Ok(None),
            _ => return Err(format!("{word}: not known")),
        }
    }
    Ok(Some(arguments))
}

/// Whether every bug was caught.
fn plant_all(arguments: &Arguments) -> Result<bool, String> {
    let all = parse(include_str!("../tests/planted/catalogue.txt"))?;
    let wanted = |bug: &Bug| arguments.only.is_empty() || arguments.only.iter().any(|text| bug.name.contains(text));
    let bugs: Vec<Bug> = all.into_iter().filter(wanted).collect();
    let folder = arguments.keep.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("planted-{}", std::process::id())) // nobody else's
    });
    let result = search_all(arguments, &folder, &bugs);
    if arguments.keep.is_none() {
        let _ = fs::remove_dir_all(&folder);
    }
    Ok(told(&bugs, &result?))
}

/// What became of each bug, by its place. Before the first, nothing is planted: a check that fails then would catch
/// everything.
fn search_all(arguments: &Arguments, folder: &Path, bugs: &[Bug]) -> Result<Vec<(usize, Verdict)>, String> {
    let copy = Copy::new(&folder.join("0"))?;
    let clean = copy.search(&checks(arguments.seconds.min(CLEAN_SECONDS_MAX), arguments.simulator_only))?;
    if clean.caught {
        return Err(format!("without any bug, this fails: {}", clean.by));
    }
    eprintln!("nothing planted: all checks pass, in {:.1} s", clean.after.as_secs_f64());
    let (next, done) = (AtomicUsize::new(0), Mutex::new(vec![]));
    thread::scope(|scope| {
        let work = |job: usize| work(arguments, &folder.join(format!("{job}")), bugs, &next, &done);
        let jobs: Vec<_> = (0..arguments.jobs).map(|job| scope.spawn(move || work(job))).collect();
        // All have ended before the first that failed is spoken of.
        let results: Vec<_> = jobs.into_iter().map(thread::ScopedJoinHandle::join).collect();
        results.into_iter().try_for_each(|result| result.unwrap_or_else(|_| Err("a job panicked".into())))
    })?;
    let mut done = done.into_inner().map_err(|error| error.to_string())?;
    done.sort_by_key(|(at, _)| *at);
    Ok(done)
}

fn told(bugs: &[Bug], done: &[(usize, Verdict)]) -> bool {
    println!("| bug | rule | caught by | s |\n|---|---|---|--:|");
    for (at, verdict) in done {
        let bug = &bugs[*at];
        println!("| `{}` | {} | {} | {:.1} |", bug.name, bug.rule, verdict.by, verdict.after.as_secs_f64());
    }
    let caught = done.iter().filter(|(_, verdict)| verdict.caught).count();
    println!("\n{} bugs, {caught} caught", done.len());
    caught == done.len()
}

/// What became of a bug.
#[derive(Debug)]
struct Verdict {
    caught: bool,
    /// Which check, or why none.
    by: String,
    /// How long checks ran until then; building is not counted.
    after: Duration,
}

/// One copy of the tree takes bug after bug, so that only what a bug changes is built anew.
fn work(
    arguments: &Arguments,
    folder: &Path,
    bugs: &[Bug],
    next: &AtomicUsize,
    done: &Mutex<Vec<(usize, Verdict)>>,
) -> Result<(), String> {
    let copy = Copy::new(folder)?;
    let checks = checks(arguments.seconds, arguments.simulator_only);
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(bug) = bugs.get(at) else { return Ok(()) };
        let path = copy.tree.join("raft-core/src").join(&bug.file);
        let original = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let write = |text: &str| fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()));
        write(&bug.plant(&original)?)?;
        // One that does not build tells nothing; the others are still to be tried.
        let verdict = copy.search(&checks).unwrap_or_else(|error| {
            eprintln!("{}: {error}", bug.name);
            Verdict { caught: false, by: "not searched".into(), after: Duration::ZERO }
        });
        write(&original)?;
        eprintln!("{}: {} ({:.1} s)", bug.name, verdict.by, verdict.after.as_secs_f64());
        done.lock().map_err(|error| error.to_string())?.push((at, verdict));
    }
}

/// A copy of the tree, and where it is built.
struct Copy {
    tree: PathBuf,
    target: PathBuf,
    /// What a check printed.
    output: PathBuf,
}

/// One step of a search: what to build, and how to run what was built.
struct Check {
    build: &'static [&'static str],
    arguments: Vec<String>,
    time_max: Duration,
}

fn checks(seconds: u64, simulator_only: bool) -> Vec<Check> {
    let tests = |build, time_max| Check { build, arguments: vec![], time_max };
    let simulator = Check {
        build: &["build", "--profile", "test", "--features", "sim", "--example", "chaos"],
        arguments: vec!["--quiet".into(), "--seconds".into(), seconds.to_string()],
        time_max: Duration::from_secs(seconds) + SIMULATOR_TIME_MORE,
    };
    if simulator_only {
        return vec![simulator];
    }
    vec![
        tests(&["test", "--no-run", "--test", "directed"], TESTS_TIME_MAX),
        tests(&["test", "--no-run", "--lib", "--test", "scripts"], TESTS_TIME_MAX),
        tests(&["test", "--no-run", "--test", "model"], WORLDS_TIME_MAX),
        simulator,
    ]
}

impl Copy {
    /// What is built there already stays.
    fn new(folder: &Path) -> Result<Copy, String> {
        let copy = Copy { tree: folder.join("tree"), target: folder.join("target"), output: folder.join("output") };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let old = if copy.tree.exists() { fs::remove_dir_all(&copy.tree) } else { Ok(()) };
        let made = old.and_then(|()| copy_folder(&root, &copy.tree));
        made.map(|()| copy).map_err(|error| format!("{}: {error}", folder.display()))
    }

    /// One check after the other, until one fails.
    fn search(&self, checks: &[Check]) -> Result<Verdict, String> {
        let mut after = Duration::ZERO;
        for check in checks {
            for program in self.build(check.build)? {
                let began = Instant::now();
                let failed = self.run(&program, check)?;
                after += began.elapsed();
                if let Some(by) = failed {
                    return Ok(Verdict { caught: true, by, after });
                }
            }
        }
        Ok(Verdict { caught: false, by: "nothing".into(), after })
    }

    /// What was built, in cargo's order.
    fn build(&self, words: &[&str]) -> Result<Vec<PathBuf>, String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let (command, rest) = words.split_first().ok_or("nothing to build")?;
        let output = Command::new(cargo)
            .args([command, "--offline", "--locked", "--quiet", "--message-format=json", "--package", "raft-core"])
            .args(rest)
            .arg("--target-dir")
            .arg(&self.target)
            .current_dir(&self.tree)
            // Built often, run once.
            .env("CARGO_PROFILE_TEST_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_TEST_DEBUG", "0")
            .output()
            .map_err(|error| format!("cargo: {error}"))?;
        let messages = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let errors = messages.lines().filter_map(|line| line.split_once("\"rendered\":\"")?.1.split_once("\\n"));
            let errors: Vec<&str> = errors.map(|(error, _)| error).collect();
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(format!("does not build: {}\n{words}", errors.join("; ")));
        }
        let programs = messages.lines().filter_map(|line| line.split_once("\"executable\":\"")?.1.split_once('"'));
        Ok(programs.map(|(path, _)| PathBuf::from(path)).collect())
    }

    /// How it failed, if it did.
    fn run(&self, program: &Path, check: &Check) -> Result<Option<String>, String> {
        let told = |error: std::io::Error| format!("{}: {error}", program.display());
        let output = fs::File::create(&self.output).map_err(told)?;
        let mut child = Command::new("sh")
            .args(["-c", &format!("ulimit -v {MEMORY_KIB_MAX}; exec \"$0\" \"$@\" 2>&1")])
            .arg(program)
            .args(&check.arguments)
            .current_dir(self.tree.join("raft-core"))
            .stdout(Stdio::from(output))
            .spawn()
            .map_err(told)?;
        let began = Instant::now();
        let status = loop {
            match child.try_wait().map_err(told)? {
                Some(status) => break Some(status),
                None if began.elapsed() > check.time_max => {
                    child.kill().and_then(|()| child.wait()).map_err(told)?;
                    break None;
                }
                None => thread::sleep(Duration::from_millis(5)),
            }
        };
        if status.is_some_and(|status| status.success()) {
            return Ok(None);
        }
        let name = program.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = name.rsplit_once('-').map_or(name.as_str(), |(name, _)| name);
        let text = String::from_utf8_lossy(&fs::read(&self.output).map_err(told)?).into_owned();
        Ok(Some(failure(name, &text, status.is_none())))
    }
}

/// The first test that failed and how many did; which invariant; or how the program ended.
fn failure(program: &str, text: &str, out_of_time: bool) -> String {
    let program = if program == "raft_core" { "unit tests" } else { program };
    let failed = |line: &str| Some(line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?.to_owned());
    let mut tests: Vec<String> = text.lines().filter_map(failed).collect();
    tests.sort_unstable();
    let which = match tests.as_slice() {
        [] => String::new(),
        [one] => format!(" `{one}`"),
        [first, more @ ..] => format!(" `{first}` and {} more", more.len()),
    };
    let how = match (invariant(text), text.lines().find(|line| line.contains("panicked at"))) {
        _ if out_of_time => ", which does not end".to_owned(),
        (Some(invariant), _) => format!(": {invariant}"),
        (None, Some(panic)) if tests.is_empty() => format!(": {}", panic.trim()),
        (None, None) if tests.is_empty() => ", which aborts".to_owned(),
        _ => String::new(),
    };
    format!("{program}{which}{how}")
}

/// `Promises (Figure 2, thesis §10.2.1): ..` names the invariant `Promises`.
fn invariant(text: &str) -> Option<&str> {
    let sources = ["§", "Figure 2", "thesis", "Config"];
    text.lines().find_map(|line| {
        let (before, source) = line.split_once(" (")?;
        let name = before.rsplit(' ').next()?;
        let is_name = name.starts_with(char::is_uppercase) && name.chars().all(char::is_alphanumeric);
        (is_name && source.contains("): ") && sources.iter().any(|word| source.starts_with(word))).then_some(name)
    })
}

/// All but what is hidden, what was built, and what a fuzzer may be changing.
fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        if name.to_string_lossy().starts_with('.') || name == "target" || name == "corpus" {
            continue;
        }
        let (from, to) = (entry.path(), to.join(&name));
        if kind.is_dir() {
            copy_folder(&from, &to)?;
        } else if kind.is_file() {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}
