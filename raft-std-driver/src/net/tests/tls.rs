//! Links made safe.

use std::mem;
use std::sync::LazyLock;

use super::*;
use crate::tls::tests::{Authority, expired};
use crate::tls::{CertificateFault, Refusal as Alert, TlsError};

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("cluster"));
static ONE: LazyLock<Security> = LazyLock::new(|| Security::Tls(AUTHORITY.credentials(1)));
static TWO: LazyLock<Security> = LazyLock::new(|| Security::Tls(AUTHORITY.credentials(2)));

fn secure(channel: Channel) -> Pair {
    Pair::of([config(1), config(2)], &[ONE.clone(), TWO.clone()], channel)
}

fn met(channel: Channel) -> Pair {
    let mut pair = secure(channel);
    pair.talk();
    assert_eq!(pair.ends[0].heard, [Heard::Admitted], "{} {}", pair.ends[0].trouble(), pair.ends[1].trouble());
    pair
}

/// Server 1 with these credentials dials server 2 with those. Returns what each says of the other.
fn refused(one: &Security, two: &Security) -> [Trouble; 2] {
    let mut pair = Pair::of([config(1), config(2)], &[one.clone(), two.clone()], Channel::Messages);
    pair.talk();
    pair.pass(Duration::from_millis(200));
    assert!(pair.ends.iter().all(|end| end.heard.is_empty() && end.link.is_over()));
    pair.ends.map(|mut end| {
        assert_eq!(end.troubles.len(), 1, "{}", end.trouble());
        end.troubles.remove(0)
    })
}

