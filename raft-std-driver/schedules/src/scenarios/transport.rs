//! What transports are made of: what waits for a peer, and the place for its connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use raft_core::{EntryId, Incarnation, Message, Rpc, Term};

use crate::mailbox::{Limits, Mailbox, Posted};
use crate::place::{Cut, Lobby, Slot};
use crate::queue::lock;
use crate::sync::{Condvar, Mutex, spawn};
use crate::workers::block_on;

fn vote(number: u64) -> Message {
    Message {
        term: Term(number),
        incarnation: Incarnation(1),
        rpc: Rpc::RequestVote { last: EntryId::ZERO, transfer: false },
    }
}

/// Two post while the writer writes, loses its connection, connects again when there is reason to, and goes home when the
/// mailbox is closed.
pub fn a_mailbox_lets_nobody_wait_in_vain() {
    let limits = Limits { appends_max: 3, bytes_max: 1000, urgent_max: 10, batch_bytes: 150 };
    let mailbox = Arc::new(Mailbox::new(limits));
    let posters = [0, 10].map(|first| {
        let mailbox = Arc::clone(&mailbox);
        spawn("poster", move || {
            for number in first..first + 3 {
                assert_eq!(mailbox.post(vote(number)), Posted::Queued);
            }
            mailbox.kick();
        })
    });
    let writer = spawn("writer", {
        let mailbox = Arc::clone(&mailbox);
        move || {
            let (mut written, mut batch) = (Vec::new(), Vec::new());
            while !mailbox.is_closed() {
                while block_on(mailbox.take(&mut batch)) {
                    written.extend(batch.drain(..).map(|message| message.term.0));
                }
                mailbox.lose();
                block_on(mailbox.reason());
            }
            written
        }
    });
    mailbox.break_off();
    posters.into_iter().for_each(|poster| poster.join().unwrap());
    mailbox.close();
    let written = writer.join().unwrap();
    for first in [0, 10] {
        let of_it: Vec<_> = written.iter().filter(|number| (first..first + 10).contains(*number)).collect();
        assert!(of_it.is_sorted_by(|one, next| one < next), "once, and in order: {written:?}");
    }
}

/// As long as it is not broken, all that was posted is written without anything else happening.
pub fn what_is_posted_is_written() {
    let limits = Limits { appends_max: 3, bytes_max: 1000, urgent_max: 10, batch_bytes: 150 };
    let mailbox = Arc::new(Mailbox::new(limits));
    let posters = [0, 10].map(|first| {
        let mailbox = Arc::clone(&mailbox);
        spawn("poster", move || {
            (first..first + 3).for_each(|number| assert_eq!(mailbox.post(vote(number)), Posted::Queued));
        })
    });
    let mut batch = Vec::new();
    while batch.len() < 6 {
        assert!(block_on(mailbox.take(&mut batch)));
    }
    posters.into_iter().for_each(|poster| poster.join().unwrap());
}

/// A connection whose thread waits until it is cut.
#[derive(Default)]
struct Line {
    is_cut: Mutex<bool>,
    changed: Condvar,
}

impl Cut for Line {
    fn cut(&self) {
        *lock(&self.is_cut) = true;
        self.changed.notify_all();
    }
}

impl Line {
    fn serve(&self) {
        let mut is_cut = lock(&self.is_cut);
        while !*is_cut {
            is_cut = self.changed.wait(is_cut).unwrap();
        }
    }
}

/// Each newer connection cuts the older one and waits until it is gone; closed at any moment, the slot sends all home.
pub fn a_place_is_for_one_at_a_time() {
    let (slot, inside) = (Arc::new(Slot::default()), Arc::new(AtomicUsize::new(0)));
    let guests = [0; 3].map(|_| {
        let (slot, inside) = (Arc::clone(&slot), Arc::clone(&inside));
        spawn("guest", move || {
            let line = Arc::new(Line::default());
            let Ok(place) = block_on(slot.enter(&line)) else { return };
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "alone");
            line.serve();
            inside.fetch_sub(1, Ordering::SeqCst);
            drop(place);
        })
    });
    // One of them loses patience.
    let impatient = spawn("impatient", {
        let slot = Arc::clone(&slot);
        move || {
            let mut entering = slot.enter(&Arc::new(Line::default()));
            let mut turns = 0;
            let patience = poll_fn(|context| match Pin::new(&mut entering).poll(context) {
                Poll::Pending if turns < 2 => {
                    turns += 1;
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            });
            block_on(patience);
        }
    });
    slot.close();
    guests.into_iter().for_each(|guest| guest.join().unwrap());
    impatient.join().unwrap();
}

/// A bounded number may wait to be known; the one that has waited longest has to go, and all of them at the end.
pub fn a_lobby_has_room_for_so_many() {
    let lobby = Arc::new(Lobby::new(1));
    let guests = [0; 3].map(|_| {
        let lobby = Arc::clone(&lobby);
        spawn("guest", move || {
            let line = Arc::new(Line::default());
            let Some(place) = lobby.enter(&line) else { return };
            line.serve();
            drop(place);
        })
    });
    lobby.close();
    guests.into_iter().for_each(|guest| guest.join().unwrap());
}
