//! Tasks of a simulated worker that belong to no single client.

use std::cell::RefCell;
use std::rc::Rc;

use chain::{Cx, Spawner, Task, Tick};

use crate::turns::{Turn, Turns};

#[derive(Clone, Default)]
pub struct Spawned(Rc<RefCell<Vec<Box<dyn Task>>>>);

impl Spawner for Spawned {
    fn spawn(&self, task: Box<dyn Task>) {
        self.0.borrow_mut().push(task);
    }
}

struct Running {
    task: Box<dyn Task>,
    turn: Turn,
}

/// The tasks there are, and those that were spawned since their last turn.
#[derive(Default)]
pub struct Tasks {
    running: Vec<Running>,
    spawned: Spawned,
}

impl Tasks {
    pub fn spawner(&self) -> Spawned {
        self.spawned.clone()
    }

    pub fn is_empty(&self) -> bool {
        // A task that has ended may have spawned another.
        self.running.is_empty() && self.spawned.0.borrow().is_empty()
    }

    /// Gives a turn to each that is to have one. None may ask for another at a time that it has just been given: a worker
    /// would do nothing else.
    ///
    /// # Panics
    /// When one does.
    pub fn poll(&mut self, now: Tick, turns: Turns) {
        let spawned = self.spawned.0.take();
        self.running.extend(spawned.into_iter().map(|task| Running { task, turn: Turn::first() }));
        self.running.retain_mut(|Running { task, turn }| {
            if !turn.begins(now, turns) {
                return true;
            }
            let is_pending = task.poll(&mut Cx { task: &mut turn.context(), now }).is_pending();
            turn.ends(task.deadline());
            let due = turn.deadline().filter(|due| is_pending && *due <= now);
            assert!(due.is_none(), "a task asks at {now:?} to be woken at {due:?}");
            is_pending
        });
    }

    /// When one wants its turn though nothing came.
    pub fn deadline(&self) -> Option<Tick> {
        self.running.iter().filter_map(|running| running.turn.deadline()).min()
    }

    /// True when one is to have its turn.
    pub fn are_woken(&self) -> bool {
        !self.spawned.0.borrow().is_empty() || self.running.iter().any(|running| running.turn.is_woken())
    }

    /// Where they are, for the report of a run that went wrong.
    pub fn describe(&self) -> String {
        let each = self.running.iter().map(|Running { task, turn }| {
            format!(
                "\n  a task, woken {}, its deadline {:?}, known {:?}",
                turn.is_woken(),
                task.deadline(),
                turn.deadline()
            )
        });
        each.collect()
    }
}
