//! What is yet to happen, in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::vec::Vec;

/// Virtual time, in moments.
pub(crate) type Time = u64;

/// How many moments a tick of the servers' clocks lasts.
pub(crate) const TICK: Time = 16;

/// Things to happen, the earliest first; of those at the same time, the one that was put in first.
pub(crate) struct Queue<T> {
    /// Time, order of arrival, and where the thing lies.
    order: BinaryHeap<Reverse<(Time, u64, usize)>>,
    things: Vec<Option<T>>,
    free: Vec<usize>,
    arrivals: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Queue<T> {
        Queue { order: BinaryHeap::new(), things: Vec::new(), free: Vec::new(), arrivals: 0 }
    }

    pub(crate) fn push(&mut self, at: Time, thing: T) {
        self.arrivals += 1;
        let place = self.free.pop().unwrap_or(self.things.len());
        if place == self.things.len() {
            self.things.push(Some(thing));
        } else {
            self.things[place] = Some(thing);
        }
        self.order.push(Reverse((at, self.arrivals, place)));
    }

    /// The next thing that happens at `until` or before.
    pub(crate) fn pop(&mut self, until: Time) -> Option<(Time, T)> {
        let Reverse((at, _, place)) = *self.order.peek().filter(|Reverse((at, ..))| *at <= until)?;
        self.order.pop();
        self.free.push(place);
        self.things[place].take().map(|thing| (at, thing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_first_and_then_in_order() {
        let mut queue = Queue::new();
        for (at, thing) in [(5, 'c'), (3, 'a'), (5, 'd'), (3, 'b'), (9, 'e')] {
            queue.push(at, thing);
        }
        let popped: Vec<_> = std::iter::from_fn(|| queue.pop(8)).collect();
        assert_eq!(popped, [(3, 'a'), (3, 'b'), (5, 'c'), (5, 'd')]);
        queue.push(8, 'f');
        assert_eq!((queue.pop(9), queue.pop(9), queue.pop(9)), (Some((8, 'f')), Some((9, 'e')), None));
    }
}
