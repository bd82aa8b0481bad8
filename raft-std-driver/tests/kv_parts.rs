//! The unit tests inside the files of the example `kv` that need no server: an example's own tests are not run.
#![allow(dead_code, unreachable_pub)]

#[path = "../examples/kv/load.rs"]
mod load;
#[path = "../examples/kv/machine.rs"]
mod machine;
#[path = "../examples/kv/progress.rs"]
mod progress;
#[path = "../examples/kv/protocol.rs"]
mod protocol;
