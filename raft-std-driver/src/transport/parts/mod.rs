//! What any transport needs that keeps connections to its peers, apart from sockets, threads and tasks: what waits for a
//! peer, when to try again, who is let in, how frames come out of bytes. The TCP transports of both drivers are made of
//! these, so that they behave alike; one of your own can be as well.
//!
//! Nothing here blocks. What has to be waited for is a future; a thread can wait for it by
//! [`block_on`](crate::workers::block_on).

mod attempts;
mod config;
mod frames;
mod greeting;
mod lines;
mod mailbox;
mod peer;
mod place;
mod snapshot;
mod trouble;

pub use attempts::{Attempts, Backoff};
pub use config::{BindError, TcpConfig};
pub use frames::{ARRIVING_PAUSE, Frames, put_messages, reuse};
pub use greeting::Unwelcome;
pub use lines::Lines;
pub use mailbox::{Limits, Mailbox, Posted};
pub use peer::{Peer, Peers, shut_down};
pub use place::{Cut, Entering, Lobby, Occupied, Slot, Waiting};
pub use snapshot::{Chunks, Receiving, Sending, Transfer, expect, put_offer};
pub use trouble::Trouble;

pub use crate::queue::lock;
pub use crate::socket::prepare;
pub use crate::told::{TOLD_AGAIN_AFTER, Telling, Told};
pub use crate::workers::panic_message;
