//! Callers that wait for an answer of the core to something other than a command: a transfer of leadership, or a read.

use std::collections::BTreeMap;

use futures_channel::oneshot;
use raft_core::{Action, EntryId, Index, NodeId, Refusal, RequestId};

use crate::asked::Answer;
use crate::error::ReadError;

/// Each request has one answer. Dropped, this tells all callers that still wait that there will be none.
#[derive(Default)]
pub(super) struct Requests {
    transfers: BTreeMap<RequestId, oneshot::Sender<Result<NodeId, Refusal>>>,
    /// One read is for all callers that waited at the moment when it was asked.
    reads: BTreeMap<RequestId, Answer<Result<Index, ReadError>>>,
}

impl Requests {
    pub(super) fn transfer(&mut self, request: RequestId, answer: oneshot::Sender<Result<NodeId, Refusal>>) {
        self.transfers.insert(request, answer);
    }

    pub(super) fn read(&mut self, request: RequestId, answer: Answer<Result<Index, ReadError>>) {
        self.reads.insert(request, answer);
    }

    /// Another server leads.
    pub(super) fn transferred(&mut self, request: RequestId, leader: NodeId) {
        if let Some(answer) = self.transfers.remove(&request) {
            let _gone = answer.send(Ok(leader));
        }
    }

    /// The machine may be read.
    pub(super) fn readable(&mut self, request: RequestId, at: Index) {
        if let Some(answer) = self.reads.remove(&request) {
            answer.say(Ok(at));
        }
    }

    /// A request was refused, which may be a command's: that is heard elsewhere.
    pub(super) fn refused(&mut self, request: RequestId, why: Refusal) {
        if let Some(answer) = self.transfers.remove(&request) {
            let _gone = answer.send(Err(why));
        }
        if let Some(answer) = self.reads.remove(&request) {
            answer.say(Err(why.into()));
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.transfers.is_empty() && self.reads.is_empty()
    }
}

/// Whether a request was taken, by the actions of the step that asked for it: then where it stands in the log.
pub(super) fn answer_to(actions: &[Action], request: RequestId) -> Result<EntryId, Refusal> {
    let answer = actions.iter().find_map(|action| match action {
        Action::Accepted { request: accepted, first, .. } if *accepted == request => Some(Ok(*first)),
        Action::Refused { request: refused, why } if *refused == request => Some(Err(*why)),
        _ => None,
    });
    // A core that halted says nothing more.
    answer.unwrap_or(Err(Refusal::NotLeader { leader: None }))
}
