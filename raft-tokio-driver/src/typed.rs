//! Commands and answers of one's own types, instead of bytes.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;

use raft_std_driver::machine::typed::{self, Application, CodecError};
use raft_std_driver::raft_core::{EntryId, NodeId};
use raft_std_driver::{NodeError, NodeStatus, SnapshotError};
use tokio::sync::watch;

use crate::error::StartError;
use crate::node::Node;
use crate::watching::{Events, Standing};

/// A [`Node`] whose commands and answers are those of an [`Application`]. All that the node can do, it can do as well, but
/// for one thing: it takes no bytes. A command that is none of the application's would stop every server that has it in its
/// log, at each of its starts; so a typed node cannot be used as one of bytes, not even by mistake:
///
/// ```compile_fail,E0308
/// # use raft_tokio_driver::{Application, Node, TypedNode};
/// # async fn example<A: Application>(node: TypedNode<A>) {
/// async fn greet(node: &Node) {
///     let _ = node.start("hello").await;
/// }
/// greet(&node).await;
/// # }
/// ```
///
/// [`Typed`](crate::Typed) says what to do if there is such a command all the same.
pub struct TypedNode<A> {
    node: Node,
    application: PhantomData<fn() -> A>,
}

impl<A> Clone for TypedNode<A> {
    fn clone(&self) -> Self {
        TypedNode { node: self.node.clone(), application: PhantomData }
    }
}

impl<A> fmt::Debug for TypedNode<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.fmt(f)
    }
}

/// Why a command has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypedError {
    /// The node says why.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The command cannot be written as bytes, or not be read again, which would stop every server; nothing was started.
    #[error("the command cannot be written, nothing was started: {0}")]
    Command(CodecError),
    /// The command was applied, and its answer cannot be read as the type that it should have.
    #[error("applied, but the answer cannot be read: {0}")]
    Response(CodecError),
}

impl TypedError {
    /// Whether the command may have taken effect all the same, as far as is known: one whose answer cannot be read has. If
    /// not, it is safe to start it again.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self {
            TypedError::Start(why) => why.may_have_happened(),
            TypedError::Command(_) => false,
            TypedError::Response(_) => true,
        }
    }

    /// Who leads, if that is what was wrong and this server knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        match self {
            TypedError::Start(why) => why.leader(),
            TypedError::Command(_) | TypedError::Response(_) => None,
        }
    }
}

impl<A: Application> TypedNode<A> {
    pub(crate) fn new(node: Node) -> TypedNode<A> {
        TypedNode { node, application: PhantomData }
    }

    /// Put a command into the log, if this server leads, and wait for the application's answer. See [`Node::start`].
    ///
    /// # Errors
    /// What became of it, and what to do then.
    pub fn start(
        &self,
        command: &A::Command,
    ) -> impl Future<Output = Result<A::Response, TypedError>> + Send + use<'_, A> {
        // Written at once: the future holds on to bytes only, whatever the command's type is.
        let command = typed::encode_readable(command).map_err(TypedError::Command);
        async move {
            let answer = self.node.start(command?).await?;
            typed::decode(&answer).map_err(TypedError::Response)
        }
    }

    /// Many at once. See [`Node::start_all`].
    ///
    /// # Errors
    /// If one of the commands cannot be written as bytes, or not be read again: then none is started. What became of each
    /// is in what is returned.
    pub fn start_all<'a, I>(
        &self,
        commands: I,
    ) -> impl Future<Output = Result<Vec<Result<A::Response, TypedError>>, CodecError>> + Send + use<'_, 'a, A, I>
    where
        A::Command: 'a,
        I: IntoIterator<Item = &'a A::Command>,
    {
        let commands = commands.into_iter().map(typed::encode_readable).collect::<Result<Vec<_>, _>>();
        async move {
            let answers = self.node.start_all(commands?).await;
            Ok(answers.into_iter().map(|answer| typed::decode(&answer?).map_err(TypedError::Response)).collect())
        }
    }
}

/// What the node can do whatever its commands are.
impl<A> TypedNode<A> {
    /// See [`Node::id`].
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.node.id()
    }

    /// See [`Node::local_addr`].
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.node.local_addr()
    }

    /// See [`Node::status`].
    pub async fn status(&self) -> NodeStatus {
        self.node.status().await
    }

    /// See [`Node::watch`].
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Standing> {
        self.node.watch()
    }

    /// See [`Node::events`].
    #[must_use]
    pub fn events(&self) -> Events {
        self.node.events()
    }

    /// See [`Node::snapshot`].
    ///
    /// # Errors
    /// If the node stops before, or if awaited [within its own machine](Node#within-its-own-state-machine).
    pub async fn snapshot(&self) -> Result<EntryId, SnapshotError> {
        self.node.snapshot().await
    }

    /// See [`Node::shutdown`].
    ///
    /// # Errors
    /// The cause, if the node had failed.
    pub async fn shutdown(&self) -> Result<(), NodeError> {
        self.node.shutdown().await
    }

    /// See [`Node::stopped`].
    ///
    /// # Errors
    /// The cause, if it failed.
    pub async fn stopped(&self) -> Result<(), NodeError> {
        self.node.stopped().await
    }
}
