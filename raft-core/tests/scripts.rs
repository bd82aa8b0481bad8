//! The paper, and other stories, as text: each file of `tests/scripts` runs on real servers, and what comes out of every
//! command must be what stands below it. `docs/scripts.md` has the grammar.
//!
//! `REWRITE=1 cargo test -p raft-core --features sim --test scripts` writes what comes out into the files: read the diff.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use raft_core::sim::{Options, run_script, script_of_seed};

/// How many lines of agreement a difference shows before and after it.
const CONTEXT: usize = 3;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

/// A script comes back as it was.
fn golden(name: &str) {
    let path = folder().join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).unwrap();
    let file = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()).unwrap().display();
    let replay = format!("cargo test -p raft-core --features sim --test scripts {name}");
    let result = run_script(&text).unwrap_or_else(|error| panic!("\n{error}\n\nin {file}\nreplay: {replay}"));
    if result == text {
        return;
    }
    if std::env::var_os("REWRITE").is_some_and(|value| value == "1") {
        fs::write(&path, result).unwrap();
        return;
    }
    let difference = difference(&text, &result);
    panic!(
        "\n{difference}\nin {file}: `-` is what it says, `+` is what came out\nreplay: {replay}\nif this is as it should \
         be: REWRITE=1 {replay}"
    );
}

/// The first place where two texts differ, through where they meet again.
fn difference(golden: &str, result: &str) -> String {
    let (golden, result): (Vec<_>, Vec<_>) = (golden.lines().collect(), result.lines().collect());
    let same = golden.iter().zip(&result).take_while(|(one, other)| one == other).count();
    let (mut ours, mut theirs) = (golden.len(), result.len());
    // Commands stand in both: the next one after which all is the same, or the next one at all, ends the difference.
    let is_command = |line: &&str| !line.starts_with(' ') && !line.is_empty();
    if let Some(at) = golden.iter().enumerate().skip(same).find(|(_, line)| is_command(line)).map(|(at, _)| at)
        && let Some(there) = result.iter().enumerate().skip(same).find(|(_, line)| *line == &golden[at])
    {
        (ours, theirs) = (at, there.0);
    }
    let mut text = String::new();
    // Not from the first lines only: the command is wanted too.
    let command = (0..same).rev().find(|at| is_command(&golden[*at])).unwrap_or(0);
    let start = same.saturating_sub(CONTEXT);
    if command < start {
        writeln!(text, "{:>5}   {}\n          ...", command + 1, golden[command]).unwrap();
    }
    for (at, line) in golden.iter().enumerate().take(same).skip(start) {
        writeln!(text, "{:>5}   {line}", at + 1).unwrap();
    }
    golden[same..ours].iter().zip(same + 1..).for_each(|(line, at)| writeln!(text, "{at:>5} - {line}").unwrap());
    result[same..theirs].iter().for_each(|line| writeln!(text, "      + {line}").unwrap());
    golden[ours..].iter().take(CONTEXT).for_each(|line| writeln!(text, "        {line}").unwrap());
    text
}

macro_rules! scripts {
    ($($name:ident)*) => {
        $(#[test] fn $name() { golden(stringify!($name)); })*
        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

scripts! {
    a_candidate_follows
    a_follower_is_full
    a_follower_needs_a_snapshot
    a_stalled_disk_leads_no_more
    a_vote_is_lost_before_it_is_given
    a_vote_waits_for_the_disk
    an_old_leader_learns
    check_quorum
    commit_rides_on_the_next_append
    compaction_with_trailing_entries
    conflict_back_off
    crash_before_persist
    duplicated_and_reordered_appends
    earlier_terms_are_not_counted
    figure_12
    figure_13_discard
    figure_13_install
    figure_13_retain
    figure_7
    figure_8_committed
    figure_8_overwritten
    first_election
    heartbeats_with_a_slow_disk
    in_flight_window
    late_replies_lower_nothing
    leader_completeness
    leaders_disk_is_not_needed
    one_node_alone
    pipelined_appends_wait_for_the_disk
    pre_vote_leaves_a_live_leader_alone
    pre_vote_of_a_server_that_is_behind
    request_vote_waits_for_the_disk
    restart_and_what_was_applied
    snapshot_in_the_middle_of_appends
    split_vote
    stale_replies
    start_is_refused
    stated_timers
    uncommitted_tail_is_overwritten
}

/// Every file runs, and begins with a heading that says where the story comes from.
#[test]
fn every_script_is_run_and_has_a_heading() {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<String> = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(files, NAMES.iter().map(|name| (*name).to_owned()).collect());
    for name in files {
        let text = fs::read_to_string(folder().join(format!("{name}.txt"))).unwrap();
        let heading = text.lines().next().unwrap_or_default();
        let has_source = heading.starts_with("# ") && ["§", "Figure"].iter().any(|source| heading.contains(source));
        assert!(has_source, "{name}: `{heading}` names no section and no figure");
    }
    assert!(NAMES.len() >= 25);
}

/// One grammar: the simulator's story of a seed, faults and all, runs as a script, and the same comes out.
#[test]
fn the_story_of_a_seed_is_a_script() {
    for seed in 0..60 {
        let story = script_of_seed(seed, Options::default());
        let told = run_script(&story).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(story.lines().count() > 100, "seed {seed} tells nothing");
        if let Some((line, (story, told))) = story.lines().zip(told.lines()).enumerate().find(|(_, (a, b))| a != b) {
            panic!("seed {seed}, line {}: the story says\n{story}\nthe script says\n{told}", line + 1);
        }
        assert_eq!(story, told, "seed {seed}: one ends before the other");
    }
}
