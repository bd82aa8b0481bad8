//! Each scenario under some thousands of schedules; `SEEDS=1000 cargo test -p raft-schedules` tries more.

use raft_schedules::{explore, scenarios};

macro_rules! explored {
    ($($module:ident::$name:ident)*) => {
        $(
            #[test]
            fn $name() {
                explore(stringify!($name), scenarios::$module::$name);
            }
        )*
    };
}

explored! {
    inbox::senders_get_in_in_the_order_of_coming
    inbox::a_closed_inbox_sends_everyone_home
    inbox::who_gives_up_keeps_nobody_out
    inbox::refusals_give_back_their_room
    queue::what_is_pushed_is_taken_or_left_over
    queue::a_loud_push_brings_the_quiet_ones
    node::everyone_is_answered
    node::a_node_that_stops_leaves_nobody_waiting
    node::the_last_handle_stops_it
    node::a_node_that_fails_leaves_nobody_waiting
    tokio::the_end_is_the_last_event
    tokio::a_watch_ends_with_its_node
}