fn unchecked(authority: &Authority, id: u64, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Security {
    let issued = authority.issue(id, change);
    Security::Tls(Arc::new(authority.config(&issued).unchecked(NodeId(id)).unwrap()))
}

#[test]
fn frames_arrive_in_any_pieces() {
    let lengths = [1, 30, 2500, 70_000, 200_000, 3];
    for piece in [1, 13, 1000, 65_536, usize::MAX] {
        let mut pair = secure(Channel::Messages).pieces(piece);
        pair.talk();
        for (number, length) in lengths.into_iter().enumerate() {
            pair.send(frame(number, length));
        }
        pair.talk();
        let expected: Vec<_> = lengths.into_iter().enumerate().map(|(number, length)| body(number, length)).collect();
        assert!(pair.ends[1].frames().into_iter().eq(expected.iter()), "in pieces of {piece}");
        assert!(!pair.ends[0].link.wants_write() && pair.ends[0].link.due().is_none());
    }
}

#[test]
fn nothing_is_readable() {
    let mut pair = met(Channel::Messages);
    pair.send(Frame::whole(&[b'x'; 5000]).unwrap());
    let said = pair.ends[0].say(pair.now);
    assert!(said.len() > 5000 && !said.windows(8).any(|window| window == [b'x'; 8]));
}

#[test]
fn a_snapshot_arrives_and_a_slow_disk_stops_it() {
    let mut pair = met(Channel::Snapshot);
    let (data, mut at, now) = (body(3, 3000), 0, pair.now);
    pair.ends[0].link.offer(&offer(3000), now).unwrap();
    pair.talk();
    pair.ends[1].link.take(now);
    let mut chunks = Vec::new();
    while !pair.ends[1].link.is_complete() {
        pair.talk();
        while let Some(count) = pair.ends[0].link.wants_chunk() {
            pair.ends[0].link.chunk(Bytes::copy_from_slice(&data[at..at + count]), now).unwrap();
            pair.talk();
            at += count;
        }
        let heard = mem::take(&mut pair.ends[1].heard);
        let come: Vec<_> =
            heard.iter().filter_map(|heard| if let Heard::Chunk(c) = heard { Some(c) } else { None }).collect();
        assert!(come.len() <= 2);
        chunks.extend(come.iter().flat_map(|chunk| chunk.iter().copied()));
        pair.ends[1].link.stored(come.len(), now);
        pair.ends[1].listen(now);
    }
    pair.ends[1].link.confirm(now);
    pair.talk();
    assert!(chunks == data && pair.ends[0].heard.last() == Some(&Heard::Stored));
    assert!(pair.ends.iter().all(|end| end.link.is_over() && end.troubles.is_empty()));
}

#[test]
fn refusals_are_heard_through_tls() {
    for why in [Refusal::Crowded, Refusal::UnknownPeer { you: NodeId(1) }] {
        let mut pair = secure(Channel::Messages);
        pair.ends[1].door = Door::Refuse(why);
        pair.talk();
        assert!(matches!(pair.ends[0].troubles[..], [Trouble::Refused(heard)] if heard == why));
        assert!(pair.ends.iter().all(|end| end.link.is_over()));
    }
}

#[test]
fn a_certificate_of_another_authority_is_refused_on_either_side() {
    let other = Authority::new("other");
    // The dialing side looks first, at the accepting side's.
    let [dialing, accepting] = refused(&ONE, &Security::Tls(other.credentials(2)));
    assert!(matches!(dialing, Trouble::Tls(TlsError::Peer(CertificateFault::UnknownAuthority))), "{dialing}");
    assert!(matches!(accepting, Trouble::Tls(TlsError::Refused(Alert::UnknownAuthority))), "{accepting}");

    // A server that trusts both, with a certificate that only one of them trusts.
    let issued = other.issue(1, |_| {});
    let both = AUTHORITY.pem() + &other.pem();
    let wide = crate::tls::TlsConfig::bytes(issued.certificate, issued.key, both).load(NodeId(1)).unwrap();
    let [dialing, accepting] = refused(&Security::Tls(wide.credentials()), &TWO);
    assert!(matches!(accepting, Trouble::Tls(TlsError::Peer(CertificateFault::UnknownAuthority))), "{accepting}");
    assert!(matches!(dialing, Trouble::Tls(TlsError::Refused(Alert::UnknownAuthority))), "{dialing}");
}

#[test]
fn a_certificate_that_has_expired_is_refused_on_either_side() {
    let [dialing, accepting] = refused(&ONE, &unchecked(&AUTHORITY, 2, expired));
    assert!(matches!(dialing, Trouble::Tls(TlsError::Peer(CertificateFault::Expired { .. }))), "{dialing}");
    assert!(matches!(accepting, Trouble::Tls(TlsError::Refused(Alert::Expired))), "{accepting}");
    let [dialing, accepting] = refused(&unchecked(&AUTHORITY, 1, expired), &TWO);
    assert!(matches!(accepting, Trouble::Tls(TlsError::Peer(CertificateFault::Expired { .. }))), "{accepting}");
    assert!(matches!(dialing, Trouble::Tls(TlsError::Refused(Alert::Expired))), "{dialing}");
}

#[test]
fn another_server_at_the_address_is_refused() {
    let [dialing, accepting] = refused(&ONE, &Security::Tls(AUTHORITY.credentials(3)));
    assert!(matches!(dialing, Trouble::Tls(TlsError::Peer(CertificateFault::Name { .. }))), "{dialing}");
    assert!(matches!(accepting, Trouble::Tls(TlsError::Refused(Alert::BadCertificate))), "{accepting}");
}

#[test]
fn a_wildcard_is_nobodys_name() {
    let wild = |params: &mut rcgen::CertificateParams| {
        let name = "*.db.test".try_into().unwrap();
        params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
    };
    let naming = |id: u64, change: &dyn Fn(&mut rcgen::CertificateParams)| {
        let config = AUTHORITY.config(&AUTHORITY.issue(id, change)).naming("node-{id}.db.test");
        Security::Tls(Arc::new(config.unchecked(NodeId(id)).unwrap()))
    };
    let named = |id: u64| {
        let name = format!("node-{id}.db.test").try_into().unwrap();
        naming(id, &move |params| {
            params.subject_alt_names = vec![rcgen::SanType::DnsName(rcgen::string::Ia5String::clone(&name))];
        })
    };
    let [dialing, accepting] = refused(&named(1), &naming(2, &wild));
    assert!(matches!(dialing, Trouble::Tls(TlsError::Peer(CertificateFault::Wildcard { .. }))), "{dialing}");
    assert!(matches!(accepting, Trouble::Ended | Trouble::Cut(_)), "{accepting}");
    let [dialing, accepting] = refused(&naming(1, &wild), &named(2));
    assert!(matches!(accepting, Trouble::Impostor { why: CertificateFault::Wildcard { .. }, .. }), "{accepting}");
    assert!(matches!(dialing, Trouble::Cut(Awaited::Handshake)), "{dialing}");
}

#[test]
fn a_server_that_claims_to_be_another_gets_no_answer() {
    let [dialing, accepting] = refused(&Security::Tls(AUTHORITY.credentials(4)), &TWO);
    assert!(
        matches!(accepting, Trouble::Impostor { claimed: NodeId(1), why: CertificateFault::Name { .. } }),
        "{accepting}"
    );
    assert!(matches!(dialing, Trouble::Cut(Awaited::Handshake)), "{dialing}");
}

#[test]
fn who_speaks_plainly_gets_no_answer() {
    let mut plain = Pair::new(Channel::Messages);
    let hello = plain.ends[0].say(plain.now);
    for said in [&hello[..], b"GET / HTTP/1.1\r\n", &[0]] {
        for piece in [1, usize::MAX] {
            let mut pair = secure(Channel::Messages).pieces(piece);
            pair.ends[1].read(said, pair.now);
            assert!(matches!(pair.ends[1].troubles[..], [Trouble::NotTls]), "{}", pair.ends[1].trouble());
            assert!(pair.ends[1].link.is_over() && !pair.ends[1].link.wants_write());
        }
    }
}

#[test]
fn a_server_that_speaks_plainly_is_noticed() {
    let mut pair = Pair::of([config(1), config(2)], &[ONE.clone(), Security::Open], Channel::Messages);
    pair.talk();
    assert!(matches!(pair.ends[1].heard[..], [Heard::Stranger { .. }]));
    assert!(matches!(pair.ends[0].troubles[..], [Trouble::Tls(TlsError::Ended)]), "{}", pair.ends[0].trouble());
    assert!(pair.ends[0].trouble().contains("plain TCP"));
}

/// What both say until they know each other, in the order of their turns.
fn turns() -> Vec<(usize, Vec<u8>)> {
    let (mut pair, mut turns) = (secure(Channel::Messages), Vec::new());
    loop {
        let before = turns.len();
        for from in 0..2 {
            let said = pair.ends[from].say(pair.now);
            if !said.is_empty() {
                pair.ends[1 - from].read(&said, pair.now);
                turns.push((from, said));
            }
        }
        if turns.len() == before {
            return turns;
        }
    }
}

#[test]
fn no_damage_to_a_handshake_changes_who_is_let_in() {
    let lengths: Vec<_> = turns().iter().map(|(_, said)| said.len()).collect();
    let (hello, mut stopped) = (met(Channel::Messages).ends[1].heard.split_off(0), 0);
    assert!(lengths.len() >= 4, "{lengths:?}");
    for (turn, length) in lengths.iter().enumerate() {
        for at in (0..*length).step_by(5) {
            let (mut pair, mut taken) = (secure(Channel::Messages), 0);
            loop {
                let before = taken;
                for from in 0..2 {
                    let mut said = pair.ends[from].say(pair.now);
                    if said.is_empty() {
                        continue;
                    }
                    if taken == turn
                        && let Some(byte) = said.get_mut(at)
                    {
                        *byte ^= 1;
                    }
                    pair.ends[1 - from].read(&said, pair.now);
                    taken += 1;
                }
                if taken == before {
                    break;
                }
            }
            // Some bytes of a record's header mean nothing.
            if pair.ends[0].heard.contains(&Heard::Admitted) {
                assert_eq!(pair.ends[1].heard, hello, "byte {at} of turn {turn}");
                continue;
            }
            pair.pass(config(1).handshake_timeout);
            assert!(pair.ends.iter().all(|end| end.troubles.len() == 1), "byte {at} of turn {turn}");
            assert!(pair.ends.iter().all(|end| end.link.is_over()), "byte {at} of turn {turn}");
            stopped += 1;
        }
    }
    assert!(stopped > lengths.iter().sum::<usize>() / 5 * 9 / 10, "only {stopped} of {lengths:?}");
}

#[test]
fn no_damage_to_a_record_changes_what_is_heard() {
    let length = {
        let mut pair = met(Channel::Messages);
        pair.send(frame(1, 50));
        pair.ends[0].say(pair.now).len()
    };
    for at in 0..length {
        let mut pair = met(Channel::Messages);
        pair.send(frame(1, 50));
        let mut said = pair.ends[0].say(pair.now);
        said[at] ^= 1;
        // What follows completes a record that claims to be longer.
        pair.send(frame(2, 1000));
        said.extend(pair.ends[0].say(pair.now));
        pair.ends[1].read(&said, pair.now);
        let frames = pair.ends[1].frames();
        if at < 3 && frames.len() == 2 {
            assert!(frames == [&body(1, 50), &body(2, 1000)], "type and version of a record mean nothing");
            continue;
        }
        assert_eq!(frames.len(), 0, "byte {at}");
        assert!(matches!(pair.ends[1].troubles[..], [Trouble::Tls(_)]), "byte {at}: {}", pair.ends[1].trouble());
    }
}

#[test]
fn a_stream_that_ends_anywhere_is_noticed() {
    let mut pair = met(Channel::Messages);
    pair.send(frame(1, 50));
    let length = pair.ends[0].say(pair.now).len();
    for cut in 0..=length {
        let mut pair = met(Channel::Messages);
        pair.send(frame(1, 50));
        let said = pair.ends[0].say(pair.now);
        pair.ends[1].read(&said[..cut], pair.now);
        pair.ends[1].read_end(pair.now);
        let whole = usize::from(cut == length);
        assert_eq!((pair.ends[1].frames().len(), pair.ends[1].troubles.len()), (whole, 1), "after {cut} bytes");
        assert!(pair.ends[1].link.is_over());
    }
}

#[test]
fn encrypted_bytes_are_bounded_both_ways() {
    let mut pair = met(Channel::Messages);
    for number in 0..10 {
        pair.send(frame(number, 100_000));
    }
    let mut slices = Vec::new();
    pair.ends[0].link.unsent(&mut slices);
    let waiting: usize = slices.iter().map(|slice| slice.len()).sum();
    assert!(waiting <= (64 << 10) + (17 << 10), "{waiting}");
    pair.talk();
    assert_eq!(pair.ends[1].frames().len(), 10);

    // A server that decides takes nothing.
    let mut pair = secure(Channel::Messages);
    pair.ends[1].door = Door::Wait;
    pair.talk();
    assert!(!pair.ends[1].link.wants_read());
}

#[test]
fn a_record_has_a_deadline_however_much_comes_after_its_damaged_length() {
    let seconds = Duration::from_secs;
    let mut pair = met(Channel::Messages);
    assert_eq!(pair.ends[1].link.due(), None);
    pair.send(frame(1, 50));
    let mut said = pair.ends[0].say(pair.now);
    said[3] ^= 0x20;
    let began = pair.now;
    for _ in 0..5 {
        pair.ends[1].read(&said, pair.now);
        assert_eq!(pair.ends[1].link.due(), Some(began + config(2).stall_timeout));
        pair.pass(seconds(1));
        pair.send(frame(2, 50));
        said = pair.ends[0].say(pair.now);
    }
    assert!(matches!(pair.ends[1].troubles[..], [Trouble::TimedOut(Awaited::Frame)]), "{}", pair.ends[1].trouble());

    // Whole ones wait for nothing, in whatever pieces they come.
    for piece in [1, 4, 5, 6, 100] {
        let mut pair = met(Channel::Messages).pieces(piece);
        for number in 0..5 {
            pair.send(frame(number, 20_000));
            let said = pair.ends[0].say(pair.now);
            pair.ends[1].read(&said[..said.len() - 1], pair.now);
            assert_eq!(pair.ends[1].link.due(), Some(pair.now + seconds(5)));
            pair.ends[1].read(&said[said.len() - 1..], pair.now);
            assert_eq!(pair.ends[1].link.due(), None, "in pieces of {piece}");
        }
    }
}

#[test]
fn a_record_is_not_late_while_this_server_takes_nothing() {
    let mut pair = met(Channel::Snapshot);
    let now = pair.now;
    pair.ends[0].link.offer(&offer(1000), now).unwrap();
    pair.talk();
    pair.ends[1].link.take(now);
    pair.talk();
    let mut said = Vec::new();
    while let Some(count) = pair.ends[0].link.wants_chunk() {
        pair.ends[0].link.chunk(vec![0; count].into(), now).unwrap();
        said.extend(pair.ends[0].say(now));
    }
    // Two chunks and a part of the third.
    let cut = said.len() / 10 * 2 + 20;
    let taken = pair.ends[1].read(&said[..cut], now);
    assert_eq!((taken, pair.ends[1].link.due()), (cut, None));
    pair.pass(Duration::from_secs(100));
    let now = pair.now;
    pair.ends[1].link.stored(2, now);
    pair.ends[1].listen(now);
    assert_eq!(pair.ends[1].link.due(), Some(now + config(2).stall_timeout));
    pair.pass(Duration::from_secs(1));
    assert!(!pair.ends[1].link.is_over());
}
