//! What the simulator promises of itself: the same run everywhere, and failures cut down to what matters.

use raft_core::sim::{Options, SHRINK_COMMANDS, heal_seed, run_script, run_seed, shrink_script};

/// The trace hashes of some seeds. `cargo test` and `cargo test --release` must both find these; they change when the order
/// of draws or the core's behaviour does, and never by themselves.
const GOLDEN: [(u64, u64); 4] =
    [(0, 0x9965_6325_cc93_3f04), (1, 0xe6b7_4838_277c_68f8), (2, 0x9bac_817f_4a85_6cd5), (1000, 0xe170_f900_f725_175a)];

#[test]
fn a_seed_leaves_the_same_trace_in_every_build() {
    let hash = |seed| run_seed(seed, Options::default()).unwrap_or_else(|failure| panic!("{failure}")).trace_hash;
    let found = GOLDEN.map(|(seed, _)| (seed, hash(seed)));
    assert_eq!(found, GOLDEN, "{found:#x?}");
}

/// Two stated histories that contradict each other, and a long story of others around them.
#[test]
fn a_failing_story_is_cut_down_to_what_breaks_it() {
    let mut story = String::from("cluster 5 heartbeat_ticks=2\nstate s1 term=1 log=1 applied=1\n");
    story += "state s2 term=2 log=2 applied=1\nboot s3 s4 s5\n";
    for _ in 0..20 {
        story += "tick s3 2\ntimeout s4\ndeliver\nstart s4 2 of 9\ndrop\ncrash s5\nboot s5\n";
    }
    story += "s3 tick 2\nboot s1\ntick 3\nboot s2\ntick 9\n";
    assert!(run_script(&story).unwrap_err().what.starts_with("StateMachineSafety"));
    let shrunk = shrink_script(&story, SHRINK_COMMANDS).expect("it breaks");
    let expected = "cluster 5\nstate s1 term=1 log=1 applied=1\nstate s2 term=2 log=2 applied=1\nboot s2\n";
    assert_eq!(shrunk.script, expected);
    assert_eq!(shrunk.commands, (149, 4));
    // What is printed breaks the same when it is pasted.
    let error = run_script(&shrunk.script).unwrap_err();
    assert!(error.line == 4 && error.what == shrunk.violation.to_string(), "{error}");
    assert!(shrunk.tries < 200, "{} tries", shrunk.tries);
}

/// A story that breaks nothing is left alone, and what there is to spend is a bound.
#[test]
fn a_sound_story_is_not_cut_down() {
    assert!(shrink_script("cluster 3\nboot\ntimeout s1\nstabilize\n", SHRINK_COMMANDS).is_none());
    let story = "cluster 2\nstate s1 term=1 log=1 applied=1\nstate s2 term=2 log=2 applied=1\ntick\nboot\n";
    assert_eq!(shrink_script(story, 0).expect("it breaks").commands, (5, 5));
}

/// A server that lost its disk under load is a voter again, without an operator, and nothing that was acknowledged is lost. The
/// long form is the example `heals`.
#[test]
fn a_lost_disk_heals_under_load() {
    let mut leaders = 0;
    for seed in 0..60 {
        let healing = heal_seed(seed).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        assert!(healing.ticks.is_some_and(|ticks| ticks < 2000), "seed {seed}: {healing:?}");
        assert!(healing.acknowledged > 50, "seed {seed}: {healing:?}");
        leaders += u64::from(healing.led);
    }
    assert!(leaders > 5, "{leaders}");
}
