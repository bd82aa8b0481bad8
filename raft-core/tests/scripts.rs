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
    a_dead_server_is_replaced
    a_follower_is_full
    a_follower_needs_a_snapshot
    a_follower_reads
    a_leader_is_heard_in_part
    a_leader_steps_down_with_reads
    a_leader_that_is_removed_hands_over
    a_learner_that_is_ahead_holds_up_an_election
    a_log_larger_than_memory
    a_lost_disk_heals
    a_newcomer_never_comes
    a_pause_is_not_an_outage
    a_pre_vote_is_no_vote
    a_promise_ends_with_its_term
    a_read_waits_for_an_install
    a_refusal_is_no_vote
    a_refused_transfer_holds_up_nothing
    a_removed_server_disturbs_nobody
    a_removed_server_refuses_its_reads
    a_round_beside_entries
    a_round_reaches_every_flow
    a_server_takes_the_place_of_another
    a_stalled_disk_leads_no_more
    a_vote_is_lost_before_it_is_given
    a_vote_waits_for_the_disk
    a_voter_is_added_from_nothing
    an_old_leader_answers_no_read
    an_old_leader_learns
    batches
    check_quorum
    commit_rides_on_the_next_append
    compaction_with_trailing_entries
    config_needs_own_term_commit
    confirmations_out_of_order
    conflict_back_off
    crash_before_persist
    doubled_questions_and_answers
    duplicated_and_reordered_appends
    earlier_terms_are_not_counted
    figure_10
    figure_11
    figure_12
    figure_13_discard
    figure_13_install
    figure_13_retain
    figure_7
    figure_8_committed
    figure_8_overwritten
    first_election
    follower_reads_on_a_slow_round
    granting_a_vote_puts_off_the_election
    handicap
    heartbeats_with_a_slow_disk
    in_flight_window
    joined_is_not_counted_by_name
    last_to_hold_c3_may_lead
    late_replies_lower_nothing
    leader_completeness
    leader_refuses_strangers_vote
    leaders_disk_is_not_needed
    lost_again
    newcomer_frees_the_window
    newer_term_does_not_forget_the_leader
    nobody_answers_a_read
    old_process_of_a_name
    one_node_alone
    one_progress_two_disks
    out_of_touch
    overwritten_entries_are_not_durable
    pipelined_appends_wait_for_the_disk
    pre_vote_leaves_a_live_leader_alone
    pre_vote_of_a_server_that_is_behind
    read_waits_for_own_term
    reads_across_a_restart
    reads_and_a_new_leader
    reads_share_a_round
    removed_again_is_seen_off_again
    replaced_server_holds_c3
    request_vote_waits_for_the_disk
    restart_and_what_was_applied
    single_server_counterexample
    snapshot_in_the_middle_of_appends
    split_vote
    stale_replaces
    stale_replies
    stale_round_is_no_echo
    start_is_refused
    stated_timers
    stuck_on_a_foreign_term
    the_leader_dies_before_c_new
    the_leader_dies_before_c_old_new_is_committed
    the_leader_dies_while_it_demotes
    the_leader_dies_while_it_promotes
    the_leader_dies_while_it_replaces
    the_leader_dies_with_a_learner
    the_leader_dies_with_a_recorded_learner
    the_leader_dies_with_c_old_new
    too_many_reads
    transfer
    transfer_answers_once
    transfer_back_to_oneself
    transfer_by_snapshot
    transfer_is_refused
    transfer_later_candidacy
    transfer_of_a_shorter_log
    transfer_outlives_the_leader
    transfer_survives_a_heartbeat
    transfer_to_another_one
    transfer_to_the_dead_times_out
    transfer_waits_for_the_target
    transfer_without_a_target
    unaware_voter_answers
    uncommitted_tail_is_overwritten
    wiped_leader_down_third_behind
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

/// What the documentation shows is what comes out.
#[test]
fn the_example_of_the_documentation_runs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scripts.md");
    let text = fs::read_to_string(path).unwrap();
    let example = text.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let result = run_script(example).unwrap();
    assert_eq!(result, example, "{}", difference(example, &result));
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

