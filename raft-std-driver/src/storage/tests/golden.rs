//! The bytes of format version 1, which later builds must be able to read.

use super::*;

/// A header of 80 bytes, a frame of two writes, a frame of one.
const SEGMENT: &str = "\
524146542d57414c0100000072aa5fbe01000000000000000100000000000000
000000000d000000f0debc9a7856341207000000000000000100000000000000
00000000030102030000000100000000ecda0c1df11ec6c772aa5fbe22000000
01000000000000000100000000000000120000000101010100000101021c016f
6e651874776f0800000001010102010300000000000000003f3641152fda6c84
ecda0c1d13000000010000000000000002000000000000000f00000001010001
00010203010203000002";
/// A header of 40 bytes, one block.
const SNAPSHOT: &str = "\
52414654534e415001000000f9bd030f01000000000000000200000000000000
0a00000000000000324031204c6f63616c206ef32abc";

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    lines.collect::<Vec<_>>().join("\n")
}

fn contents(disk: &SimDisk, prefix: &str) -> Vec<u8> {
    disk.contents().into_iter().find(|(name, _)| name.starts_with(prefix)).unwrap().1
}

#[test]
fn version_1_stays_as_it_is() {
    let mut session = Session::begun(360);
    session.persist(&[append(1, 1, &[b"one", b"two"]), vote(2, 3)]).unwrap();
    session.persist(&[compacted(EntryId::new(1, 2), 2)]).unwrap();
    let segment = contents(&session.disk, "wal-");
    let used = segment.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    assert_eq!(hex(&segment[..used]), SEGMENT);
    assert_eq!(hex(&contents(&session.disk, "snapshot-")), SNAPSHOT);
}
