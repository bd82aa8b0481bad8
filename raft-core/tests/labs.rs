//! The labs' tests (`docs/labs.md`) on the simulator, in virtual time. Each prints its figures when it has passed; see them
//! with `cargo test -p raft-core --test labs -- --nocapture`. `SEEDS=100` runs each with so many seeds, from `FIRST` on.

#[path = "labs/suite/mod.rs"]
mod suite;
#[path = "labs/virtual_time.rs"]
mod virtual_time;

use virtual_time::Virtual;

macro_rules! tests {
    ($($part:ident { $($name:ident),* $(,)? })*) => {
        $(mod $part {
            $(#[test]
            fn $name() {
                crate::virtual_time::for_each_seed(crate::suite::$part::$name::<crate::Virtual>);
            })*
        })*
    };
}

tests! {
    election {
        initial_election,
        election_after_network_failure,
        many_elections,
    }
    log {
        basic_agreement,
        rpc_byte_count,
        progressive_failure_of_followers,
        failure_of_leaders,
        agreement_after_follower_reconnects,
        no_agreement_if_too_many_followers_disconnect,
        concurrent_starts,
        rejoin_of_partitioned_leader,
        leader_backs_up_quickly_over_incorrect_follower_logs,
        rpc_counts_are_not_too_high,
    }
    persistence {
        basic_persistence,
        more_persistence,
        partitioned_leader_and_one_follower_crash_leader_restarts,
        figure_8,
        unreliable_agreement,
        figure_8_unreliable,
        churn,
        unreliable_churn,
    }
    compaction {
        snapshots_basic,
        install_snapshots_disconnect,
        install_snapshots_disconnect_unreliable,
        install_snapshots_crash,
        install_snapshots_crash_unreliable,
        crash_and_restart_all_servers,
        snapshot_initialization_after_crash,
        snapshot_for_a_follower_that_was_away,
    }
}
