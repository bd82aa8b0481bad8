//! What many may ask at once, and that is answered once for all of them: however many ask, and however many of them wait no
//! longer, one question is under way.

use std::collections::BTreeMap;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::queue::lock;
use crate::sync::Mutex;

/// Where a question is asked.
pub(crate) struct Asked<T>(Mutex<Door<T>>);

struct Door<T> {
    closed: bool,
    open: Option<Answer<T>>,
}

/// The right, and the duty, to answer a question. Dropped, it leaves who waits without an answer.
pub(crate) struct Answer<T>(Arc<Mutex<Question<T>>>);

struct Question<T> {
    answer: Option<T>,
    over: bool,
    tickets: u64,
    waiting: BTreeMap<u64, Waker>,
}

/// Waits for an answer; `None` if there will be none. Dropped, it leaves nothing behind.
#[must_use]
pub(crate) struct Asking<T> {
    question: Arc<Mutex<Question<T>>>,
    ticket: u64,
}

impl<T> Default for Asked<T> {
    fn default() -> Self {
        Asked(Mutex::new(Door { closed: false, open: None }))
    }
}

impl<T> Asked<T> {
    /// Ask, by joining those who ask already. `true` if nobody does: then who answers is to be told. `None` if nobody
    /// answers any more.
    pub(crate) fn ask(&self) -> Option<(Asking<T>, bool)> {
        let mut door = lock(&self.0);
        if door.closed {
            return None;
        }
        let first = door.open.is_none();
        let open = door.open.get_or_insert_with(|| {
            let question = Question { answer: None, over: false, tickets: 0, waiting: BTreeMap::new() };
            Answer(Arc::new(Mutex::new(question)))
        });
        let question = Arc::clone(&open.0);
        let ticket = {
            let mut question = lock(&question);
            question.tickets += 1;
            question.tickets
        };
        Some((Asking { question, ticket }, first))
    }

    /// Whether somebody asks, or has asked: a question stays when who asked waits no longer.
    pub(crate) fn is_open(&self) -> bool {
        lock(&self.0).open.is_some()
    }

    /// Take it, to answer it. Who asks from now on asks anew.
    pub(crate) fn take(&self) -> Option<Answer<T>> {
        lock(&self.0).open.take()
    }

    /// Nobody answers any more.
    pub(crate) fn close(&self) {
        let open = {
            let mut door = lock(&self.0);
            door.closed = true;
            door.open.take()
        };
        drop(open);
    }
}

impl<T> Answer<T> {
    /// Tell all who wait.
    pub(crate) fn say(self, answer: T) {
        lock(&self.0).answer = Some(answer);
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        let waiting = {
            let mut question = lock(&self.0);
            question.over = true;
            mem::take(&mut question.waiting)
        };
        waiting.values().for_each(Waker::wake_by_ref);
    }
}

impl<T: Clone> Future for Asking<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut question = lock(&self.question);
        if question.over {
            return Poll::Ready(question.answer.clone());
        }
        let before = question.waiting.insert(self.ticket, context.waker().clone());
        // What a waker drops is foreign code.
        drop(question);
        drop(before);
        Poll::Pending
    }
}

impl<T> Drop for Asking<T> {
    fn drop(&mut self) {
        let waker = lock(&self.question).waiting.remove(&self.ticket);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::block_on;

    fn ask(asked: &Asked<u32>) -> (Asking<u32>, bool) {
        asked.ask().unwrap()
    }

    fn is_pending(asking: &mut Asking<u32>) -> bool {
        Pin::new(asking).poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[test]
    fn who_asks_joins_those_who_ask_already_until_the_question_is_taken() {
        let asked = Asked::default();
        let (mut one, first) = ask(&asked);
        let (mut two, second) = ask(&asked);
        assert!(first && !second && is_pending(&mut one) && is_pending(&mut two));
        let answer = asked.take().unwrap();
        let (late, again) = ask(&asked);
        assert!(again && asked.is_open(), "another question");
        answer.say(7);
        assert_eq!((block_on(one), block_on(two)), (Some(7), Some(7)));
        asked.close();
        assert_eq!(block_on(late), None);
        assert!(asked.ask().is_none() && asked.take().is_none());
    }

    #[test]
    fn an_answer_that_is_lost_leaves_nobody_waiting() {
        let asked = Asked::default();
        let (mut one, _) = ask(&asked);
        assert!(is_pending(&mut one));
        drop(asked.take());
        assert_eq!(block_on(one), None);
    }

    #[test]
    fn who_waits_no_longer_leaves_nothing_behind() {
        let asked = Asked::default();
        for turn in 0..100 {
            let (mut asking, first) = ask(&asked);
            assert!(first == (turn == 0) && is_pending(&mut asking));
        }
        let answer = asked.take().unwrap();
        assert!(lock(&answer.0).waiting.is_empty());
    }
}
