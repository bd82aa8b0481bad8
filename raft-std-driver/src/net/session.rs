//! Between a stream's plaintext and what its socket carries: the same bytes, or TLS.

use std::io::IoSlice;

use raft_core::NodeId;

use super::input::Input;
use super::output::Output;
use super::trouble::Trouble;

/// Whether connections are made safe, and by which certificates.
#[derive(Clone, Debug)]
pub enum Security {
    /// No: whoever reaches the port can read and write.
    Open,
}

/// One connection's share of that.
pub(super) enum Session {
    Plain,
}

impl Session {
    pub(super) fn dial(security: &Security, _peer: NodeId) -> Result<Session, Trouble> {
        match security {
            Security::Open => Ok(Session::Plain),
        }
    }

    pub(super) fn accept(security: &Security) -> Result<Session, Trouble> {
        match security {
            Security::Open => Ok(Session::Plain),
        }
    }

    /// Where the socket is read into: `input` itself if nothing needs to be decrypted.
    pub(super) fn room<'a>(&'a mut self, input: &'a mut Input) -> &'a mut [u8] {
        match self {
            Session::Plain => input.room(),
        }
    }

    pub(super) fn has_room(&self, input: &Input) -> bool {
        match self {
            Session::Plain => input.has_room(),
        }
    }

    pub(super) fn filled(&mut self, input: &mut Input, count: usize) {
        match self {
            Session::Plain => input.filled(count),
        }
    }

    /// Decrypt more of what has come. Returns whether there was any.
    pub(super) fn decrypt(&mut self, _input: &mut Input) -> Result<bool, Trouble> {
        match self {
            Session::Plain => Ok(false),
        }
    }

    /// Encrypt what waits to be written, as far as there is room.
    pub(super) fn encrypt(&mut self, _output: &mut Output) {
        match self {
            Session::Plain => {}
        }
    }

    /// Whether anybody can read along.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Session::Plain => true,
        }
    }

    /// Whether both ends have shown their certificates.
    pub(super) fn is_secure(&self) -> Result<bool, Trouble> {
        match self {
            Session::Plain => Ok(true),
        }
    }

    /// Whether the other end may speak for `claimed`.
    pub(super) fn check_name(&self, _claimed: NodeId) -> Result<(), Trouble> {
        match self {
            Session::Plain => Ok(()),
        }
    }

    /// How many encrypted bytes wait to be written.
    pub(super) fn pending(&self) -> usize {
        match self {
            Session::Plain => 0,
        }
    }

    pub(super) fn slices<'a>(&'a self, output: &'a Output, slices: &mut Vec<IoSlice<'a>>) {
        match self {
            Session::Plain => output.slices(slices),
        }
    }

    pub(super) fn written(&mut self, output: &mut Output, count: usize) {
        match self {
            Session::Plain => output.written(count),
        }
    }
}
