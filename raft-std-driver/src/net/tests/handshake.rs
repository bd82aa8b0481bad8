//! Who is let in, and what the others hear.

use super::super::wire::{ANSWER_BYTES, HelloError, PROTOCOL, encode_answer};
use super::*;

fn pair_of(change: impl FnOnce(&mut LinkConfig, &mut LinkConfig)) -> Pair {
    let (mut one, mut two) = (config(1), config(2));
    change(&mut one, &mut two);
    Pair::of([one, two], &[Security::Open, Security::Open], Channel::Messages)
}

#[test]
fn both_ends_know_each_other_in_any_pieces() {
    for channel in [Channel::Messages, Channel::Snapshot] {
        for piece in [1, 2, 7, 8, 9, 53, 54, usize::MAX] {
            let mut pair = Pair::new(channel).pieces(piece);
            pair.talk();
            let address = "server-1:4001".to_owned();
            let hello = Hello { channel, cluster: CLUSTER, birth: 0, from: NodeId(1), to: NodeId(2), address };
            assert_eq!(pair.ends[1].heard, [Heard::Hello(hello)]);
            assert_eq!(pair.ends[0].heard, [Heard::Admitted]);
        }
    }
}

/// Both sides hear of it, and both links end.
fn refused(pair: Pair, why: Refusal) {
    refused_as(NodeId(1), pair, why);
}

fn refused_as(dialing_id: NodeId, mut pair: Pair, why: Refusal) {
    pair.talk();
    let [dialing, accepting] = &pair.ends;
    assert!(matches!(&dialing.troubles[..], [Trouble::Refused(heard)] if *heard == why), "{}", dialing.trouble());
    match &accepting.troubles[..] {
        [] => assert!(matches!(accepting.heard[..], [Heard::Hello(_)]), "the server's own decision is no news to it"),
        [Trouble::Unwanted { hello, why: told }] => {
            assert_eq!((hello.from, *told), (dialing_id, why));
            assert_eq!(accepting.heard, [], "the server is not asked");
        }
        _ => panic!("{}", accepting.trouble()),
    }
    assert!(dialing.link.is_over() && accepting.link.is_over());
    assert!(dialing.trouble().contains(": "), "it says what to do: {}", dialing.trouble());
}

#[test]
fn a_server_of_another_cluster_is_refused() {
    refused(pair_of(|one, _| one.cluster = ClusterId(9)), Refusal::Cluster { theirs: CLUSTER });
}

#[test]
fn a_server_of_a_cluster_bootstrapped_apart_is_refused() {
    refused(pair_of(|one, two| (one.birth, two.birth) = (7, 8)), Refusal::Birth { theirs: 8 });
}

#[test]
fn a_server_that_looks_for_another_one_is_refused() {
    refused(pair_of(|_, two| two.id = NodeId(3)), Refusal::NotMe { theirs: NodeId(3) });
}

#[test]
fn a_server_that_claims_to_be_the_accepting_one_is_refused() {
    refused_as(NodeId(2), pair_of(|one, _| one.id = NodeId(2)), Refusal::UnknownPeer { you: NodeId(2) });
}

#[test]
fn the_server_itself_refuses_whom_it_does_not_know_or_has_no_room_for() {
    for why in [Refusal::UnknownPeer { you: NodeId(1) }, Refusal::Crowded] {
        let mut pair = Pair::new(Channel::Messages);
        pair.ends[1].door = Door::Refuse(why);
        refused(pair, why);
    }
}

#[test]
fn a_refused_link_ends_in_a_moment_even_if_nobody_listens() {
    let mut pair = pair_of(|one, _| one.cluster = ClusterId(9));
    let hello = pair.ends[0].say(pair.now);
    pair.ends[1].read(&hello, pair.now);
    assert!(pair.ends[1].link.wants_write() && !pair.ends[1].link.is_over());
    pair.pass(Duration::from_millis(200));
    assert!(pair.ends[1].link.is_over());
    assert_eq!(pair.ends[1].troubles.len(), 1, "the refusal was said, its end is no news");
}

