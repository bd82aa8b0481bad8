//! The commands of `docs/tls.md` make what nodes accept.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use raft_core::NodeId;
use raft_tokio_driver::tls::{Tls, TlsConfig};

use crate::peers::meet;

const GUIDE: &str = include_str!("../../../docs/tls.md");

/// What stands between lines of the kind "```sh".
fn commands() -> Vec<String> {
    let mut blocks = vec![];
    let mut rest = GUIDE;
    while let Some((_, after)) = rest.split_once("```sh\n") {
        let (block, after) = after.split_once("```").expect("a block ends");
        blocks.push(block.to_string());
        rest = after;
    }
    blocks
}

fn run(block: &str, folder: &Path) {
    let output = Command::new("sh").args(["-euc", block]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{block}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn node(folder: &Path, id: u64) -> TlsConfig {
    let file = |end: &str| folder.join(format!("node-{id}.{end}"));
    TlsConfig::files(file("pem"), file("key"), folder.join("authorities.pem"))
}

async fn all_linked(nodes: &[Tls]) {
    for from in nodes {
        for to in nodes.iter().filter(|to| to.node() != from.node()) {
            let (near, far) = meet(from, to.node().0, to).await;
            near.unwrap();
            far.unwrap();
        }
    }
}

#[tokio::test]
async fn the_commands_of_the_guide_work() {
    if Command::new("openssl").arg("version").output().is_err() {
        // Not by `eprintln!`, which a test that passes keeps to itself. `.ci/run` sees to it that there is one.
        let skipped = b"SKIPPED the_commands_of_the_guide_work: there is no openssl here, docs/tls.md is not tried\n";
        std::io::stderr().write_all(skipped).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let blocks = commands();
    let [create, renew, trust_both, reissue, trust_new] = blocks.as_slice() else {
        panic!("the guide has {} blocks of commands", blocks.len());
    };
    run(create, folder);
    let nodes = [1, 2, 3].map(|id| node(folder, id).load(NodeId(id)).unwrap());
    all_linked(&nodes).await;
    for block in [renew, trust_both, reissue, trust_new] {
        run(block, folder);
        nodes.iter().for_each(|node| node.reload().unwrap());
        all_linked(&nodes).await;
    }
    // What the last step took away is gone.
    assert_eq!(std::fs::read_to_string(folder.join("authorities.pem")).unwrap().matches("BEGIN").count(), 1);
}
