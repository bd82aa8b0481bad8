//! What waits for a peer.

use raft_core::{Entries, Entry, Incarnation, Index, Message, Payload, Rpc};

use super::*;

fn outbox() -> Outbox {
    let limits = LinkConfig { queue_appends_max: 3, queue_bytes_max: 1000, queue_urgent_max: 2, ..config(1) };
    Outbox::new(&limits)
}

/// What a link takes of it, by the length of each body.
fn taken(outbox: &mut Outbox) -> Vec<usize> {
    let mut pair = Pair::met(Channel::Messages);
    outbox.fill(&mut pair.ends[0].link, pair.now);
    pair.talk();
    pair.ends[1].frames().iter().map(|frame| frame.len()).collect()
}

fn append(outbox: &mut Outbox, length: usize) -> Posted {
    outbox.post(frame(0, length), Urgency::Append)
}

fn urgent(outbox: &mut Outbox, length: usize) {
    assert_eq!(outbox.post(frame(0, length), Urgency::Urgent), Posted::Queued);
}

#[test]
fn urgent_frames_pass_appends() {
    let mut outbox = outbox();
    for length in [1, 2, 3] {
        assert_eq!(append(&mut outbox, length), Posted::Queued);
    }
    urgent(&mut outbox, 4);
    assert_eq!((outbox.len(), taken(&mut outbox)), (4, vec![4, 1, 2, 3]));
    assert!(outbox.is_empty());
}

#[test]
fn a_link_takes_one_batch_and_no_more() {
    let mut outbox = outbox();
    let mut pair = Pair::met(Channel::Messages);
    for length in [400, 400] {
        assert_eq!(append(&mut outbox, length), Posted::Queued);
    }
    pair.send(frame(0, 500));
    assert_eq!(outbox.fill(&mut pair.ends[0].link, pair.now), 2, "512 and 412 bytes are less than 1,000");
    assert_eq!(append(&mut outbox, 1), Posted::Queued);
    assert_eq!(outbox.fill(&mut pair.ends[0].link, pair.now), 0);
    pair.talk();
    assert_eq!(outbox.fill(&mut pair.ends[0].link, pair.now), 1);
}

#[test]
fn a_link_takes_nothing_before_it_is_admitted() {
    let mut outbox = outbox();
    let mut pair = Pair::new(Channel::Messages);
    urgent(&mut outbox, 1);
    assert_eq!(outbox.fill(&mut pair.ends[0].link, pair.now), 0);
    assert_eq!(outbox.fill(&mut pair.ends[1].link, pair.now), 0);
    let mut pair = Pair::met(Channel::Snapshot);
    assert_eq!(outbox.fill(&mut pair.ends[0].link, pair.now), 0);
    assert_eq!(outbox.len(), 1);
}

#[test]
fn too_many_appends_go_together_and_urgent_frames_stay() {
    let mut outbox = outbox();
    for length in [1, 2, 3] {
        assert_eq!(append(&mut outbox, length), Posted::Queued);
    }
    urgent(&mut outbox, 9);
    assert_eq!(append(&mut outbox, 4), Posted::Overflowed { lost: 4 });
    assert_eq!(append(&mut outbox, 5), Posted::Queued, "once per loss");
    assert_eq!(taken(&mut outbox), [9, 5]);
}

#[test]
fn too_many_bytes_overflow_but_one_append_may_be_larger() {
    let mut outbox = outbox();
    assert_eq!(append(&mut outbox, 5000), Posted::Queued);
    assert_eq!(append(&mut outbox, 1), Posted::Overflowed { lost: 2 });
    assert_eq!(append(&mut outbox, 900), Posted::Queued);
    assert_eq!(append(&mut outbox, 77), Posted::Overflowed { lost: 2 }, "912 and 89");
    assert_eq!(append(&mut outbox, 900), Posted::Queued, "bytes are counted from 0 again");
    assert_eq!(append(&mut outbox, 76), Posted::Queued, "912 and 88");
    assert_eq!(taken(&mut outbox), [900, 76]);
    assert_eq!(append(&mut outbox, 900), Posted::Queued, "what was taken counts no more");
}

#[test]
fn of_urgent_frames_the_newest_stay() {
    let mut outbox = outbox();
    for length in 1..=4 {
        urgent(&mut outbox, length);
    }
    assert_eq!(taken(&mut outbox), [3, 4]);
}

#[test]
fn clearing_counts_the_appends() {
    let mut outbox = outbox();
    urgent(&mut outbox, 1);
    assert_eq!(append(&mut outbox, 988), Posted::Queued);
    assert_eq!(outbox.clear(), 1);
    assert!(outbox.is_empty());
    assert_eq!(append(&mut outbox, 988), Posted::Queued);
}

#[test]
fn heartbeats_are_urgent() {
    let entry = Entry { term: Term(1), payload: Payload::Noop };
    for (entries, urgency) in [(vec![], Urgency::Urgent), (vec![entry], Urgency::Append)] {
        let entries = Entries::from_vec(Index(1), entries).unwrap();
        let rpc = Rpc::AppendEntries { prev: EntryId::ZERO, entries, commit: Index(0), round: 1, reply: true };
        let message = Message { term: Term(1), incarnation: Incarnation(1), rpc };
        assert_eq!(Urgency::of(&message), urgency);
        assert!(Frame::message(&message, None).is_ok());
    }
}
