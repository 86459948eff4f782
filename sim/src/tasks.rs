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

    /// Gives each a turn.
    pub fn poll(&mut self, now: Tick) {
        self.running.append(&mut self.spawned.0.borrow_mut());
        self.running.retain_mut(|task| {
            let mut context = Context::from_waker(Waker::noop());
            task.poll(&mut Cx { task: &mut context, now }).is_pending()
        });
    }

    /// When one wants its turn though nothing came.
    pub fn deadline(&self) -> Option<Tick> {
        self.running.iter().filter_map(|task| task.deadline()).min()
    }
}
