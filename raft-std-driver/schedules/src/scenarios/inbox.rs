//! Who comes to the core's door: waits for room in the order of coming, gives up, or is sent home.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use raft_core::{ENTRY_OVERHEAD_BYTES, Event, Index};

use super::Heard;
use crate::inbox::{Caller, Inbox, Mail, Submission};
use crate::sync::spawn;
use crate::workers::block_on;
use crate::{Outcome, StartError};

fn submission(command: &str, heard: &Heard) -> Submission {
    Submission { command: command.to_owned().into(), waiter: heard.waiter(command) }
}

fn take(inbox: &Inbox, mail: &mut Mail) -> bool {
    block_on(poll_fn(|context| inbox.poll_take(context, mail)))
}

/// The core, which answers all that it finds, until the inbox is closed.
fn answer_all(inbox: &Inbox, mut taken: impl FnMut(&Mail)) {
    let mut mail = Mail::default();
    while take(inbox, &mut mail) {
        taken(&mail);
        mail.notes.clear();
        for submission in mail.commands.drain(..) {
            submission.waiter.resolve(Ok(Outcome::Applied(submission.command)));
        }
    }
}

#[derive(Debug, PartialEq)]
enum Seen {
    Comes(String),
    Waits(String),
    In(String),
    Taken(String),
}

/// There is room for one command at a time. Who is seen to wait gets in before whoever comes later, and all get in.
pub fn senders_get_in_in_the_order_of_coming() {
    let (inbox, seen, heard) = (Arc::new(Inbox::new(1)), Arc::new(Mutex::new(Vec::new())), Heard::default());
    let note = |seen: &Mutex<Vec<Seen>>, what| seen.lock().unwrap().push(what);
    let core = spawn("core", {
        let (inbox, seen) = (Arc::clone(&inbox), Arc::clone(&seen));
        move || {
            answer_all(&inbox, |mail| {
                assert!(mail.commands.len() <= 1, "there is room for one");
                mail.commands.iter().for_each(|taken| note(&seen, Seen::Taken(name(taken))));
            });
        }
    });
    let senders = ["ab", "cd", "ef"].map(|commands| {
        let (inbox, seen, heard) = (Arc::clone(&inbox), Arc::clone(&seen), heard.clone());
        spawn("sender", move || {
            for command in commands.split_inclusive(|_| true) {
                note(&seen, Seen::Comes(command.to_owned()));
                let mut place = pin!(inbox.submit([submission(command, &heard)], Caller::Outside));
                if place.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                    note(&seen, Seen::Waits(command.to_owned()));
                    block_on(place);
                }
                note(&seen, Seen::In(command.to_owned()));
            }
        })
    });
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    inbox.close();
    core.join().unwrap();
    // The last ones may not have been taken.
    drop(inbox.leftovers());
    heard.all(["a", "b", "c", "d", "e", "f"]);
    let seen = seen.lock().unwrap();
    let at = |what: Seen| seen.iter().position(|seen| *seen == what);
    for earlier in ["a", "b", "c", "d", "e", "f"] {
        let known = at(Seen::Waits(earlier.into())).or(at(Seen::In(earlier.into())));
        for later in ["a", "b", "c", "d", "e", "f"] {
            let overtook = match (at(Seen::Taken(earlier.into())), at(Seen::Taken(later.into()))) {
                (Some(earlier), Some(later)) => later < earlier,
                (taken, late) => taken.is_none() && late.is_some(),
            };
            assert!(!(known < at(Seen::Comes(later.into())) && overtook), "{later} overtook {earlier}: {seen:?}");
        }
    }
}

fn name(submission: &Submission) -> String {
    String::from_utf8_lossy(&submission.command).into_owned()
}

/// Closed at any moment, it lets nobody wait, and everyone hears once: from the core, or that the node has stopped.
pub fn a_closed_inbox_sends_everyone_home() {
    let (inbox, heard) = (Arc::new(Inbox::new(1)), Heard::default());
    let core = spawn("core", {
        let inbox = Arc::clone(&inbox);
        move || answer_all(&inbox, |_| {})
    });
    let senders = [("ab", Caller::Outside), ("cd", Caller::Outside), ("ef", Caller::OwnThread)];
    let senders = senders.map(|(commands, caller)| {
        let (inbox, heard) = (Arc::clone(&inbox), heard.clone());
        spawn("sender", move || {
            for command in commands.split_inclusive(|_| true) {
                block_on(inbox.submit([submission(command, &heard)], caller));
            }
            inbox.tell(Event::Applied(Index(1)));
        })
    });
    inbox.close();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    core.join().unwrap();
    drop(inbox.leftovers());
    for (command, answer) in heard.all(["a", "b", "c", "d", "e", "f"]) {
        assert!(answer == Ok(Outcome::Applied(command.clone().into())) || answer == Err(StartError::Stopped));
    }
}

/// Some wait no longer. They hear once as well, and those behind them get in.
pub fn who_gives_up_keeps_nobody_out() {
    let (inbox, heard) = (Arc::new(Inbox::new(1)), Heard::default());
    let core = spawn("core", {
        let inbox = Arc::clone(&inbox);
        move || answer_all(&inbox, |_| {})
    });
    let senders = [("ab", true), ("cd", false), ("ef", true)].map(|(commands, gives_up)| {
        let (inbox, heard) = (Arc::clone(&inbox), heard.clone());
        spawn("sender", move || {
            for command in commands.split_inclusive(|_| true) {
                let mut place = Box::pin(inbox.submit([submission(command, &heard)], Caller::Outside));
                if gives_up {
                    let mut turns = 2;
                    let patience = poll_fn(|context| match place.as_mut().poll(context) {
                        Poll::Pending if turns > 0 => {
                            turns -= 1;
                            context.waker().wake_by_ref();
                            Poll::Pending
                        }
                        _ => Poll::Ready(()),
                    });
                    block_on(patience);
                } else {
                    block_on(place);
                }
            }
        })
    });
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    inbox.close();
    core.join().unwrap();
    drop(inbox.leftovers());
    heard.all(["a", "b", "c", "d", "e", "f"]);
}

/// Refused commands keep their room until their callers were called: then those who wait get in, without the core's doing.
pub fn refusals_give_back_their_room() {
    let (inbox, heard) = (Arc::new(Inbox::new(ENTRY_OVERHEAD_BYTES)), Heard::default());
    inbox.refused(3);
    let core = spawn("core", {
        let inbox = Arc::clone(&inbox);
        move || answer_all(&inbox, |_| {})
    });
    let sender = spawn("sender", {
        let (inbox, heard) = (Arc::clone(&inbox), heard.clone());
        move || {
            for command in ["a", "b"] {
                block_on(inbox.submit([submission(command, &heard)], Caller::Outside));
            }
        }
    });
    let refused = spawn("refused", {
        let inbox = Arc::clone(&inbox);
        move || block_on(inbox.refused_at_the_door(Caller::Outside))
    });
    (0..3).for_each(|_| inbox.refusal_heard());
    refused.join().unwrap();
    inbox.refusal_heard();
    sender.join().unwrap();
    inbox.close();
    core.join().unwrap();
    drop(inbox.leftovers());
    heard.all(["a", "b"]);
}
