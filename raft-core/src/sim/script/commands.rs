//! What a script may say beside events: who starts and crashes, what the network, the disks and the applications do.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::grammar::{self, Words, Wrong};
use super::world::{Letter, World};
use super::{Outcome, Stop, events, expect, picture};
use crate::sim::clients::COMMAND_BYTES_MIN;
use crate::sim::cluster::Transfer;
use crate::{Event, Index, NodeId, RoleKind};

/// How many steps `stabilize` takes at most: servers that still talk then talk without end.
const STEPS_MAX: u32 = 10_000;

pub(crate) fn run(world: &mut World, command: &str) -> Outcome {
    let mut words = Words::new(command);
    if let Some(id) = words.takes_server() {
        return events::run(world, id, words);
    }
    match words.word("a command")? {
        "quietly" => return run(world, words.rest()),
        verb @ ("config" | "state" | "mount") => prepare(world, verb, &mut words)?,
        "boot" => boot(world, &mut words)?,
        "crash" => {
            let slots = servers(world, &mut words)?;
            let up = slots.into_iter().filter(|slot| world.server(*slot).is_up()).collect::<Vec<_>>();
            up.into_iter().for_each(|slot| world.crash(slot));
        }
        "tick" => tick(world, &mut words)?,
        "timeout" => time_out(world, &mut words)?,
        "wipe" => servers(world, &mut words)?.into_iter().for_each(|slot| world.wipe(slot)),
        "start" => start(world, &mut words)?,
        "transfer" => transfer(world, &mut words)?,
        "read" => {
            let slot = server(world, &mut words)?;
            events::read(world, slot, None)?;
        }
        "change" => return change(world, words),
        verb @ ("deliver" | "drop" | "duplicate" | "reorder") => mail(world, verb, &mut words)?,
        "part" => part(world, &mut words)?,
        "cut" => cut(world, &mut words)?,
        "heal" => world.cluster.network.mend(),
        verb @ ("hold" | "release") => hold(world, verb == "hold", &mut words)?,
        verb @ ("persist" | "sync") => disk(world, verb == "persist", &mut words)?,
        "apply" => {
            let slot = server(world, &mut words)?;
            let through = if words.takes("through") { words.number("an index")? } else { Index::MAX.0 };
            world.apply(slot, Index(through))?;
        }
        "keep" => {
            let slot = server(world, &mut words)?;
            events::keep(world, slot);
        }
        "compact" => {
            let slot = server(world, &mut words)?;
            let applied = world.server(slot).machine.state.last.index;
            let index = words.takes_number().map_or(applied, Index);
            world.make_snapshot(slot, index)?;
            world.step(slot, Event::Compact { index })?;
        }
        "snapshot" => snapshot(world, &mut words)?,
        "stabilize" => stabilize(world)?,
        "show" => picture::show(world, &mut words)?,
        "expect" => expect::check(world, &mut words)?,
        "cluster" => return Err(Stop::Wrong("there is one cluster in a script".into())),
        other => return Err(Stop::Wrong(format!("`{other}` is not a command"))),
    }
    Ok(words.end()?)
}

pub(crate) fn server(world: &World, words: &mut Words<'_>) -> Wrong<usize> {
    match words.takes_server() {
        Some(id) => world.slot(id),
        None => Err("a server like s2 is missing".into()),
    }
}

/// The servers that are named, or all.
fn servers(world: &World, words: &mut Words<'_>) -> Wrong<Vec<usize>> {
    let mut slots = Vec::new();
    while let Some(id) = words.takes_server() {
        slots.push(world.slot(id)?);
    }
    Ok(if slots.is_empty() { world.slots().collect() } else { slots })
}

/// What a server's next start finds: its settings, what is stated of its disk, or another disk.
fn prepare(world: &mut World, verb: &str, words: &mut Words<'_>) -> Outcome {
    let slot = server(world, words)?;
    match verb {
        "config" => Ok(world.configure(slot, words)?),
        "state" => world.state(slot, words),
        _ => world.mount(slot, words),
    }
}

fn boot(world: &mut World, words: &mut Words<'_>) -> Outcome {
    for slot in servers(world, words)? {
        if !world.server(slot).is_up() {
            world.start(slot)?;
        }
    }
    Ok(())
}

