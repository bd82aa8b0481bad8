//! What does not come in time.

use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A link with these timeouts on both sides.
fn pair(change: impl Fn(&mut LinkConfig), channel: Channel) -> Pair {
    let configs = [1, 2].map(|id| {
        let mut config = config(id);
        (config.handshake_timeout, config.stall_timeout, config.confirm_timeout) =
            (seconds(2), seconds(5), seconds(60));
        change(&mut config);
        config
    });
    Pair::of(configs, &[Security::Open, Security::Open], channel)
}

#[test]
fn the_time_of_a_handshake_is_granted_once() {
    // However the bytes drip in.
    let mut pair = pair(|_| (), Channel::Messages).pieces(1);
    let hello = pair.ends[0].say(pair.now);
    let (began, mut at) = (pair.now, 0);
    while !pair.ends[1].link.is_over() {
        pair.ends[1].read(&hello[at..=at], pair.now);
        at += 1;
        assert_eq!(pair.ends[1].link.due(), Some(began + seconds(2)));
        pair.pass(Duration::from_millis(100));
    }
    assert_eq!((pair.now - began, at), (seconds(2), 20));
    for end in &pair.ends {
        assert!(matches!(end.troubles[..], [Trouble::TimedOut(Awaited::Handshake)]), "{}", end.trouble());
    }
}

#[test]
fn a_link_that_has_nothing_to_do_waits_for_nothing() {
    let pair = Pair::met(Channel::Messages);
    assert_eq!(pair.ends.each_ref().map(|end| end.link.due()), [None, None]);
}

#[test]
fn half_a_frame_has_a_deadline_as_long_as_nothing_comes() {
    let mut pair = pair(|_| (), Channel::Messages);
    pair.talk();
    pair.send(frame(1, 300_000));
    let stream = pair.ends[0].say(pair.now);
    pair.ends[1].read(&stream[..1], pair.now);
    assert_eq!(pair.ends[1].link.due(), Some(pair.now + seconds(5)));
    pair.pass(seconds(4));
    pair.ends[1].read(&stream[1..100_000], pair.now);
    assert_eq!(pair.ends[1].link.due(), Some(pair.now + seconds(5)), "what comes gives it time again");
    pair.pass(seconds(4));
    assert!(!pair.ends[1].link.is_over());
    pair.pass(seconds(1));
    assert!(matches!(pair.ends[1].troubles[..], [Trouble::TimedOut(Awaited::Frame)]));
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    let mut pair = pair(|_| (), Channel::Messages);
    pair.talk();
    pair.pass(seconds(100));
    pair.send(frame(1, 1000));
    let began = pair.now;
    assert_eq!(pair.ends[0].link.due(), Some(began + seconds(5)), "from when it has something to take");
    pair.pass(seconds(3));
    pair.send(frame(2, 10));
    assert_eq!(pair.ends[0].link.due(), Some(began + seconds(5)), "more to take gives it no time");
    pair.ends[0].link.written(1, pair.now);
    assert_eq!(pair.ends[0].link.due(), Some(began + seconds(8)), "but taking does");
    pair.ends[0].link.written(0, pair.now + seconds(1));
    assert_eq!(pair.ends[0].link.due(), Some(began + seconds(8)), "taking nothing is not taking");
    pair.pass(seconds(5));
    assert!(matches!(pair.ends[0].troubles[..], [Trouble::TimedOut(Awaited::Write)]), "{}", pair.ends[0].trouble());
}

#[test]
fn a_snapshot_must_be_offered_and_answered() {
    let mut pair = pair(|_| (), Channel::Snapshot);
    pair.talk();
    assert_eq!(pair.ends[1].link.due(), Some(pair.now + seconds(5)));
    let now = pair.now;
    pair.ends[0].link.offer(&offer(10), now).unwrap();
    pair.talk();
    assert_eq!(pair.ends[1].link.due(), None, "now this server decides");
    pair.pass(seconds(5));
    assert!(matches!(pair.ends[0].troubles[..], [Trouble::TimedOut(Awaited::Verdict)]));

    let mut pair = self::pair(|_| (), Channel::Snapshot);
    pair.talk();
    pair.pass(seconds(5));
    assert!(matches!(pair.ends[1].troubles[..], [Trouble::TimedOut(Awaited::Offer)]));
}

