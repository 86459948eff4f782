//! Tasks of a simulated worker that belong to no single client.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Waker};

use chain::{Cx, Spawner, Task, Tick};

#[derive(Clone, Default)]
pub struct Spawned(Rc<RefCell<Vec<Box<dyn Task>>>>);

impl Spawner for Spawned {
    fn spawn(&self, task: Box<dyn Task>) {
        self.0.borrow_mut().push(task);
    }
}

/// The tasks there are, and those that were spawned since their last turn.
#[derive(Default)]
pub struct Tasks {
    running: Vec<Box<dyn Task>>,
    spawned: Spawned,
}

impl Tasks {
    pub fn spawner(&self) -> Spawned {
        self.spawned.clone()
    }

    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Gives each a turn. None may ask for another at a time that it has just been given: a worker would do nothing else.
    ///
    /// # Panics
    /// When one does.
    pub fn poll(&mut self, now: Tick) {
        self.running.append(&mut self.spawned.0.borrow_mut());
        self.running.retain_mut(|task| {
            let mut context = Context::from_waker(Waker::noop());
            let is_pending = task.poll(&mut Cx { task: &mut context, now }).is_pending();
            let due = task.deadline().filter(|due| is_pending && *due <= now);
            assert!(due.is_none(), "a task asks at {now:?} to be woken at {due:?}");
            is_pending
        });
    }

    /// When one wants its turn though nothing came.
    pub fn deadline(&self) -> Option<Tick> {
        self.running.iter().filter_map(|task| task.deadline()).min()
    }
}
