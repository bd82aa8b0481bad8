//! What the fuzz targets (`fuzz/`) share with tests, and what their seeds are made of: the lives of servers in scripts.
//!
//! Reading order: `life` (what is recorded), `input` (a life as bytes, and back), `log` (the log beside its naive twin).

mod input;
mod life;
mod log;

pub use input::{STATED, decode_birth, decode_feed, encode_life};
pub(crate) use life::Recorder;
pub use life::{Birth, Feed, Life};
pub use log::{LogOperation, Sketch, check_log, decode_log_operations, encode_log_operations};

pub use super::chaos::bytes_of_seed;
pub use super::script::lives_of_script;
