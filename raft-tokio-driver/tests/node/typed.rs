//! Commands and answers of one's own types, also of those that postcard cannot carry.

use std::cell::Cell;
use std::collections::BTreeMap;

use raft_std_driver::raft_core::{Membership, NodeId};
use raft_std_driver::storage::mem::MemDisk;
use raft_std_driver::storage::{Birth, ClusterId};
use raft_tokio_driver::transport::LocalNetwork;
use raft_tokio_driver::{Application, BuildError, Builder, Node, RoleKind, StartError, TypedError, TypedNode};
use serde::{Deserialize, Serialize};

use crate::cluster::{Ledger, in_time};
use crate::commands::sendable;

#[derive(Clone, Default, Serialize, Deserialize)]
struct Sum(u64);

/// Not to be shared by threads, which is nobody's concern: futures hold bytes.
#[derive(Clone, Serialize, Deserialize)]
enum Command {
    Add(u64),
    Count(Cell<u64>),
    Odd(Odd),
    Parts,
}

/// Can be written and not be read.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Odd {
    Number(u64),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Answer {
    Sum(u64),
    Parts(Parts),
}

/// Cannot even be written.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Parts {
    #[serde(flatten)]
    parts: BTreeMap<String, u64>,
}

impl Application for Sum {
    type Command = Command;
    type Response = Answer;

    fn apply(&mut self, command: Command) -> Answer {
        match command {
            Command::Add(amount) | Command::Odd(Odd::Number(amount)) => self.0 += amount,
            Command::Count(amount) => self.0 += amount.get(),
            Command::Parts => return Answer::Parts(Parts { parts: [("sum".to_owned(), self.0)].into() }),
        }
        Answer::Sum(self.0)
    }
}

/// One member, with all but what it replicates.
fn builder() -> Builder {
    let id = NodeId(1);
    let disk = MemDisk::new(Birth::founder(ClusterId(1), id, Membership::new([id])).with_incarnation(101));
    let builder = Node::builder().id(1).cluster(1).storage(disk.open().unwrap());
    // Tests name indexes.
    builder.transport(LocalNetwork::new().attach(id)).tune(|config| config.raft.record_disks = false)
}

/// One that leads.
async fn alone() -> TypedNode<Sum> {
    let node = builder().start_typed(Sum::default()).await.unwrap();
    in_time("it leads", node.watch().wait_for(|now| now.role == RoleKind::Leader)).await.unwrap();
    node
}

#[tokio::test]
async fn what_cannot_be_read_is_not_started_and_an_answer_that_cannot_be_told_harms_nobody() {
    let node = alone().await;
    let add = [Command::Add(1), Command::Add(2)];
    let sums = in_time("answers", node.start_all(&add)).await.unwrap();
    assert_eq!(sums, [Ok(Answer::Sum(1)), Ok(Answer::Sum(3))]);

    let odd = Command::Odd(Odd::Number(10));
    let error = in_time("an error", node.start(&odd)).await.unwrap_err();
    assert!(matches!(error, TypedError::Command(_)) && !error.may_have_happened(), "{error}");
    assert!(in_time("an error", node.start_all([&add[0], &odd])).await.is_err());

    let error = in_time("an error", node.start(&Command::Parts)).await.unwrap_err();
    assert!(matches!(error, TypedError::Response(_)) && error.may_have_happened(), "{error}");
    assert_eq!(in_time("it goes on", node.start(&Command::Add(4))).await, Ok(Answer::Sum(7)));
    node.shutdown().await.unwrap();
    assert_eq!(node.start(&Command::Add(1)).await, Err(StartError::ShutDown.into()));
}

#[tokio::test]
async fn its_futures_can_be_sent_whatever_the_commands_are() {
    let (node, count) = (alone().await, Command::Count(Cell::new(2)));
    assert_eq!(in_time("an answer", sendable(node.start(&count))).await, Ok(Answer::Sum(2)));
    let sums = in_time("answers", sendable(node.start_all([&count, &count]))).await.unwrap();
    assert_eq!(sums, [Ok(Answer::Sum(4)), Ok(Answer::Sum(6))]);
}

/// What the node can do without commands.
#[tokio::test]
async fn it_can_do_what_the_node_can() {
    let node = alone().await;
    assert_eq!((node.id(), node.local_addr()), (NodeId(1), None));
    let mut events = node.events();
    in_time("an answer", node.start(&Command::Add(1))).await.unwrap();
    assert_eq!(in_time("a snapshot", node.snapshot()).await.unwrap().index.0, 2);
    assert!(in_time("an event", events.next()).await.is_some());
    let (other, status) = (node.clone(), node.status().await);
    assert_eq!((status.leader, status.snapshot.last.index.0), (Some(node.id()), 2));
    in_time("shutdown", other.shutdown()).await.unwrap();
    in_time("the end", node.stopped()).await.unwrap();
}

/// Only one of them would come into force.
#[tokio::test]
async fn a_machine_and_a_state_are_two_machines() {
    let error = builder().machine(Ledger::default()).start_typed(Sum::default()).await.unwrap_err();
    assert!(matches!(error, BuildError::TwoMachines), "{error:?}");
}

#[test]
fn errors_say_where_to_go_and_whether_it_may_have_happened() {
    let elsewhere = TypedError::from(StartError::NotLeader { leader: Some(NodeId(7)) });
    assert_eq!((elsewhere.leader(), elsewhere.may_have_happened()), (Some(NodeId(7)), false));
    let unknown = TypedError::from(StartError::Unknown);
    assert_eq!((unknown.leader(), unknown.may_have_happened()), (None, true));
}
