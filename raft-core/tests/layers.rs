//! The shape of the house: which file of the core may import which; in all crates how long files and functions get, and that
//! library code does not panic on purpose. The style is checked here, not by memory.

use std::fs;
use std::path::{Path, PathBuf};

use raft_core::{Action, Entries, Message};

/// A module imports only modules above it. A folder belongs to the module of its name.
const ORDER: &[&str] = &[
    "types",
    "fingerprint",
    "config",
    "chores",
    "counters",
    "quorum",
    "member",
    "membership",
    "edit",
    "refusal",
    "run",
    "entries",
    "offsets",
    "meta",
    "log",
    "history",
    "message",
    "action",
    "event",
    "restored",
    "random",
    "disk",
    "named",
    "fetch",
    "server",
    "applying",
    "paging",
    "standing",
    "progress",
    "role",
    "healing",
    "election",
    "replication",
    "fetching",
    "appending",
    "snapshot",
    "change",
    "transfer",
    "read",
    "why",
    "status",
    "gate",
    "raft",
    "codec",
    "sim",
    "lib",
    "tests",
];

/// The same of the driver of threads.
const ORDER_STD: &[&str] = &[
    "sync",
    "queue",
    "workers",
    "storage",
    "error",
    "config",
    "machine",
    "mark",
    "asked",
    "changes",
    "waiters",
    "status",
    "events",
    "observer",
    "log_lines",
    "told",
    "traffic",
    "socket",
    "tls",
    "net",
    "peers",
    "tcp",
    "inbox",
    "server",
    "transport",
    "shared",
    "refusals",
    "receiving",
    "outgoing",
    "disk_part",
    "machine_part",
    "transfer_part",
    "core_loop",
    "control",
    "engine",
    "event_loop",
    "node",
    "lab",
    "lib",
    "tests",
];

/// And of the driver of tasks.
const ORDER_TOKIO: &[&str] = &[
    "sync",
    "workers",
    "transport",
    "tls",
    "error",
    "meters",
    "watching",
    "wires",
    "core_task",
    "node",
    "typed",
    "builder",
    "lib",
    "tests",
];

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 60;

/// How many bugs of others are known by name: those that a test plays, and those whose feature is not there yet.
const SCENARIOS: usize = 98;

/// What would end the process. `debug_assert` is welcome: it says what holds, and costs nothing in a release.
const PANICS: [&str; 8] =
    [".unwrap()", ".expect(", "panic!", "unreachable!", "todo!", "unimplemented!", " assert!(", " assert_eq!("];

/// One source file without its tests and comments.
struct Source {
    path: PathBuf,
    module: String,
    lines: Vec<String>,
}

/// What the house has besides the core.
const DRIVERS: [&str; 2] = ["raft-std-driver", "raft-tokio-driver"];

fn all_sources() -> Vec<Source> {
    DRIVERS.into_iter().chain(["raft-core"]).flat_map(sources).collect()
}

/// Without tests, which are no rooms to live in.
fn sources(of: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(of).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = vec![];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(source(&root, &path));
            }
        }
    }
    assert!(sources.len() >= 10, "the sources of {of} were not found");
    sources.retain(|source| source.module != "tests");
    sources
}

fn source(root: &Path, path: &Path) -> Source {
    let inside = path.strip_prefix(root).unwrap().to_owned();
    let is_tests = inside.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs");
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
    let module = if is_tests { "tests".to_owned() } else { first };
    let text = fs::read_to_string(path).unwrap();
    // The tests of a file are its last part.
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]" || module == "lib");
    let lines = lines.map(|line| if line.trim_start().starts_with("//") { "" } else { line }.to_owned()).collect();
    Source { path: path.to_owned(), module, lines }
}

fn place(order: &[&str], module: &str) -> usize {
    order.iter().position(|known| *known == module).unwrap_or_else(|| panic!("{module}: which modules are above it?"))
}

