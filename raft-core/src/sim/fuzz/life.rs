//! What a server lives through, from a start to its end.

use std::vec::Vec;

use crate::{Action, Config, Event, NodeId, Raft, RestoreError, Restored};

/// What a server is made of when it starts.
#[derive(Clone, Debug)]
pub struct Birth {
    /// Its settings.
    pub config: Config,
    /// What its disk and its application kept.
    pub restored: Restored,
    /// The election timeout of a server that throws no dice, in ticks.
    pub timeout: Option<u32>,
}

impl Birth {
    /// The server.
    ///
    /// # Errors
    /// As [`Raft::new`].
    pub fn server(self) -> Result<Raft, RestoreError> {
        let mut raft = Raft::new(self.config, self.restored)?;
        if let Some(ticks) = self.timeout {
            raft.fix_election_timeouts(ticks);
        }
        Ok(raft)
    }
}

/// What comes to a server.
#[derive(Clone, Debug)]
pub enum Feed {
    /// Through its door.
    Event(Event),
    /// Its election timer is to run out after so many ticks: in tests, which throw no dice.
    Timeout(u32),
}

impl Feed {
    /// Let it come.
    pub fn to(self, raft: &mut Raft, actions: &mut Vec<Action>) {
        match self {
            Feed::Event(event) => raft.step_into(event, actions),
            Feed::Timeout(ticks) => raft.set_election_timeout(ticks),
        }
    }
}

/// One life of a server.
#[derive(Clone, Debug)]
pub struct Life {
    /// How it began.
    pub birth: Birth,
    /// What came, and what the server wanted done about it.
    pub steps: Vec<(Feed, Vec<Action>)>,
}

impl Life {
    /// Whose life it is.
    #[must_use]
    pub fn server(&self) -> NodeId {
        self.birth.config.id
    }
}

/// Writes lives down, if anybody wants them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(pub(crate) Option<Vec<Life>>);

impl Recorder {
    pub(crate) fn started(&mut self, birth: &Birth) {
        if let Some(lives) = &mut self.0 {
            lives.push(Life { birth: birth.clone(), steps: Vec::new() });
        }
    }

    pub(crate) fn fed(&mut self, server: NodeId, feed: impl FnOnce() -> Feed) {
        if let Some(life) = self.current(server) {
            life.steps.push((feed(), Vec::new()));
        }
    }

    /// What came of the last that was fed.
    pub(crate) fn answered(&mut self, server: NodeId, actions: &[Action]) {
        if let Some((_, answer)) = self.current(server).and_then(|life| life.steps.last_mut()) {
            answer.extend_from_slice(actions);
        }
    }

    fn current(&mut self, server: NodeId) -> Option<&mut Life> {
        self.0.as_mut()?.iter_mut().rev().find(|life| life.server() == server)
    }
}
