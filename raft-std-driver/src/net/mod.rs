//! The connections between servers, without sockets: bytes go in and come out, time is an argument. Nothing in here has a
//! thread, a lock, a clock or a file; the same calls give the same bytes.
//!
//! A [`Link`] is one stream between two servers, plain or TLS. An [`Outbox`] is what waits for one peer; it outlives the
//! links. An event loop owns the sockets, and passes bytes between them and their links.
//!
//! # The life of one connection
//!
//! Server 1 has connected a socket to server 2, and both made a link of their end.
//!
//! 1. [`Link::dial`] has the hello ready. The loop writes what [`unsent`](Link::unsent) gives, in one vectored write, and
//!    says how much was [`written`](Link::written).
//! 2. On server 2, after [`Link::accept`], the loop reads the socket into [`room`](Link::room), says how much was
//!    [`received`](Link::received), and calls [`next`](Link::next) until there is nothing: [`Heard::Hello`]. Cluster,
//!    birth, receiver and certificate have been checked by then. The server knows the peer: [`admit`](Link::admit).
//! 3. Server 1 hears [`Heard::Admitted`]. From now on [`Outbox::fill`] moves frames into the link, as long as less than
//!    `batch_bytes` wait there, and the loop writes them.
//! 4. Server 2 hears a [`Heard::Frame`] for each, and now and then [`Heard::Arriving`] while a long one is on its way.
//! 5. After each of these calls the loop looks at [`wants_read`](Link::wants_read), [`wants_write`](Link::wants_write) and
//!    [`due`](Link::due): at that time it calls [`expire`](Link::expire).
//! 6. If a write fails, the loop reads once more before it gives up: the other end's last words may be there.
//! 7. An error says why the link ends, once. The socket is closed when the link [`is_over`](Link::is_over): at once, or
//!    when its last words have been written and heard, for 200 ms at most.
//!
//! A snapshot travels on a link of its own ([`Channel::Snapshot`]). Once admitted, server 1 [offers](Link::offer) it, hears
//! [`Heard::Wanted`], and only then reads the file, as many bytes at a time as [`wants_chunk`](Link::wants_chunk) asks for,
//! for [`chunk`](Link::chunk). Server 2 hears [`Heard::Offer`] and [takes](Link::take) it or [fails](Link::fail), hears a
//! [`Heard::Chunk`] at a time, at most two before the first is [`stored`](Link::stored), and when the link
//! [`is_complete`](Link::is_complete), makes the snapshot durable and [confirms](Link::confirm). Server 1 hears
//! [`Heard::Stored`].
//!
//! A file here imports only files above it: `wire`, `trouble`, `limits`, `input`, `output`, `encryption`, `session`, `handshake`,
//! `sending`, `receiving`, `state`, `link`, `outbox`.

#[cfg(feature = "tls")]
mod encryption;
mod handshake;
mod input;
mod limits;
mod link;
mod outbox;
mod output;
mod receiving;
mod sending;
mod session;
mod state;
mod trouble;
pub mod wire;

#[cfg(test)]
mod tests;

pub use limits::LinkConfig;
pub use link::Link;
pub use outbox::{Outbox, Posted, Urgency};
pub use output::{Frame, Tail};
pub use session::Security;
pub use state::Heard;
pub use trouble::{Awaited, Trouble};
pub use wire::{Channel, Hello, Offer, Refusal};
