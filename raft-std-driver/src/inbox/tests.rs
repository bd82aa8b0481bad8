use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::task::Context;
use std::time::Duration;

use raft_core::{Entries, Entry, Incarnation, Index, Payload, Term};

use super::*;
use crate::workers::{block_on, block_on_until};

fn message(rpc: Rpc) -> Message {
    Message { term: Term(1), incarnation: Incarnation(1), rpc }
}

fn append(bytes: usize) -> Message {
    let entry = Entry { term: Term(1), payload: Payload::Command(vec![0; bytes].into()) };
    let entries = Entries::from_vec(Index(1), vec![entry]).unwrap();
    let (prev, commit) = (EntryId::ZERO, Index(0));
    message(Rpc::AppendEntries { prev, entries, commit, round: 1, reply: true })
}

fn take(inbox: &Inbox, mail: &mut Mail) -> bool {
    block_on(poll_fn(|context| inbox.poll_take(context, mail)))
}

/// Whether it got in: who does not is heard of at once.
fn submit(inbox: &Inbox, mut submission: Submission, caller: Caller) -> bool {
    let heard = Arc::new(AtomicBool::new(false));
    let hears = Arc::clone(&heard);
    submission.waiter = Waiter::calling(Box::new(move |_| hears.store(true, Ordering::SeqCst)));
    block_on(inbox.submit([submission], caller));
    !heard.load(Ordering::SeqCst)
}

fn submission(bytes: usize) -> Submission {
    Submission { command: vec![0; bytes].into(), waiter: Waiter::calling(Box::new(|_| {})) }
}

#[test]
fn entries_from_peers_are_dropped_above_the_limit_and_nothing_else() {
    let inbox = Inbox::new(1000);
    let (from, vote) = (NodeId(2), message(Rpc::PreVote { last: EntryId::ZERO }));
    assert!(inbox.message(from, append(900)) && inbox.message(from, append(900)), "the limit is on what waits");
    assert!(!inbox.message(from, append(1)));
    assert!(inbox.message(from, vote.clone()));
    let mut mail = Mail::default();
    assert!(take(&inbox, &mut mail));
    assert_eq!(mail.messages.len(), 3);
    assert!(inbox.message(from, append(1)));
    let taken = (1..PEER_MESSAGES_MAX * 2).filter(|_| inbox.message(from, vote.clone())).count();
    assert_eq!(taken, PEER_MESSAGES_MAX - 1, "even small ones end somewhere");
    inbox.close();
    assert!(!inbox.message(from, vote));
}

#[test]
fn who_floods_takes_no_room_from_others() {
    let inbox = Inbox::new(1000);
    let vote = message(Rpc::PreVote { last: EntryId::ZERO });
    while inbox.message(NodeId(2), vote.clone()) {}
    assert!(inbox.message(NodeId(3), append(2000)));
    assert!(!inbox.message(NodeId(3), append(1)), "it has its own limits");
    assert!(inbox.message(NodeId(4), append(1)));
}

#[test]
fn callers_wait_until_the_core_has_taken_what_waits() {
    let inbox = Arc::new(Inbox::new(1000));
    assert!(submit(&inbox, submission(2000), Caller::Outside));
    let (tell, told) = channel();
    let caller = {
        let inbox = Arc::clone(&inbox);
        std::thread::spawn(move || {
            for bytes in [1, 2000, 1] {
                tell.send(submit(&inbox, submission(bytes), Caller::Outside)).unwrap();
            }
        })
    };
    assert!(told.recv_timeout(Duration::from_millis(20)).is_err(), "full");
    let mut mail = Mail::default();
    assert!(take(&inbox, &mut mail));
    assert_eq!(mail.commands.len(), 1);
    assert!(told.recv().unwrap() && told.recv().unwrap());
    inbox.close();
    assert!(!told.recv().unwrap(), "closed: given back");
    caller.join().unwrap();
    assert!(!inbox.leftovers().commands.is_empty());
}

#[test]
fn refused_commands_keep_room_until_their_callers_were_called() {
    let inbox = Arc::new(Inbox::new(3 * ENTRY_OVERHEAD_BYTES));
    inbox.refused(3);
    block_on(inbox.refused_at_the_door(Caller::Outside));
    let (tell, told) = channel();
    let caller = {
        let inbox = Arc::clone(&inbox);
        std::thread::spawn(move || {
            tell.send(submit(&inbox, submission(0), Caller::Outside)).unwrap();
        })
    };
    assert!(told.recv_timeout(Duration::from_millis(20)).is_err(), "full");
    let mut mail = Mail::default();
    assert!(submit(&inbox, submission(0), Caller::OwnThread), "or nobody would ever call");
    assert!(take(&inbox, &mut mail));
    assert!(told.recv_timeout(Duration::from_millis(20)).is_err(), "the core makes no room here");
    inbox.refusal_heard();
    assert!(told.recv().unwrap());
    caller.join().unwrap();
}

#[test]
fn an_empty_inbox_can_be_waited_for_until_a_deadline() {
    let inbox = Inbox::new(1);
    let (mut mail, now) = (Mail::default(), std::time::Instant::now());
    let due = now + Duration::from_millis(30);
    let taken = block_on_until(poll_fn(|context| inbox.poll_take(context, &mut mail)), Some(due));
    assert!(taken.is_none() && std::time::Instant::now() >= due);
    inbox.close();
    assert!(!take(&inbox, &mut mail));
}

#[test]
fn who_waits_for_room_no_longer_leaves_nothing_behind() {
    let inbox = Inbox::new(1000);
    assert!(submit(&inbox, submission(2000), Caller::Outside));
    let now = std::time::Instant::now();
    assert!(block_on_until(inbox.submit([submission(7)], Caller::Outside), Some(now)).is_none());
    assert!(lock(&inbox.state).outside.parties.is_empty());
    let mut mail = Mail::default();
    assert!(take(&inbox, &mut mail));
    assert_eq!(mail.commands.len(), 1);
}

/// Whether they are polled again or not, and whoever gives up in between: none overtakes another.
#[test]
fn who_waits_for_room_gets_in_in_the_order_of_coming() {
    let inbox = Inbox::new(1000);
    let mut context = Context::from_waker(Waker::noop());
    let mut line: Vec<_> = (0..6).map(|i| Box::pin(inbox.submit([submission(2000 + i)], Caller::Outside))).collect();
    let pending: Vec<_> = line.iter_mut().map(|place| place.as_mut().poll(&mut context).is_pending()).collect();
    assert_eq!(pending, [false, true, true, true, true, true]);
    assert_eq!(inbox.callers_waiting(), 5);
    drop(line.remove(2));
    let mut order = Vec::new();
    for late in 0..5 {
        let mut mail = Mail::default();
        assert!(take(&inbox, &mut mail));
        order.extend(mail.commands.iter().map(|waiting| waiting.command.len() - 2000));
        if late == 0 {
            let mut last = Box::pin(inbox.submit([submission(2009)], Caller::Outside));
            assert!(last.as_mut().poll(&mut context).is_pending());
            line.push(last);
        }
    }
    assert_eq!(order, [0, 1, 3, 4, 5]);
    assert!(take(&inbox, &mut Mail::default()), "the last one");
    assert!(line.iter_mut().skip(1).all(|place| place.as_mut().poll(&mut context).is_ready()));
}
