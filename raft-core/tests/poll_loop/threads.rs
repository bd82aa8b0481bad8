//! Three servers, each alone in its thread as in a process of its own: they sleep until mail comes or the clock is due.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::disk::create;
use super::driver::{Node, Outcome};
use super::{PATIENCE, Scratch, Sockets, until};
use raft_core::{Bytes, NodeId, RequestId, RoleKind};

const IDS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

type Commands = Arc<Mutex<Vec<Vec<u8>>>>;

struct Process {
    thread: JoinHandle<()>,
    commands: Sender<Bytes>,
    leads: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    applied: Commands,
}

/// Rings `bell` after each turn, and says whether a command was refused or superseded in it.
fn spawn(id: NodeId, dir: &Path, sockets: &Sockets, bell: &Sender<bool>) -> Process {
    let (commands, inbox) = channel();
    let (leads, stop, applied) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default(), Commands::default());
    let (dir, socket, peers) = (dir.to_owned(), sockets.of(id), sockets.peers());
    let (tell, stopping, record, bell) = (Arc::clone(&leads), Arc::clone(&stop), Arc::clone(&applied), bell.clone());
    let thread = thread::spawn(move || {
        let apply = Box::new(move |_, command: &[u8]| record.lock().unwrap().push(command.to_vec()));
        let mut node = Node::open(id, &dir, socket, peers, apply).unwrap();
        while !stopping.load(Ordering::Relaxed) {
            let commands = inbox.try_iter().map(|command| (RequestId(0), command)).collect();
            let outcomes = node.turn(Duration::from_secs(600), commands).unwrap();
            tell.store(node.raft().status().role() == RoleKind::Leader, Ordering::Relaxed);
            let _ = bell.send(outcomes.iter().any(|(_, outcome)| !matches!(outcome, Outcome::Applied(_))));
        }
    });
    Process { thread, commands, leads, stop, applied }
}

/// Puts a command through whoever leads until all have applied it.
fn commit(processes: &[Process], bell: &Receiver<bool>, command: &str) {
    let has = |process: &Process| process.applied.lock().unwrap().iter().any(|applied| applied == command.as_bytes());
    let mut asked = None;
    until(&format!("all {} apply: {command}", processes.len()), || {
        let leader = processes.iter().position(|process| process.leads.load(Ordering::Relaxed));
        if let Some(leader) = leader.filter(|_| asked != leader) {
            asked = Some(leader);
            processes[leader].commands.send(Bytes::copy_from_slice(command.as_bytes())).unwrap();
        }
        if bell.recv_timeout(PATIENCE).expect("some turn ends") {
            asked = None;
        }
        processes.iter().all(has)
    });
}

#[test]
fn loops_that_sleep_wake_for_mail_and_for_the_clock() {
    let (scratch, sockets) = (Scratch::new(), Sockets::new(3));
    let (ring, bell) = channel();
    let mut processes = vec![];
    for id in IDS {
        create(&scratch.dir(id), id, &IDS).unwrap();
        processes.push(spawn(id, &scratch.dir(id), &sockets, &ring));
    }
    commit(&processes, &bell, "by all");
    let leader = processes.iter().position(|process| process.leads.load(Ordering::Relaxed)).unwrap_or(0);
    let dead = processes.remove(leader);
    dead.stop.store(true, Ordering::Relaxed);
    dead.thread.join().unwrap();
    commit(&processes, &bell, "by two");
    processes.insert(leader, spawn(IDS[leader], &scratch.dir(IDS[leader]), &sockets, &ring));
    commit(&processes, &bell, "by all again");
    until("all have applied the same", || {
        bell.recv_timeout(PATIENCE).expect("some turn ends");
        let lists: Vec<_> = processes.iter().map(|process| process.applied.lock().unwrap().clone()).collect();
        lists.iter().all(|list| *list == lists[0])
    });
    for process in processes {
        process.stop.store(true, Ordering::Relaxed);
        process.thread.join().unwrap();
    }
}