/// The modules behind each `crate::` of a line; a name that starts large is a re-export of the whole crate.
fn imports(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

/// The lines that import what is not above them.
fn upward(Source { path, module, lines }: &Source, order: &[&str]) -> Vec<String> {
    let own = place(order, module);
    let mut wrong = vec![];
    for (number, line) in lines.iter().enumerate().filter(|_| !["lib", "sim", "tests"].contains(&module.as_str())) {
        for import in imports(line) {
            let whole_crate = import.chars().next().is_none_or(char::is_uppercase);
            if whole_crate || (import != module && place(order, import) >= own) {
                wrong.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    wrong
}

#[test]
fn a_file_imports_only_files_above_it() {
    let wrong: Vec<String> = [("raft-core", ORDER), ("raft-std-driver", ORDER_STD), ("raft-tokio-driver", ORDER_TOKIO)]
        .into_iter()
        .flat_map(|(of, order)| sources(of).into_iter().flat_map(move |source| upward(&source, order)))
        .collect();
    assert!(wrong.is_empty(), "imports that go up, or name no module:\n{}", wrong.join("\n"));
}

#[test]
fn files_stay_livable() {
    let long = all_sources().into_iter().filter(|source| source.lines.len() > FILE_LINES_MAX);
    let long: Vec<_> = long.map(|source| format!("{}: {} lines", source.path.display(), source.lines.len())).collect();
    assert!(long.is_empty(), "longer than {FILE_LINES_MAX} lines: {long:?}");
}

#[test]
fn functions_stay_livable() {
    let mut long = vec![];
    let mut functions = 0;
    for Source { path, lines, .. } in all_sources() {
        for (start, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let indent = &line[..line.len() - code.len()];
            let is_function = code.split_whitespace().take_while(|word| !word.contains('=')).any(|word| word == "fn");
            if !is_function || code.ends_with(';') || code.ends_with('}') {
                continue;
            }
            functions += 1;
            let end = format!("{indent}}}");
            let length = lines[start..].iter().position(|line| *line == end).expect("a formatted file") + 1;
            if length > FUNCTION_LINES_MAX {
                long.push(format!("{}:{}: {length} lines", path.display(), start + 1));
            }
        }
    }
    assert!(functions > 100, "the functions were not found");
    assert!(long.is_empty(), "longer than {FUNCTION_LINES_MAX} lines: {long:?}");
}

/// `step` is total: what cannot happen is ignored and counted, never a reason to end the process.
#[test]
fn library_code_does_not_panic_on_purpose() {
    let mut panics = vec![];
    for Source { path, lines, .. } in all_sources().into_iter().filter(|source| source.module != "sim") {
        for (number, line) in lines.iter().enumerate() {
            if PANICS.iter().any(|panic| format!(" {line}").contains(panic)) {
                panics.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(panics.is_empty(), "library code must not panic:\n{}", panics.join("\n"));
}

/// Actions are moved and queued by the million. Today an action takes 112 bytes, a message 88, entries 32.
#[test]
fn what_travels_is_small() {
    let bounds = [
        ("Action", size_of::<Action>(), 112),
        ("Message", size_of::<Message>(), 88),
        ("Entries", size_of::<Entries>(), 32),
    ];
    for (name, size, bound) in bounds {
        assert!(size <= bound, "{name} takes {size} bytes: put what is rare behind a pointer");
    }
}

/// Whoever reads Figure 2 finds each row's test, and whoever reads the tests finds them in the table.
#[test]
fn the_table_of_figure_2_is_whole() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("../docs/figure2.md")).unwrap();
    let tests = fs::read_to_string(root.join("tests/directed/figure2.rs")).unwrap();
    let mut rows: Vec<_> = table.lines().filter_map(|line| line.strip_suffix("` |")?.rsplit('`').next()).collect();
    let mut named: Vec<_> = tests.lines().filter_map(|line| line.strip_prefix("fn ")?.strip_suffix("() {")).collect();
    rows.push("leaders_count_only_what_is_durable");
    rows.sort_unstable();
    named.sort_unstable();
    assert_eq!(rows, named);
}

/// Whoever reads the thesis finds the test of each of its rules.
#[test]
fn the_tables_of_the_thesis_are_true() {
    let document = fs::read_to_string(root().join("docs/thesis.md")).unwrap();
    let heading = "| rule | file and function | test |";
    let tables = document.match_indices(heading).flat_map(|(at, _)| rows(&document[at..], heading));
    let mut tests = vec![];
    for row in tables {
        let [rule, _, test] = row[..] else { panic!("not a row: {row:?}") };
        for place in test.split("; ") {
            let (file, names) = place.split_once(": ").unwrap_or_else(|| panic!("{rule}: {place} names no test"));
            let file = if file == "scripts" { file.to_owned() } else { format!("raft-core/tests/directed/{file}.rs") };
            for name in names.split(", ") {
                assert!(is_there(&file, name.trim_matches('`')), "{rule}: {file} has no {name}");
                tests.push(name);
            }
        }
    }
    assert!(tests.len() >= 60, "the tables were not found");
}

/// The functions and fields that these tables name are in the files that they name.
#[test]
fn the_tables_name_what_is_in_the_sources() {
    let (mut named, mut missing) = (0, vec![]);
    for page in ["figure2", "thesis"] {
        let document = fs::read_to_string(root().join(format!("docs/{page}.md"))).unwrap();
        for row in document.lines().filter(|line| line.starts_with("| ")) {
            let cell = row.split('|').nth(2).unwrap();
            let mut text = String::new();
            for name in cell.split('`').skip(1).step_by(2) {
                if name.ends_with(".rs") {
                    let file = root().join("raft-core/src").join(name);
                    text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{page}, {name}: {error}"));
                    continue;
                }
                // Before the first file stands what is nobody's.
                named += usize::from(!text.is_empty());
                let item = name.rsplit("::").next().unwrap();
                let is_there =
                    text.is_empty() || text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == item);
                if !is_there {
                    missing.push(row.to_owned());
                }
            }
        }
    }
    assert!(named > 100, "the tables were not found");
    assert!(missing.is_empty(), "not there:\n{}", missing.join("\n"));
}

/// The rows of the table with this heading, cell by cell.
fn rows<'a>(document: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let (_, table) = document.split_once(heading).unwrap_or_else(|| panic!("no table {heading}"));
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A test of a file, or a script.
fn is_there(file: &str, name: &str) -> bool {
    if file == "scripts" {
        return root().join(format!("raft-core/tests/scripts/{name}.txt")).exists();
    }
    let text = fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    text.contains(&format!("fn {name}("))
}

/// Each scenario of `docs/verification.md` is played where the table says, and each script that it names is there. Or it is
/// named among those that wait: none falls out unnoticed.
#[test]
fn the_tables_of_scenarios_are_true_and_whole() {
    let document = fs::read_to_string(root().join("docs/verification.md")).unwrap();
    let mut names = vec![];
    for row in rows(&document, "| scenario | test | script |") {
        let [name, test, script] = row[..] else { panic!("not a row: {row:?}") };
        let (file, function) = test.split_once(": ").unwrap();
        assert!(is_there(file, function.trim_matches('`')), "{name}: {file} has no {function}");
        assert!(script.is_empty() || is_there("scripts", script), "{name}: there is no script {script}");
        names.push(name);
    }
    for row in rows(&document, "| waits for | scenarios |") {
        let [_, waiting] = row[..] else { panic!("not a row: {row:?}") };
        names.extend(waiting.split(", "));
    }
    assert_eq!(names.len(), SCENARIOS, "{names:?}");
    names.sort_unstable();
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// Each answer of `docs/labs.md` names what shows it.
#[test]
fn the_answers_to_the_labs_questions_are_shown() {
    let document = fs::read_to_string(root().join("docs/labs.md")).unwrap();
    let questions = rows(&document, "| question | answer | shown by |");
    assert_eq!(questions.len(), 9);
    for row in questions {
        let [question, _, shown] = row[..] else { panic!("not a row: {row:?}") };
        for (file, names) in shown.split("; ").map(|place| place.split_once(": ").unwrap()) {
            let file = if file.contains('/') || file == "scripts" {
                file
            } else {
                &format!("raft-core/tests/directed/{file}")
            };
            for name in names.split(", ") {
                assert!(is_there(file, name.trim_matches('`')), "{question} {file} has no {name}");
            }
        }
    }
}

/// Lines that rustdoc hides are shown where the pages are read.
#[test]
fn no_page_shows_lines_that_are_meant_for_rustdoc() {
    let root = root();
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.chain([root.join("README.md")]).filter(|path| path.extension().is_some_and(|end| end == "md"));
    let mut wrong = vec![];
    for path in pages {
        let text = fs::read_to_string(&path).unwrap();
        let blocks = text.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        wrong.extend(
            blocks.flat_map(str::lines).filter(|line| *line == "#" || line.starts_with("# ")).map(str::to_owned),
        );
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
