//! Frames: how they are made, and how they come out again.

use raft_core::FRAME_BYTES_MAX;

use super::super::input::{BUFFER_BYTES, Input};
use super::super::output::Output;
use super::super::wire::{FRAME_HEADER_BYTES, FrameError, FrameHeader};
use super::*;

const HEADER: usize = FRAME_HEADER_BYTES;

fn bytes_of(frames: impl IntoIterator<Item = Frame>) -> Vec<u8> {
    let mut output = Output::default();
    frames.into_iter().for_each(|frame| output.push_frame(frame));
    output.iter().collect::<Vec<_>>().concat()
}

/// Read `stream` in pieces of at most `piece` bytes.
fn read(mut stream: &[u8], piece: usize) -> Vec<Bytes> {
    let (mut input, mut bodies) = (Input::new(), Vec::new());
    input.expect_frames();
    loop {
        while let Some(body) = input.frame(FRAME_BYTES_MAX).unwrap() {
            bodies.push(body);
        }
        if stream.is_empty() {
            return bodies;
        }
        let room = input.room();
        assert!(!room.is_empty(), "an empty read would look like the end");
        let count = room.len().min(piece).min(stream.len());
        room[..count].copy_from_slice(&stream[..count]);
        stream = &stream[count..];
        input.filled(count);
    }
}

#[test]
fn frames_come_out_however_they_come_in() {
    const BUFFER: usize = BUFFER_BYTES;
    let lengths = [1, 7, 12, 13, BUFFER - 12, BUFFER, BUFFER + 12, 100, 1, 3_000_000, 1 << 20, 5, 200_000];
    let bodies: Vec<_> = lengths.iter().enumerate().map(|(number, length)| body(number, *length)).collect();
    let stream = bytes_of(lengths.iter().enumerate().map(|(number, length)| frame(number, *length)));
    for piece in [1, 2, 11, 12, 13, 1000, BUFFER - 1, BUFFER, BUFFER + 1, usize::MAX] {
        assert!(read(&stream, piece) == bodies, "in pieces of {piece}");
    }
}

#[test]
fn a_frame_in_parts_is_the_frame() {
    let whole = body(3, 800_000);
    for (own, shared) in
        [(0, 10), (1, 1), (40, 2000), (40, 3000), (3000, 40), (40, 511 << 10), (9, 600 << 10), (299, 1)]
    {
        let (head, tail) = (&whole[..own], &whole[own..own + shared]);
        let tail = Tail::new(Bytes::copy_from_slice(tail));
        let write = |out: &mut Vec<u8>| {
            out.extend(head);
            Ok::<_, FrameError>(())
        };
        let frame = Frame::new(write, Some(&tail)).unwrap();
        assert_eq!(frame.len(), HEADER + own + shared);
        assert!(bytes_of([frame]) == bytes_of([Frame::whole(&whole[..own + shared]).unwrap()]), "{own} and {shared}");
    }
}

#[test]
fn a_frame_has_its_limits() {
    let empty = Frame::whole(&[]).map(|_| ());
    assert_eq!(empty, Err(FrameError::Length { bytes: 0, max: FRAME_BYTES_MAX }));
    let tail = Tail::new(vec![0; FRAME_BYTES_MAX].into());
    let just = |own: &[u8]| {
        let own = own.to_vec();
        Frame::new::<FrameError>(
            move |out| {
                out.extend(own);
                Ok(())
            },
            Some(&tail),
        )
        .map(|frame| frame.len())
    };
    assert_eq!(just(&[]), Ok(HEADER + FRAME_BYTES_MAX));
    assert_eq!(just(&[1]), Err(FrameError::Length { bytes: FRAME_BYTES_MAX + 1, max: FRAME_BYTES_MAX }));
}

#[test]
fn a_shared_tail_is_not_copied_and_small_parts_are_gathered() {
    let tail = Tail::new(vec![7; 5000].into());
    let write = |out: &mut Vec<u8>| {
        out.push(1);
        Ok::<_, FrameError>(())
    };
    let shared = || Frame::new(write, Some(&tail)).unwrap();
    let mut output = Output::default();
    for frame in [frame(1, 10), frame(2, 10), shared(), frame(3, 10), shared()] {
        output.push_frame(frame);
    }
    let lengths: Vec<_> = output.iter().map(<[u8]>::len).collect();
    assert_eq!(lengths, [22 + 22 + 13, 5000, 22 + 13, 5000]);
    let tails: Vec<_> = output.iter().filter(|slice| slice.len() == 5000).map(<[u8]>::as_ptr).collect();
    assert_eq!(tails[0], tails[1], "one memory for all");
}

#[test]
fn output_is_written_in_any_pieces() {
    let frames = || [frame(1, 10), frame(2, 3000), frame(3, 1), frame(4, 100_000), frame(5, 2)];
    let whole = bytes_of(frames());
    for piece in [1, 2, 21, 22, 23, 4000, 99_999, usize::MAX] {
        let (mut output, mut written) = (Output::default(), Vec::<u8>::new());
        frames().into_iter().for_each(|frame| output.push_frame(frame));
        while output.len() > 0 {
            let bytes = output.iter().collect::<Vec<_>>().concat();
            assert_eq!(bytes.len(), output.len());
            let count = piece.min(bytes.len());
            written.extend(&bytes[..count]);
            output.written(count);
        }
        assert!(written == whole, "in pieces of {piece}");
        assert_eq!(output.iter().count(), 0);
    }
}

#[test]
fn what_is_promised_is_not_reserved() {
    let mut input = Input::new();
    input.expect_frames();
    let header = FrameHeader::new(FRAME_BYTES_MAX, 0, FRAME_BYTES_MAX).unwrap().encode();
    input.room()[..HEADER].copy_from_slice(&header);
    input.filled(HEADER);
    assert!(input.frame(FRAME_BYTES_MAX).unwrap().is_none());
    assert_eq!(input.room().len(), 1 << 20);
}