#[test]
fn a_refused_peer_that_goes_on_talking_is_cut_off() {
    let mut pair = pair_of(|one, _| one.cluster = ClusterId(9));
    let hello = pair.ends[0].say(pair.now);
    let accepting = &mut pair.ends[1];
    accepting.read(&hello, pair.now);
    accepting.say(pair.now);
    let taken = accepting.read(&vec![0; 1 << 20], pair.now);
    assert!(accepting.link.is_over() && taken <= (64 << 10) + 512, "{taken}");
}

#[test]
fn other_versions_hear_which_one_is_spoken() {
    for version in [0, 1, 2, 4, u16::MAX] {
        let mut pair = Pair::new(Channel::Messages);
        let mut hello = pair.ends[0].say(pair.now);
        hello[8..10].copy_from_slice(&version.to_le_bytes());
        // Of whatever form the rest is.
        let accepting = &mut pair.ends[1];
        accepting.read(&hello[..40], pair.now);
        assert!(matches!(accepting.troubles[..], [Trouble::Hello(HelloError::Version { found })] if found == version));
        assert_eq!(accepting.say(pair.now), encode_answer(Err(Refusal::Version { theirs: PROTOCOL })));
        accepting.read_end(pair.now);
        assert!(accepting.link.is_over());
    }
    let mut pair = Pair::new(Channel::Messages);
    pair.ends[0].read(&encode_answer(Err(Refusal::Version { theirs: 2 })), pair.now);
    assert!(pair.ends[0].trouble().contains("protocol version 2"), "{}", pair.ends[0].trouble());
}

#[test]
fn strangers_are_handed_over_with_what_was_read_and_not_a_byte_more() {
    for piece in [1, 3, usize::MAX] {
        let mut pair = Pair::new(Channel::Messages).pieces(piece);
        let accepting = &mut pair.ends[1];
        let taken = accepting.read(b"GET / HTTP/1.1\r\n", pair.now);
        assert_eq!((taken, &accepting.heard[..]), (8, &[Heard::Stranger { first: *b"GET / HT" }][..]));
        assert!(accepting.link.is_over() && !accepting.link.wants_write() && accepting.troubles.is_empty());
    }
}

#[test]
fn every_flipped_bit_of_a_hello_ends_the_connection_without_admission() {
    let hello = Pair::new(Channel::Messages).ends[0].say(Instant::now());
    for bit in 0..8 * hello.len() {
        let mut damaged = hello.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let mut pair = Pair::new(Channel::Messages);
        let accepting = &mut pair.ends[1];
        accepting.read(&damaged, pair.now);
        let stranger = matches!(accepting.heard[..], [Heard::Stranger { .. }]) && bit < 64;
        let troubled = matches!(accepting.troubles[..], [Trouble::Hello(_)]) && accepting.heard.is_empty() && bit >= 64;
        assert!(stranger || troubled, "bit {bit}: {:?} {}", accepting.heard, accepting.trouble());
    }
}

#[test]
fn every_flipped_bit_of_an_answer_ends_the_connection() {
    let answer = encode_answer(Ok(()));
    for bit in 0..8 * ANSWER_BYTES {
        let mut damaged = answer;
        damaged[bit / 8] ^= 1 << (bit % 8);
        let mut pair = Pair::new(Channel::Messages);
        pair.ends[0].read(&damaged, pair.now);
        assert!(matches!(pair.ends[0].troubles[..], [Trouble::Answer(_)]), "bit {bit}");
        assert!(pair.ends[0].heard.is_empty() && pair.ends[0].link.is_over());
    }
}

#[test]
fn nothing_is_read_while_the_server_decides_and_a_late_decision_changes_nothing() {
    let mut pair = Pair::new(Channel::Messages);
    pair.ends[1].door = Door::Wait;
    pair.talk();
    let accepting = &mut pair.ends[1];
    assert!(matches!(accepting.heard[..], [Heard::Hello(_)]));
    assert!(!accepting.link.wants_read() && !accepting.link.wants_write());
    pair.pass(config(2).handshake_timeout);
    let accepting = &mut pair.ends[1];
    assert!(accepting.link.is_over());
    accepting.link.admit(pair.now);
    accepting.link.refuse(Refusal::Crowded, pair.now);
    assert!(accepting.link.is_over() && !accepting.link.wants_write());
}
