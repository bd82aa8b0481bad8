//! From nothing to a replicated state machine of one's own: a counter on three servers, over TCP, kept on disk.
//!
//! `cargo run --release -p raft-tokio-driver --example counter`

use std::error::Error;
use std::net::TcpListener;
use std::time::Duration;

use raft_tokio_driver::{Application, Node, StartError, TypedError, TypedNode};
use serde::{Deserialize, Serialize};

/// What is replicated.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Counter(i64);

/// What clients can ask for.
#[derive(Serialize, Deserialize)]
enum Command {
    Add(i64),
    Get,
}

impl Application for Counter {
    type Command = Command;
    type Response = i64;

    fn apply(&mut self, command: Command) -> i64 {
        match command {
            Command::Add(amount) => self.0 = self.0.wrapping_add(amount),
            Command::Get => {}
        }
        self.0
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Elsewhere each server is a process of its own, and reads these from its configuration.
    let (directory, mut members, mut ports) = (tempfile::tempdir()?, Vec::new(), Vec::new());
    for id in 1..=3_u64 {
        let port = TcpListener::bind("127.0.0.1:0")?;
        members.push((id, port.local_addr()?.to_string()));
        ports.push((id, port));
    }

    let mut servers = Vec::new();
    for (id, port) in ports {
        let builder = Node::builder().id(id).members(members.clone()).listener(port);
        let builder = builder.create(directory.path().join(id.to_string()));
        servers.push(builder.start_typed(Counter::default()).await?);
    }
    for amount in [20, 22] {
        println!("add {amount}: {}", ask(&servers, Command::Add(amount)).await?);
    }

    let leader = servers[0].watch().wait_for(|now| now.leader.is_some()).await?.leader.ok_or("nobody leads")?;
    let at = servers.iter().position(|server| server.id() == leader).ok_or("who is that?")?;
    servers.remove(at).shutdown().await?;
    println!("server {leader} led, and is gone");

    let counter = ask(&servers, Command::Get).await?;
    println!("the counter is {counter}");
    assert_eq!(counter, 42);
    Ok(())
}

/// Ask one after the other, until the one that leads answers.
async fn ask(servers: &[TypedNode<Counter>], command: Command) -> Result<i64, TypedError> {
    for server in servers.iter().cycle() {
        match server.start(&command).await {
            Err(TypedError::Start(StartError::NotLeader { .. })) => tokio::time::sleep(Duration::from_millis(10)).await,
            answer => return answer,
        }
    }
    Err(StartError::ShutDown.into())
}

#[test]
fn it_counts() {
    main().unwrap();
}