/// `tick 5`, `tick s1 s2 5`: tick by tick, for all who are up.
fn tick(world: &mut World, words: &mut Words<'_>) -> Outcome {
    let slots = servers(world, words)?;
    let ticks = words.takes_number().unwrap_or(1);
    if ticks > 10_000 {
        return Err(Stop::Wrong(format!("{ticks} ticks are too many for a script")));
    }
    for _ in 0..ticks {
        for &slot in &slots {
            if world.server(slot).is_up() {
                world.step(slot, Event::Tick { elapsed: 1 })?;
            }
        }
    }
    Ok(())
}

fn time_out(world: &mut World, words: &mut Words<'_>) -> Outcome {
    let slot = server(world, words)?;
    if world.server(slot).seen.role == RoleKind::Leader && world.server(slot).is_up() {
        return Err(Stop::Wrong(format!("{} leads and has no election timer", world.name(slot))));
    }
    events::time_out_in(world, slot, 1)?;
    world.step(slot, Event::Tick { elapsed: 1 })
}

/// `start s1`, `start s1 3`, `start s1 2 of 100`
fn start(world: &mut World, words: &mut Words<'_>) -> Outcome {
    let slot = server(world, words)?;
    let count = words.takes_number().unwrap_or(1);
    let bytes = if words.takes("of") { words.number("how many bytes")? } else { COMMAND_BYTES_MIN as u64 };
    events::start_commands(world, slot, count, bytes, None)
}

/// `transfer s1`, `transfer s1 to s2`: an operator asks for it.
fn transfer(world: &mut World, words: &mut Words<'_>) -> Outcome {
    let slot = server(world, words)?;
    let to = if words.takes("to") { Some(world.server(server(world, words)?).id) } else { None };
    events::transfer(world, slot, None, to)
}

/// `change s1: add voter 4, remove 3 if 7@2`: an operator asks for it.
fn change(world: &mut World, mut words: Words<'_>) -> Outcome {
    let name = words.word("a server and a colon")?;
    let id = grammar::server(name.strip_suffix(':').unwrap_or(name))
        .ok_or_else(|| String::from("a server like s2 is missing"))?;
    let slot = world.slot(id)?;
    events::change(world, slot, None, words.rest())
}

/// A letter that matches: which, from and to whom.
fn picked(world: &World, words: &mut Words<'_>) -> Wrong<Vec<usize>> {
    let mut end = || -> Wrong<Option<usize>> {
        if words.takes("*") {
            return Ok(None);
        }
        words.takes_server().map(|id: NodeId| world.slot(id)).transpose()
    };
    let (from, to) = (end()?, end()?);
    let matches = |letter: &Letter| from.is_none_or(|from| letter.from == from) && to.is_none_or(|to| letter.to == to);
    let mut places: Vec<usize> = (0..world.mail.len()).filter(|place| matches(&world.mail[*place])).collect();
    let count = places.len();
    let which = match words.peek() {
        Some("first") => Some(1),
        Some("last") => Some(count),
        Some(word) => word.parse().ok(),
        None => None,
    };
    if let Some(which) = which {
        words.next();
        places = places.get(which.wrapping_sub(1)).copied().into_iter().collect();
    }
    if places.is_empty() {
        return Err(format!("no such message is on its way; {count} are between these servers"));
    }
    Ok(places)
}

fn mail(world: &mut World, verb: &str, words: &mut Words<'_>) -> Outcome {
    let places = picked(world, words)?;
    words.end()?;
    match verb {
        "duplicate" => {
            let copies: Vec<Letter> = places.iter().map(|place| world.mail[*place].clone()).collect();
            world.mail.extend(copies);
        }
        "reorder" => {
            for (early, late) in places.iter().zip(places.iter().rev()).take(places.len() / 2) {
                world.mail.swap(*early, *late);
            }
        }
        _ => {
            let mut taken = Vec::new();
            for place in places.iter().rev() {
                taken.push(world.mail.remove(*place));
            }
            for letter in taken.into_iter().rev() {
                if verb == "deliver" {
                    world.deliver(letter)?;
                } else {
                    let (from, to) = (world.name(letter.from), world.name(letter.to));
                    world.cluster.trace.remark(format!("{to} misses {} from {from}", letter.text));
                }
            }
        }
    }
    Ok(())
}

/// `part s1 s2`: part of the first message on its way has arrived.
fn part(world: &mut World, words: &mut Words<'_>) -> Outcome {
    let Some(place) = picked(world, words)?.first().copied() else { return Ok(()) };
    let Letter { from, to, ref message, .. } = world.mail[place];
    let (from, term) = (world.server(from).id, message.term);
    world.step(to, Event::Arriving { from, term })
}

