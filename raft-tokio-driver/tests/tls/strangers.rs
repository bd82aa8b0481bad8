//! Who speaks no TLS, or none that makes sense.

use std::time::Duration;

use raft_core::NodeId;
use raft_tokio_driver::tls::TlsError;
use raft_tokio_driver::transport::link::Guard;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::certs::Authority;
use crate::peers::{fault, in_time, incoming, outgoing, tcp};

/// As the transport begins without TLS.
const HELLO: &[u8; 40] = b"raft-tcp\x01\0\0\0the rest of it does not matt";

/// Says something, and hears what comes until the end.
async fn say(mut stream: TcpStream, what: &[u8]) -> Vec<u8> {
    let mut heard = vec![];
    let _ = stream.write_all(what).await;
    let _ = stream.read_to_end(&mut heard).await;
    heard
}

#[tokio::test]
async fn a_plain_peer_that_connects() {
    let tls = Authority::new("cluster").tls(2);
    let (connected, accepted) = tcp().await;
    let (heard, accepted) = in_time(async { tokio::join!(say(connected, HELLO), incoming(&tls, accepted)) }).await;
    let error = fault(accepted);
    assert!(matches!(error, TlsError::NotTls(_)), "{error}");
    assert!(error.to_string().starts_with("the other end does not speak TLS"), "{error}");
    // An alert at most, and the end: less than the 16 bytes that answer a hello.
    assert!(heard.len() < 16, "{heard:?}");
}

#[tokio::test]
async fn a_plain_peer_that_is_connected_to() {
    let tls = Authority::new("cluster").tls(1);
    // As the transport does: who does not begin with a hello gets no answer.
    let (connected, mut accepted) = tcp().await;
    let accept = async move {
        accepted.read_exact(&mut [0; 40]).await.unwrap();
    };
    let error = fault(in_time(async { tokio::join!(accept, outgoing(&tls, 2, connected)).1 }).await);
    assert!(matches!(error, TlsError::Ended), "{error}");
    assert!(error.to_string().contains("it may be set to plain TCP"), "{error}");

    // One that answers, in its own way.
    let (connected, accepted) = tcp().await;
    let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    let error = fault(in_time(async { tokio::join!(say(accepted, answer), outgoing(&tls, 2, connected)).1 }).await);
    assert!(matches!(error, TlsError::NotTls(_)), "{error}");
}

#[tokio::test]
async fn garbage_is_refused_whatever_it_looks_like() {
    let authority = Authority::new("cluster");
    let tls = authority.tls(2);
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..200 {
        let mut garbage: Vec<u8> = (0..random.usize(1..5000)).map(|_| random.u8(..)).collect();
        if round % 2 == 0 {
            // A record of the right kind, of some length, with anything in it.
            let length = u16::try_from(garbage.len()).unwrap().to_be_bytes();
            garbage.splice(0..0, [22, 3, 1, length[0], length[1]]);
        }
        if round % 4 == 0 && garbage.len() > 9 {
            // Even a client hello, by its first byte and length.
            let length = u16::try_from(garbage.len() - 9).unwrap().to_be_bytes();
            garbage[5..9].copy_from_slice(&[1, 0, length[0], length[1]]);
        }
        let (mut near, far) = tokio::io::duplex(1 << 16);
        let send = async {
            let _ = near.write_all(&garbage).await;
            let _ = near.shutdown().await;
            near.read_to_end(&mut vec![]).await
        };
        let (_, end) = in_time(async {
            if round % 3 == 0 {
                let (sent, end) = tokio::join!(send, outgoing(&tls, 1, far));
                (sent, end.err())
            } else {
                let (sent, end) = tokio::join!(send, incoming(&tls, far));
                (sent, end.err())
            }
        })
        .await;
        assert!(end.is_some(), "round {round}: accepted");
    }
}

/// A peer's own bytes, with one of them changed on the way or the rest of them missing. On a clock that jumps when nothing
/// happens: a changed length may make one end wait for what never comes.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_tampered_with_makes_no_link() {
    let authority = Authority::new("cluster");
    let (one, two) = (authority.tls(1), authority.tls(2));
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..100 {
        let (near, between_near) = tokio::io::duplex(1 << 14);
        let (between_far, far) = tokio::io::duplex(1 << 14);
        let (mut from_near, mut to_near) = tokio::io::split(between_near);
        let (mut from_far, mut to_far) = tokio::io::split(between_far);
        // Not in the header of the first record, of which TLS ignores the version.
        let place = random.usize(5..400);
        let (there, cut) = (round % 2 == 0, round % 4 < 2);
        let relays = async {
            tokio::join!(
                relay(&mut from_near, &mut to_far, there.then_some(place), cut),
                relay(&mut from_far, &mut to_near, (!there).then_some(place), cut),
            )
        };
        let limit = Duration::from_secs(10);
        let ends = async {
            tokio::join!(
                tokio::time::timeout(limit, one.secure_outgoing(NodeId(2), Box::new(near))),
                tokio::time::timeout(limit, two.secure_incoming(Box::new(far))),
            )
        };
        let ((near, far), _) = tokio::join!(ends, relays);
        let linked = (matches!(near, Ok(Ok(_))), matches!(far, Ok(Ok(_))));
        assert_eq!(linked, (false, false), "round {round}, byte {place}");
    }
}

async fn relay(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    place: Option<usize>,
    cut: bool,
) {
    let (mut at, mut byte) = (0, [0]);
    while let Ok(1) = from.read(&mut byte).await {
        if place == Some(at) {
            if cut {
                break;
            }
            byte[0] ^= 0x10;
        }
        at += 1;
        if to.write_all(&byte).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// Who says nothing is the caller's to give up; then the connection is closed.
#[tokio::test]
async fn giving_up_closes() {
    let tls = Authority::new("cluster").tls(2);
    for accepting in [true, false] {
        let (mut silent, far) = tokio::io::duplex(1 << 14);
        let waiting = async {
            if accepting {
                tls.secure_incoming(Box::new(far)).await.is_ok()
            } else {
                tls.secure_outgoing(NodeId(1), Box::new(far)).await.is_ok()
            }
        };
        tokio::select! {
            biased;
            _ = waiting => panic!("nobody answered"),
            () = tokio::task::yield_now() => {}
        }
        in_time(silent.read_to_end(&mut vec![])).await.unwrap();
    }
}

/// On some systems a connection that is closed with something unread takes with it what was said last, the alert. A socket
/// of ours does not tell; a stream with a small buffer does.
#[tokio::test]
async fn who_is_refused_may_end_what_it_says_within_limits() {
    let tls = Authority::new("cluster").tls(2);
    let (mut near, far) = tokio::io::duplex(100);
    let speak = async {
        near.write_all(&[7; 10_000]).await.expect("it is heard out");
        near.shutdown().await.unwrap();
        let mut heard = vec![];
        near.read_to_end(&mut heard).await.unwrap();
        heard
    };
    let (heard, refused) = in_time(async { tokio::join!(speak, incoming(&tls, far)) }).await;
    assert_eq!(heard.first(), Some(&21), "an alert");
    assert!(matches!(fault(refused), TlsError::NotTls(_)));

    let (mut near, far) = tokio::io::duplex(100);
    let speak_on = async { while near.write_all(&[7; 100]).await.is_ok() {} };
    let ((), refused) = in_time(async { tokio::join!(speak_on, incoming(&tls, far)) }).await;
    assert!(matches!(fault(refused), TlsError::NotTls(_)));
}
