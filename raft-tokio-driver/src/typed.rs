//! Commands and answers of one's own types, instead of bytes.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use raft_std_driver::machine::typed::{self, Application, CodecError};

use crate::error::StartError;
use crate::node::Node;

/// A [`Node`] whose commands and answers are those of an [`Application`]; everything else is the node's, to which it
/// dereferences.
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

impl<A> Deref for TypedNode<A> {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

/// Why a command has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// If one of the commands cannot be written as bytes, or not be read again: then none is started. What became of each is in what is returned.
    pub async fn start_all(
        &self,
        commands: impl IntoIterator<Item = &A::Command>,
    ) -> Result<Vec<Result<A::Response, TypedError>>, CodecError> {
        let commands = commands.into_iter().map(typed::encode_readable).collect::<Result<Vec<_>, _>>()?;
        let answers = self.node.start_all(commands).await;
        Ok(answers.into_iter().map(|answer| typed::decode(&answer?).map_err(TypedError::Response)).collect())
    }
}