/// `cut s1`: from all others; `cut s1 s2`: both ways; `cut s1 -> s2`: one way.
fn cut(world: &mut World, words: &mut Words<'_>) -> Outcome {
    let one = server(world, words)?;
    let one_way = words.takes("->");
    let others = match words.takes_server() {
        Some(id) => Vec::from([world.slot(id)?]),
        None if one_way => return Err(Stop::Wrong("the other end is missing".into())),
        None => world.slots().filter(|slot| *slot != one).collect(),
    };
    for other in others {
        world.cluster.network.cut(one, other);
        if !one_way {
            world.cluster.network.cut(other, one);
        }
    }
    Ok(())
}

/// `hold disk s1`: from now on it does nothing by itself. What is released does all that waits.
fn hold(world: &mut World, held: bool, words: &mut Words<'_>) -> Outcome {
    let is_disk = match words.word("disk or machine")? {
        "disk" => true,
        "machine" => false,
        other => return Err(Stop::Wrong(format!("`{other}`: only a disk and a machine can be held"))),
    };
    for slot in servers(world, words)? {
        let holds = &mut world.held[slot];
        *(if is_disk { &mut holds.disk } else { &mut holds.machine }) = held;
        let server = world.server(slot);
        if held || !server.is_up() {
            continue;
        }
        if is_disk && (!server.disk.is_idle() || world.untold[slot].is_some()) {
            world.persist(slot, usize::MAX)?;
        } else if !is_disk && server.machine.next_index().is_some() {
            world.apply(slot, Index::MAX)?;
        }
    }
    Ok(())
}

/// `persist`: all disks; `persist s1`: all its writes with one sync; `persist s1 2`: the oldest two.
fn disk(world: &mut World, tell: bool, words: &mut Words<'_>) -> Outcome {
    let slots = match words.takes_server() {
        Some(id) => Vec::from([world.slot(id)?]),
        None => {
            let waits = |slot: &usize| world.server(*slot).is_up() && !world.server(*slot).disk.is_idle();
            world.slots().filter(waits).collect()
        }
    };
    let count = words.takes_number().map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
    for slot in slots {
        if tell {
            world.persist(slot, count)?;
        } else {
            world.sync(slot, count);
            let line = format!("the disk of {} has {}", world.name(slot), world.server(slot).disk.through());
            world.cluster.trace.remark(line);
        }
    }
    Ok(())
}

/// `snapshot s1 s2 delivered`, or `lost`, or `arrives`, and the sender does not hear of it; `again`: a copy of the last.
fn snapshot(world: &mut World, words: &mut Words<'_>) -> Outcome {
    let (from, to) = (server(world, words)?, server(world, words)?);
    let on_the_way = |transfer: &Transfer| (transfer.from, transfer.to) == (from, to);
    let fate = words.word("delivered, lost, arrives or again")?;
    if fate == "again" {
        return match world.asked_transfers.iter().rev().find(|transfer| on_the_way(transfer)).cloned() {
            Some(transfer) => world.receive_snapshot(&transfer),
            None => Err(Stop::Wrong("no snapshot ever went that way".into())),
        };
    }
    let Some(place) = world.transfers.iter().position(on_the_way) else {
        return Err(Stop::Wrong("no snapshot is on that way".into()));
    };
    let transfer = world.transfers.remove(place);
    match fate {
        "delivered" => {
            world.receive_snapshot(&transfer)?;
            world.report_snapshot(&transfer, true)
        }
        "lost" => world.report_snapshot(&transfer, false),
        "arrives" => world.receive_snapshot(&transfer),
        other => Err(Stop::Wrong(format!("`{other}`: a snapshot is delivered, lost, arrives, or comes again"))),
    }
}

/// Everything that is on its way arrives, and what follows from it, until nothing is. No time passes.
fn stabilize(world: &mut World) -> Outcome {
    for _ in 0..STEPS_MAX {
        if !world.mail.is_empty() {
            let letter = world.mail.remove(0);
            world.deliver(letter)?;
        } else if !world.transfers.is_empty() {
            let transfer = world.transfers.remove(0);
            let arrives =
                world.server(transfer.to).is_up() && world.cluster.network.connects(transfer.from, transfer.to);
            if arrives {
                world.receive_snapshot(&transfer)?;
            }
            world.report_snapshot(&transfer, arrives)?;
        } else {
            return Ok(());
        }
    }
    Err(Stop::Wrong(format!("the servers still talk after {STEPS_MAX} steps")))
}
