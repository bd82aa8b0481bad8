//! Between a stream's plaintext and what its socket carries: the same bytes, or TLS.

use std::io::IoSlice;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::Instant;

use raft_core::NodeId;

#[cfg(feature = "tls")]
use super::encryption::Encryption;
use super::input::Input;
use super::output::Output;
use super::trouble::Trouble;
#[cfg(feature = "tls")]
use crate::tls::Credentials;

/// Whether connections are made safe, and by which certificates.
#[derive(Clone, Debug)]
pub enum Security {
    /// No: whoever reaches the port can read and write.
    Open,
    /// By TLS; both ends show certificates. A link keeps these as long as it lives.
    #[cfg(feature = "tls")]
    Tls(Arc<Credentials>),
}

/// One connection's share of that.
pub(super) enum Session {
    Open,
    #[cfg(feature = "tls")]
    Tls(Box<Encryption>),
}

#[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "only TLS looks at all of them"))]
impl Session {
    pub(super) fn dial(security: &Security, peer: NodeId) -> Result<Session, Trouble> {
        match security {
            Security::Open => Ok(Session::Open),
            #[cfg(feature = "tls")]
            Security::Tls(credentials) => Ok(Session::Tls(Box::new(Encryption::dial(credentials, peer)?))),
        }
    }

    pub(super) fn accept(security: &Security) -> Result<Session, Trouble> {
        match security {
            Security::Open => Ok(Session::Open),
            #[cfg(feature = "tls")]
            Security::Tls(credentials) => Ok(Session::Tls(Box::new(Encryption::accept(credentials)?))),
        }
    }

    /// Whether anybody can read along.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Session::Open)
    }

    /// Where the socket is read into: `input` itself if nothing needs to be decrypted.
    pub(super) fn room<'a>(&'a mut self, input: &'a mut Input) -> &'a mut [u8] {
        match self {
            Session::Open => input.room(),
            #[cfg(feature = "tls")]
            Session::Tls(encryption) => encryption.room(),
        }
    }

    pub(super) fn has_room(&self, input: &Input) -> bool {
        match self {
            Session::Open => input.has_room(),
            #[cfg(feature = "tls")]
            Session::Tls(encryption) => encryption.has_room(),
        }
    }

    pub(super) fn filled(&mut self, input: &mut Input, count: usize, now: Instant) {
        match self {
            Session::Open => input.filled(count),
            #[cfg(feature = "tls")]
            Session::Tls(encryption) => encryption.filled(count, now),
        }
    }

    /// When the encrypted record began of which a part has come.
    pub(super) fn record_began(&self) -> Option<Instant> {
        match self {
            Session::Open => None,
            #[cfg(feature = "tls")]
            Session::Tls(encryption) => encryption.record_began(),
        }
    }

    /// Decrypt more of what has come. Returns whether there was any.
    pub(super) fn decrypt(&mut self, input: &mut Input) -> Result<bool, Trouble> {
        match self {
            Session::Open => Ok(false),
            #[cfg(feature = "tls")]
            Session::Tls(encryption) => encryption.decrypt(input),
        }
    }

    /// Encrypt what waits to be written, as far as there is room.
    pub(super) fn encrypt(&mut self, output: &mut Output) {
        match self {
            Session::Open => {}
            #[cfg(feature = "tls")]
            Session::Tls(encryption) => encryption.encrypt(output),
        }
    }

    /// Whether both ends have shown their certificates, and if it has been dialed, that of `peer`.
    pub(super) fn is_secure(&mut self, peer: Option<NodeId>) -> Result<bool, Trouble> {
        match self {
            Session::Open => Ok(true),
            #[cfg(feature = "tls")]
            Session::Tls(encryption) => encryption.is_secure(peer),
        }
    }

    /// Whether the other end may speak for `claimed`.
    pub(super) fn check_name(&self, claimed: NodeId) -> Result<(), Trouble> {
        match self {
            Session::Open => Ok(()),
            #[cfg(feature = "tls")]
            Session::Tls(encryption) => encryption.check_name(claimed),
        }
    }

    /// How many encrypted bytes wait to be written.
    pub(super) fn pending(&self) -> usize {
        match self {
            Session::Open => 0,
            #[cfg(feature = "tls")]
            Session::Tls(encryption) => encryption.pending().len(),
        }
    }

    /// What is to be written.
    pub(super) fn slices<'a>(&'a self, output: &'a Output, slices: &mut Vec<IoSlice<'a>>) {
        match self {
            Session::Open => output.slices(slices),
            #[cfg(feature = "tls")]
            Session::Tls(encryption) if encryption.pending().is_empty() => {}
            #[cfg(feature = "tls")]
            Session::Tls(encryption) => slices.push(IoSlice::new(encryption.pending())),
        }
    }

    pub(super) fn written(&mut self, output: &mut Output, count: usize) {
        match self {
            Session::Open => output.written(count),
            #[cfg(feature = "tls")]
            Session::Tls(encryption) => encryption.written(count),
        }
    }
}
