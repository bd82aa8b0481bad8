use std::vec;
use std::vec::Vec;

use super::SERVERS;
use super::bounds::{Bounds, node};
use super::local::Local;
use super::mail::Mail;
use super::stages::Stage;
use super::story::{replay, word};
use super::tables::{Deed, Tables};
use super::world::{Choice, World, least};
use crate::sim::entropy::Entropy;
use crate::{NodeId, RoleKind};

/// A world in which everything happens.
const WIDE: Bounds = Bounds {
    terms: 4,
    campaigns: 6,
    commands: 4,
    crashes: 3,
    duplicates: 3,
    heartbeats: 4,
    step_downs: 1,
    compactions: 3,
    late_writes: 6,
    reads: 2,
    transfers: 2,
    leases: true,
    pre_votes: true,
    ..Bounds::CALM
};

/// The same with a disk that is lost.
const WIPED: Bounds = Bounds { wipes: 1, stage: Stage::Recorded, ..WIDE };

/// The same in the midst of a change. Some servers differ in what they are.
const CHANGED: [Bounds; 3] = [
    Bounds { noop: true, changes: 2, ..WIDE },
    Bounds { noop: true, stage: Stage::Leave, ..WIDE },
    Bounds { noop: true, changes: 2, stage: Stage::Learner, ..WIDE },
];

/// A random way through a world; `each` sees every step of it, with the world before and after.
fn wander(
    tables: &mut Tables,
    entropy: &mut Entropy,
    steps: usize,
    mut each: impl FnMut(&mut Tables, &World, Choice, &World),
) {
    let mut world = World::first(tables).unwrap();
    let mut choices = Vec::new();
    for _ in 0..steps {
        world.choices(tables, &mut choices);
        if choices.is_empty() {
            return;
        }
        let choice = choices[entropy.place(choices.len())];
        let Some(change) = world.change(tables, choice).unwrap() else { continue };
        let next = world.after(&change);
        let prints = world.prints(tables);
        assert_eq!(world.print_after(tables, &prints, &change), least(&next.prints(tables)), "the sum is kept up");
        each(tables, &world, choice, &next);
        world = next;
    }
}

/// What the tables say of a server that came to its state in one way holds for a server that came there in another: the
/// fingerprint holds all that matters. Servers that were never merged go the same ways beside the tables.
#[test]
fn servers_with_the_same_fingerprint_behave_the_same() {
    merged_servers_behave_the_same(WIDE, 3000);
}

/// As above, where the membership changes and a disk is lost.
#[test]
fn servers_that_change_behave_the_same() {
    [WIPED].into_iter().chain(CHANGED).for_each(|bounds| merged_servers_behave_the_same(bounds, 1000));
}

fn merged_servers_behave_the_same(bounds: Bounds, turns: usize) {
    let mut tables = Tables::new(bounds);
    let mut entropy = Entropy::from_seed(1);
    let (mut leaders, mut met) = (0, 0);
    for _ in 0..turns {
        let mut real: Vec<Local> = (0..SERVERS).map(|slot| Local::new(slot, &bounds).unwrap()).collect();
        wander(&mut tables, &mut entropy, 80, |tables, world, choice, next| {
            let Choice { slot, deed, late, .. } = choice;
            let effect = real[slot].act(tables.act(deed), late, &bounds).unwrap();
            let print = tables.local_prints[next.locals[slot] as usize][0];
            assert_eq!(effect.local.fingerprint(&[]), print, "{choice:?} comes out otherwise");
            leaders += usize::from(effect.local.raft.status().role() == RoleKind::Leader);
            met += 1;
            let said: Vec<u32> = effect.sent.into_iter().map(|mail| tables.mail(mail)).collect();
            let known = tables.outcome(world.locals[slot], deed, late).unwrap();
            assert_eq!(known.sent.to_vec(), said, "{choice:?} says otherwise");
            real[slot] = effect.local;
        });
    }
    assert!(leaders > turns / 4 && tables.outcomes_met() < met, "{leaders} {met} {}", tables.outcomes_met());
}

/// No rule prefers a server: whatever happens to three of them can happen to the same three under other names, and the
/// two states have one fingerprint.
#[test]
fn mirrored_worlds_are_one() {
    walk_mirrors(WIDE);
}

/// A server that lost its disk is told apart by that, whatever it is called.
#[test]
fn mirrored_worlds_with_a_lost_disk_are_one() {
    walk_mirrors(WIPED);
}

fn walk_mirrors(bounds: Bounds) {
    let mut tables = Tables::new(bounds);
    let mut entropy = Entropy::from_seed(2);
    for turn in 0..2000 {
        let names = [[1, 0, 2], [2, 1, 0], [0, 2, 1], [1, 2, 0], [2, 0, 1]][turn % 5];
        let mut mirror = World::first(&mut tables).unwrap();
        let mut choices = Vec::new();
        wander(&mut tables, &mut entropy, 60, |tables, _, choice, next| {
            let mut mail = |id: u32| {
                let Mail { from, to, content } = tables.mails[id as usize].clone();
                let renamed = |id: NodeId| node(names[super::bounds::slot(id).unwrap()]);
                tables.mail(Mail { from: renamed(from), to: renamed(to), content })
            };
            let deed = match choice.deed {
                Deed::Receive(id) => Deed::Receive(mail(id)),
                Deed::ReceiveInSilence(id) => Deed::ReceiveInSilence(mail(id)),
                Deed::Lose(id) => Deed::Lose(mail(id)),
                Deed::Transfer(to) => Deed::Transfer(u8::try_from(names[usize::from(to)]).unwrap()),
                other => other,
            };
            let mirrored = Choice { slot: names[choice.slot], deed, ..choice };
            mirror.choices(tables, &mut choices);
            assert!(choices.contains(&mirrored), "{mirrored:?} is not possible where {choice:?} is");
            let change = mirror.change(tables, mirrored).unwrap().unwrap();
            mirror = mirror.after(&change);
            assert_eq!(least(&mirror.prints(tables)), least(&next.prints(tables)));
        });
    }
}

/// Each of these is another state, so each has another fingerprint: a word that was forgotten would merge them.
#[test]
fn what_matters_tells_states_apart() {
    let bounds = Bounds { late_writes: Bounds::ALWAYS, ..Bounds::CALM };
    let first = Local::new(0, &bounds).unwrap();
    let mut prints = vec![first.fingerprint(&[])];
    let mut one = first;
    for act in [super::local::Act::Campaign, super::local::Act::Persist(1)] {
        one = one.act(act, true, &bounds).unwrap().local;
        prints.push(one.fingerprint(&[]));
        // What was shown to others is not all: the core itself changed.
        prints.push(one.raft.fingerprint(&[]));
    }
    prints.push(one.raft.fingerprint(&[(node(0), 2), (node(1), 1)]));
    let count = prints.len();
    prints.sort_unstable();
    prints.dedup();
    assert_eq!(prints.len(), count);
}

/// The words of a path lead the same way again.
#[test]
fn a_path_can_be_walked_again_by_its_words() {
    let mut tables = Tables::new(WIDE);
    let mut words = Vec::new();
    wander(&mut tables, &mut Entropy::from_seed(6), 120, |tables, _, choice, _| words.push(word(tables, choice)));
    let mut lines = 0;
    replay(WIDE, &words.join(","), |_| lines += 1).unwrap();
    assert!(words.len() > 30 && lines == words.len());
}
