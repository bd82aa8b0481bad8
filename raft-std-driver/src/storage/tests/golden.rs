//! The bytes of format version 2, which later builds must be able to read.

use super::*;

/// A header of 96 bytes, a frame of two writes, a frame of one.
const SEGMENT: &str = "\
524146542d57414c0200000049107d9c01000000000000000100000000000000
0000000019000000f0debc9a7856341207000000000000000100000000000000
0000000000000301000000000200000000030000000000010000000000000000
f7bd2dc22956f46b49107d9c2300000001000000000000000100000000000000
120000000201010100000101021c016f6e651874776f09000000020101020103
090000000000000032d43a8b71d1311ff7bd2dc21f0000000100000000000000
02000000000000001b0000000201000100010200000301000000000200000000
030000000002";
/// A header of 40 bytes, one block.
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
fn version_2_stays_as_it_is() {
    let mut session = Session::begun(360);
    session.persist(&[append(1, 1, &[b"one", b"two"]), vote(2, 3)]).unwrap();
    session.persist(&[compacted(EntryId::new(1, 2), 2)]).unwrap();
    let segment = contents(&session.disk, "wal-");
    let used = segment.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    assert_eq!(hex(&segment[..used]), SEGMENT);
    assert_eq!(hex(&contents(&session.disk, "snapshot-")), SNAPSHOT);
}
