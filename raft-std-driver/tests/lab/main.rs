//! The labs' tests (`docs/labs.md`) on real threads, in real time, over the labs' network: the bodies that `raft-core` runs
//! in virtual time. Each prints its figures when it has passed. Those that take long are ignored by default; all of them:
//! `cargo test --release -p raft-std-driver --test lab -- --include-ignored --nocapture`.

#[path = "../../../raft-core/tests/labs/suite/mod.rs"]
mod suite;

mod real_time;
mod service;

macro_rules! tests {
    ($($part:ident { $($(#[$ignore:ident])? $name:ident),* $(,)? })*) => {
        $(mod $part {
            $(#[test]
            $(#[$ignore = "takes long in real time"])?
            fn $name() {
                crate::suite::$part::$name::<crate::real_time::RealTime>();
            })*
        })*
    };
}

tests! {
    election {
        initial_election,
        #[ignore] election_after_network_failure,
        #[ignore] many_elections,
    }
    log {
        basic_agreement,
        rpc_byte_count,
        #[ignore] progressive_failure_of_followers,
        #[ignore] failure_of_leaders,
        #[ignore] agreement_after_follower_reconnects,
        #[ignore] no_agreement_if_too_many_followers_disconnect,
        concurrent_starts,
        #[ignore] rejoin_of_partitioned_leader,
        #[ignore] leader_backs_up_quickly_over_incorrect_follower_logs,
        rpc_counts_are_not_too_high,
    }
    persistence {
        basic_persistence,
        #[ignore] more_persistence,
        #[ignore] partitioned_leader_and_one_follower_crash_leader_restarts,
        #[ignore] figure_8,
        #[ignore] unreliable_agreement,
        #[ignore] figure_8_unreliable,
        #[ignore] churn,
        #[ignore] unreliable_churn,
    }
    compaction {
        snapshots_basic,
        #[ignore] install_snapshots_disconnect,
        #[ignore] install_snapshots_disconnect_unreliable,
        #[ignore] install_snapshots_crash,
        #[ignore] install_snapshots_crash_unreliable,
        #[ignore] crash_and_restart_all_servers,
        snapshot_initialization_after_crash,
        snapshot_for_a_follower_that_was_away,
    }
}
