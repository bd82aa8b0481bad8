//! What the sources of both drivers tell, whether or not it ever happens in a test.

use std::collections::BTreeSet;
use std::path::Path;

use crate::table::Line;

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// What the labs tell is for students, and what tests say is for nobody.
const ELSEWHERE: [&str; 2] = ["lab", "tests"];

pub(crate) fn spans() -> BTreeSet<Line> {
    told(|level, code| {
        let span = |arguments: Vec<String>| {
            let mut fields = arguments.into_iter().filter(|argument| !argument.starts_with("parent:"));
            let name = fields.next().unwrap();
            line(&name, level, fields)
        };
        calls(code, &format!("tracing::{level}_span!(")).into_iter().map(span).collect()
    })
}

pub(crate) fn events() -> BTreeSet<Line> {
    told(|level, code| {
        let direct = calls(code, &format!("tracing::{level}!("));
        let direct = direct.into_iter().map(|mut arguments| line(&arguments.pop().unwrap(), level, arguments));
        // Aloud or quietly.
        let repeated = if ["warn", "debug"].contains(&level) { calls(code, "say!(") } else { vec![] };
        let repeated = repeated.into_iter().map(|mut arguments| {
            let name = arguments.pop().unwrap();
            let count = (level == "warn").then(|| "repeats".to_owned());
            line(&name, level, arguments.into_iter().skip(1).chain(count))
        });
        direct.chain(repeated).collect()
    })
}

fn told(of: impl Fn(&str, &str) -> Vec<Line>) -> BTreeSet<Line> {
    let (here, mut codes) = (Path::new(env!("CARGO_MANIFEST_DIR")), Vec::new());
    ["../raft-std-driver/src", "src"].iter().for_each(|directory| read(&here.join(directory), &mut codes));
    codes.iter().flat_map(|code| LEVELS.map(|level| of(level, code))).flatten().collect()
}

fn read(directory: &Path, codes: &mut Vec<String>) {
    for path in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if ELSEWHERE.iter().any(|name| path.file_stem().is_some_and(|stem| stem == *name)) {
            continue;
        }
        if path.is_dir() {
            read(&path, codes);
        } else {
            let code = std::fs::read_to_string(path).unwrap();
            // The tests of a file are its last part.
            codes.push(code.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned());
        }
    }
}

/// The arguments of each call of this macro, but for those within a macro.
fn calls(code: &str, call: &str) -> Vec<Vec<String>> {
    let all = code.split(call).skip(1).map(arguments);
    all.filter(|arguments| !arguments.iter().any(|argument| argument.contains('$'))).collect()
}

/// Up to the parenthesis that closes the call.
fn arguments(code: &str) -> Vec<String> {
    let (mut arguments, mut depth, mut quoted) = (vec![String::new()], 0, false);
    for c in code.chars() {
        quoted ^= c == '"';
        match c {
            ')' if !quoted && depth == 0 => break,
            ',' if !quoted && depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        arguments.last_mut().unwrap().push(c);
    }
    let trimmed = arguments.iter().map(|argument| argument.trim().to_owned());
    trimmed.filter(|argument| !argument.is_empty()).collect()
}

fn line(name: &str, level: &str, fields: impl IntoIterator<Item = String>) -> Line {
    let text = name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let name = text.unwrap_or_else(|| panic!("not a text: {name}")).to_owned();
    let field = |field: String| field.trim_start_matches(['%', '?']).split(" = ").next().unwrap().to_owned();
    Line { name, level: level.to_owned(), fields: fields.into_iter().map(field).collect() }
}
