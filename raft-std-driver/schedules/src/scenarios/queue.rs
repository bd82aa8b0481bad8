//! What the core hands to its parts.

use std::sync::Arc;

use crate::queue::Queue;
use crate::sync::spawn;
use crate::workers::block_on;

/// Two push, one takes, and the queue is closed at some moment: what was taken in is taken out or left over, once, and in
/// order; and who takes goes home.
pub fn what_is_pushed_is_taken_or_left_over() {
    let queue = Arc::new(Queue::default());
    let pushers = [0, 10].map(|first| {
        let queue = Arc::clone(&queue);
        spawn("pusher", move || (first..first + 3).filter(|item| queue.push(*item).is_ok()).collect::<Vec<_>>())
    });
    let taker = spawn("taker", {
        let queue = Arc::clone(&queue);
        move || taken(&queue)
    });
    queue.close();
    let pushed = pushers.map(|pusher| pusher.join().unwrap());
    let mut found = taker.join().unwrap();
    found.extend(queue.leftovers());
    for (first, pushed) in [0, 10].into_iter().zip(pushed) {
        let of_it: Vec<_> = found.iter().copied().filter(|item| (first..first + 10).contains(item)).collect();
        assert_eq!(of_it, pushed);
    }
}

fn taken(queue: &Queue<u32>) -> Vec<u32> {
    let (mut all, mut batch) = (Vec::new(), Vec::new());
    while block_on(queue.take(&mut batch)) {
        all.append(&mut batch);
    }
    all
}

/// What is pushed quietly waits for the next push, and is taken with it at the latest; so nothing but the last push is ever
/// waited for.
pub fn a_loud_push_brings_the_quiet_ones() {
    let queue = Arc::new(Queue::default());
    let taker = spawn("taker", {
        let queue = Arc::clone(&queue);
        move || {
            let (mut all, mut batch) = (Vec::new(), Vec::new());
            while all.len() < 6 {
                assert!(block_on(queue.take(&mut batch)));
                all.append(&mut batch);
            }
            all
        }
    });
    for item in 0..6 {
        let mut items = vec![item];
        queue.push_all(&mut items, item % 2 == 1);
        assert!(items.is_empty());
    }
    assert_eq!(taker.join().unwrap(), [0, 1, 2, 3, 4, 5]);
}
