//! The catalogue of bugs to plant fits the sources as they are today. The example `planted` plants them.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

#[path = "planted/catalogue.rs"]
mod catalogue;

use catalogue::{Bug, parse};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn bugs() -> Vec<Bug> {
    parse(include_str!("planted/catalogue.txt")).unwrap()
}

fn source(bug: &Bug) -> String {
    fs::read_to_string(root().join("src").join(&bug.file)).unwrap_or_else(|error| panic!("{}: {error}", bug.file))
}

/// Text without indentation: a bug that differs from the original by nothing else is none.
fn flat(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// A rule that is rewritten takes its bugs along: they are rewritten too, or the list rots.
#[test]
fn every_bug_still_has_its_place() {
    let bugs = bugs();
    assert!(bugs.len() >= 40, "only {} bugs are left", bugs.len());
    let misfits: Vec<String> = bugs.iter().filter_map(|bug| bug.plant(&source(bug)).err()).collect();
    assert!(misfits.is_empty(), "{}", misfits.join("\n"));
}

/// No bug is the original, or another bug by another name.
#[test]
fn every_bug_is_another_one() {
    let (mut names, mut texts) = (BTreeSet::new(), BTreeSet::new());
    for bug in bugs() {
        let original = source(&bug);
        let planted = bug.plant(&original).unwrap();
        assert_ne!(flat(&planted), flat(&original), "{}", bug.name);
        assert!(!bug.rule.is_empty(), "{}: which rule does it break?", bug.name);
        assert!(texts.insert((bug.file, planted)), "{}: there is one like it", bug.name);
        assert!(names.insert(bug.name.clone()), "{}: there is another one of this name", bug.name);
    }
}

/// No row of Figure 2 is without a bug, and no bug names a row that is not there.
#[test]
fn every_row_of_figure_2_is_broken() {
    let tests = fs::read_to_string(root().join("tests/directed/figure2.rs")).unwrap();
    let rows: BTreeSet<_> = tests.lines().filter_map(|line| line.strip_prefix("fn ")?.strip_suffix("() {")).collect();
    let bugs = bugs();
    let broken: BTreeSet<_> = bugs.iter().filter_map(|bug| bug.row.as_deref()).collect();
    assert_eq!(rows, broken);
}

/// A bug has one place. No entry is read that says what it does not.
#[test]
fn lines_that_are_twice_there_are_not_taken() {
    let bug = &parse("bug b\nfile f\n- x\n- y\n+ z").unwrap()[0];
    assert_eq!(bug.plant("a\n  x\n  y\nx\n").unwrap(), "a\nz\nx\n");
    assert!(bug.plant("x\ny\nx\ny\n").is_err() && bug.plant("x\nx\n").is_err() && bug.plant("y\nx").is_err());
    assert!(parse("- x").is_err() && parse("bug b\nluck x").is_err());
}
