//! Changes of the membership, asked for by a handle.

use std::sync::mpsc;
use std::thread;

use raft_std_driver::raft_core::{Address, Change, Edit, EditError, MemberRole, Membership, NodeId, Refusal};
use raft_std_driver::{ChangeError, ChangeOutcome};

use crate::cluster::{Cluster, eventually};

/// Have the change done by whoever leads; returns its leader's configuration afterwards.
fn change(cluster: &Cluster, edit: &Edit) -> Membership {
    eventually(&format!("{edit} is done"), || {
        let node = cluster.leader().node();
        match node.change(Change::of(edit.clone())) {
            Ok(ChangeOutcome::Done { change }) => {
                let membership = node.status().membership;
                assert!(membership.change() >= change, "{membership} is older than {change}");
                Some(membership)
            }
            Ok(ChangeOutcome::Superseded)
            | Err(ChangeError::Refused(
                Refusal::NotLeader { .. }
                | Refusal::NotReady
                | Refusal::ChangePending { .. }
                | Refusal::Edit(EditError::NotCaughtUp { .. }),
            )) => None,
            other => panic!("{edit}: {other:?}"),
        }
    })
}

fn role(membership: &Membership, id: u64) -> Option<MemberRole> {
    membership.member(NodeId(id)).map(|member| member.role)
}

#[test]
fn voters_are_demoted_promoted_removed_and_added() {
    let mut cluster = Cluster::new(3, |config| config.raft.record_disks = true);
    cluster.put("c1");
    let learner = cluster.members.iter().map(|member| member.id).find(|id| *id != cluster.leader().id).unwrap();

    let membership = change(&cluster, &Edit::Demote { id: learner });
    assert_eq!(role(&membership, learner.0), Some(MemberRole::Learner { wanted: None }), "{membership}");
    cluster.put("c2");
    let membership = change(&cluster, &Edit::Promote { id: learner });
    assert_eq!(role(&membership, learner.0), Some(MemberRole::Voter), "{membership}");
    assert!(!membership.is_joint());

    // The leader itself: it hands over when the others know.
    let leaver = cluster.leader().id;
    let membership = change(&cluster, &Edit::Remove { id: leaver });
    assert!(!membership.contains(leaver), "{membership}");
    assert_eq!(membership.voters().incoming.len(), 2, "{membership}");
    let at = cluster.members.iter().position(|member| member.id == leaver).unwrap();
    eventually("the leaver follows", || cluster.members[at].node().status().followers.is_empty().then_some(()));
    cluster.sleep(at);
    cluster.put("c3");

    let newcomer = cluster.newcomer(NodeId(4));
    change(&cluster, &Edit::AddVoter { id: NodeId(4), address: Address::default() });
    eventually("the newcomer votes", || {
        let membership = cluster.members[newcomer].node().status().membership;
        (role(&membership, 4) == Some(MemberRole::Voter) && !membership.is_joint()).then_some(())
    });
    cluster.put("c4");
    cluster.agree_on(&["c1", "c2", "c3", "c4"].map(str::to_owned));
}

/// A leader that is cut off takes a change; it hears of the outcome when it hears of another leader's entries, or stops.
#[test]
fn a_change_that_another_leader_replaced_is_superseded() {
    for stops in [false, true] {
        let mut cluster = Cluster::new(3, |_| {});
        cluster.put("before");
        let (tell, told) = mpsc::channel();
        let old = eventually("a leader takes a change just before it steps down", || {
            cluster.network.heal();
            let leader = cluster.leader();
            cluster.network.isolate(leader.id);
            let (node, tell, remove) = (leader.node().clone(), tell.clone(), Edit::Remove { id: leader.id });
            let last = node.status().last;
            let asked = node.clone();
            thread::spawn(move || tell.send(asked.change(Change::of(remove))).unwrap());
            eventually("the change is in the log, or refused", || match told.try_recv() {
                Ok(Err(ChangeError::Refused(_))) => Some(None),
                Ok(other) => panic!("{other:?}"),
                Err(_) => (node.status().last > last).then_some(Some(leader.id)),
            })
        });
        cluster.put_among("kept", |id| id != old);
        assert!(told.try_recv().is_err(), "nothing is decided while it is cut off");
        let outcome = if stops {
            let at = cluster.members.iter().position(|member| member.id == old).unwrap();
            cluster.sleep(at);
            ChangeOutcome::Unknown
        } else {
            cluster.network.heal();
            ChangeOutcome::Superseded
        };
        assert_eq!(told.recv().unwrap(), Ok(outcome));
        cluster.agree_on(&["before".to_owned(), "kept".to_owned()]);
    }
}

#[test]
fn a_change_is_refused_with_the_reason() {
    let cluster = Cluster::new(3, |_| {});
    cluster.put("before");
    let refused = |edit: Edit| cluster.leader().node().change(Change::of(edit));
    let unknown = Refusal::Edit(EditError::UnknownServer { id: NodeId(9) });
    assert_eq!(refused(Edit::Remove { id: NodeId(9) }), Err(unknown.into()));
    let leader = cluster.leader().id;
    let follower = cluster.members.iter().find(|member| member.id != leader).unwrap().node();
    let answer = follower.change(Change::of(Edit::Remove { id: leader }));
    assert!(matches!(answer, Err(ChangeError::Refused(Refusal::NotLeader { .. }))), "{answer:?}");
    follower.shutdown().unwrap();
    assert_eq!(follower.change(Change::of(Edit::Remove { id: leader })), Err(ChangeError::Stopped));
}
