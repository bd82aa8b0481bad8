//! The bytes of format version 3, which later builds must be able to read.

use super::*;

/// A header of 112 bytes, a frame of two writes, a frame of one, and the mark that confirms it at the end of the file.
const SEGMENT: &str = "\
524146542d57414c03000000834c0d4101000000000000000100000000000000
0000000019000000f0debc9a7856341207000000000000000100000000000000
2238d706793c1ea4680100000000000000000000000003010000000002000000
00030000000000010000000000000000c8c2ac132956f46b834c0d4123000000
01000000000000000100000000000000120000000201010100000101021c016f
6e651874776f0900000002010102010309000000000000009eab530f71d1311f
c8c2ac131f000000010000000000000002000000000000001b00000002010001
0001020000030100000000020000000003000000000200000000000000000000
0000000000000000000000000000000000000000000000000000000000000000
0000000000000000000000000000000000000000000000000000000000000000
0000000000000000101db1eeb499a4266154acf0000000000100000000000000
03";
/// A header of 40 bytes, one block. Its format has a version of its own: 2.
const SNAPSHOT: &str = "\
52414654534e415002000000f9bd030f01000000000000000200000000000000
0a00000000000000324031204c6f63616c206ef32abc";

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    lines.collect::<Vec<_>>().join("\n")
}

fn contents(disk: &SimDisk, prefix: &str) -> Vec<u8> {
    disk.contents().into_iter().find(|(name, _)| name.starts_with(prefix)).unwrap().1
}

#[test]
fn version_3_stays_as_it_is() {
    let mut session = Session::begun(360);
    session.persist(&[append(1, 1, &[b"one", b"two"]), vote(2, 3)]).unwrap();
    session.persist(&[compacted(EntryId::new(1, 2), 2)]).unwrap();
    session.storage().close_tail().unwrap();
    let segment = contents(&session.disk, "wal-");
    let used = segment.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    assert_eq!(hex(&segment[..used]), SEGMENT);
    assert_eq!(hex(&contents(&session.disk, "snapshot-")), SNAPSHOT);
}