#[test]
fn data_must_come_while_it_is_waited_for() {
    let mut pair = pair(|_| (), Channel::Snapshot);
    pair.talk();
    let now = pair.now;
    pair.ends[0].link.offer(&offer(1000), now).unwrap();
    pair.talk();
    pair.pass(seconds(3));
    let now = pair.now;
    pair.ends[1].link.take(now);
    pair.talk();
    assert_eq!(pair.ends[0].link.due(), None, "the sender's own disk may take its time");
    assert_eq!(pair.ends[1].link.due(), Some(now + seconds(5)));
    for chunk in 0..2 {
        assert_eq!(pair.ends[0].link.wants_chunk(), Some(100));
        pair.ends[0].link.chunk(body(chunk, 100).into(), now).unwrap();
        pair.talk();
    }
    assert_eq!(pair.ends[1].link.due(), None, "two chunks wait for the receiver's own disk");
    pair.pass(seconds(20));
    let now = pair.now;
    pair.ends[1].link.stored(1, now);
    assert_eq!(pair.ends[1].link.due(), Some(now + seconds(5)), "the sender could not send before");
    pair.pass(seconds(5));
    assert!(matches!(pair.ends[1].troubles[..], [Trouble::TimedOut(Awaited::Data)]));
}

#[test]
fn a_complete_snapshot_has_its_time_to_become_durable() {
    let mut pair = pair(|_| (), Channel::Snapshot);
    pair.talk();
    let now = pair.now;
    pair.ends[0].link.offer(&offer(50), now).unwrap();
    pair.talk();
    pair.ends[1].link.take(now);
    pair.talk();
    assert_eq!(pair.ends[0].link.wants_chunk(), Some(50));
    pair.ends[0].link.chunk(body(1, 50).into(), now).unwrap();
    pair.pass(seconds(4));
    pair.talk();
    assert_eq!(pair.ends[0].link.due(), Some(pair.now + seconds(60)), "from when the last byte is written");
    pair.pass(seconds(60));
    assert!(matches!(pair.ends[0].troubles[..], [Trouble::TimedOut(Awaited::Confirmation)]));
    assert!(!pair.ends[1].link.is_over(), "the receiver waits for nobody");
}

#[test]
fn a_timeout_without_end_never_passes() {
    let forever = |config: &mut LinkConfig| {
        (config.handshake_timeout, config.stall_timeout, config.confirm_timeout) =
            (Duration::MAX, Duration::MAX, Duration::MAX);
    };
    for channel in [Channel::Messages, Channel::Snapshot] {
        let mut pair = pair(forever, channel);
        let due = |pair: &Pair| pair.ends.each_ref().map(|end| end.link.due());
        assert_eq!(due(&pair), [None, None]);
        pair.talk();
        pair.send(frame(1, 100_000));
        let now = pair.now;
        pair.ends[0].link.offer(&offer(50), now).unwrap();
        assert_eq!(due(&pair), [None, None]);
        let said = pair.ends[0].say(now);
        pair.ends[1].read(&said[..5], now);
        assert_eq!(due(&pair), [None, None]);
        pair.ends[1].read(&said[5..], now);
        pair.ends[1].link.take(now);
        pair.talk();
        if pair.ends[0].link.wants_chunk().is_some() {
            pair.ends[0].link.chunk(body(1, 50).into(), now).unwrap();
            pair.talk();
            pair.ends[1].link.stored(1, now);
            pair.ends[1].link.confirm(now);
        }
        assert_eq!(due(&pair), [None, None]);
        pair.pass(seconds(1_000_000));
        assert!(pair.ends.iter().all(|end| end.troubles.is_empty()));
    }
}