/// What is wrong with a script is said with its line.
#[test]
fn bad_scripts_say_where_and_why() {
    let start = "# A story\n\ncluster 3\nboot\n    # a trace is no command\n";
    let cases = [
        ("boot", 1, "a script begins with `cluster`"),
        ("", 0, "there is no command"),
        ("cluster 9", 1, "there can be 1 to 8 servers"),
        ("cluster 3 speed=1", 1, "`speed=1` is not a setting of Config"),
        ("cluster 3 heartbeat_ticks=30", 1, "a timeout must be longer than a heartbeat"),
        ("+dance s1", 6, "`dance` is not a command"),
        ("+timeout s4", 6, "there is no server 4"),
        ("+timeout", 6, "a server like s2 is missing"),
        ("+tick s1 3 times", 6, "`times` is too much"),
        ("+cluster 3", 6, "there is one cluster in a script"),
        ("+deliver s1 s2", 6, "no such message is on its way"),
        ("+persist s1", 6, "the disk of s1 has nothing to do"),
        ("+state s1 term=2 log=1,2", 6, "a state is stated before the first start"),
        ("cluster 3\nstate s1 term=2 log=2,1", 2, "terms never fall within a log"),
        ("cluster 3\nstate s1 term=2 log=1 snapshot=4", 2, "the log ends before the snapshot"),
        ("cluster 3\nstate s1 term=1 log=1,2\nboot", 3, "the log ends in term 2, after the current term 1"),
        ("+crash s1\ntick s1\ntimeout s1", 8, "s1 is down"),
        ("+s1 receive from 2: PreVote t0 last 0@0", 6, "s2 never sent that"),
        ("+s1 tick many", 6, "`many` is not a number"),
        ("+s1 melts", 6, "`melts` is nothing that happens to a server"),
        ("+s1 start 5: 1 commands of 4 bytes", 6, "the next request is 0, not 5"),
        ("+s1 transfer 900002 to 2", 6, "the next request is 900001, not 900002"),
        ("+transfer s1 to", 6, "a server like s2 is missing"),
        ("+crash s2\ntransfer s2", 7, "s2 is down"),
        ("+snapshot s1 s2 delivered", 6, "no snapshot is on that way"),
        ("+expect s1 role=leader", 6, "role is follower, not leader"),
        ("+expect s1 log=1*2", 6, "log is [], not 1*2"),
        ("+expect s1 colour=red", 6, "`colour` is nothing that a server has"),
        ("+expect mail 2", 6, "mail is 0, not 2"),
    ];
    for (script, line, what) in cases {
        let script = script.strip_prefix('+').map_or(script.to_owned(), |rest| format!("{start}{rest}"));
        let error = run_script(&script).expect_err(&script);
        assert!(error.line == line && error.what.contains(what), "{script}\ngives\n{error}");
    }
}

/// The oracles watch what is stated too: the same entry cannot stand behind two different ones.
#[test]
fn a_broken_invariant_ends_a_script() {
    let error = run_script("cluster 3\nstate s1 term=3 log=1,3\nstate s2 term=3 log=2,3\n").unwrap_err();
    assert!(error.line == 3 && error.what.starts_with("LogMatching (§5.3, Figure 3): "), "{error}");
    // A server that has applied what another one contradicts.
    let error =
        run_script("cluster 2\nstate s1 term=1 log=1 applied=1\nstate s2 term=2 log=2 applied=1\nboot").unwrap_err();
    assert!(error.line == 4 && error.what.starts_with("StateMachineSafety (§5.4.3, Figure 3): "), "{error}");
}

/// A difference shows the command, what it says and what came out.
#[test]
fn a_difference_is_readable() {
    let golden = "cluster 1\n\nboot\n    s1 starts from applied 0\ntimeout s1\n    one\n    two\nshow\n    three\n";
    let result =
        "cluster 1\n\nboot\n    s1 starts from applied 0\ntimeout s1\n    one\n    too\n    more\nshow\n    three\n";
    let expected = "    4       s1 starts from applied 0\n    5   timeout s1\n    6       one\n    7 -     two\n      +     too\n      \
                    +     more\n        show\n            three\n";
    assert_eq!(difference(golden, result), expected);
}
