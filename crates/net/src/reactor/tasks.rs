//! The tasks of one worker, the queue of those that are to be polled, and how they are woken.
//!
//! Must hold: a task that is woken is polled once more, after every task that was queued before it. Sinks that clients
//! share rely on that order: the requests of all clients that one `epoll_wait` woke leave in one write.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tracing::error;

/// What a task runs.
pub(crate) type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Names a task, also after its end: then it names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TaskId {
    index: u32,
    generation: u32,
}

/// The queue of the worker that runs on this thread.
struct Queue {
    /// That worker's number; 0 is none.
    worker: Cell<u64>,
    /// Those woken since the worker last came to fetch them.
    woken: RefCell<Vec<TaskId>>,
}

thread_local! {
    // Wakers must be `Send`, so they cannot hold the queue. On the worker's own thread they find it here, unlocked.
    static QUEUE: Queue = const { Queue { worker: Cell::new(0), woken: RefCell::new(Vec::new()) } };
}

/// What other threads may touch of a worker.
pub(super) struct Door {
    worker: u64,
    handed_in: Mutex<Vec<Arc<TaskWaker>>>,
    bell: mio::Waker,
}

impl Door {
    pub(super) fn new(bell: mio::Waker) -> Self {
        static WORKERS: AtomicU64 = AtomicU64::new(1);
        let worker = WORKERS.fetch_add(1, Ordering::Relaxed);
        Self { worker, handed_in: Mutex::new(Vec::new()), bell }
    }

    /// Makes the worker look at what was left for it.
    pub(super) fn ring(&self) {
        // It cannot fail while the worker lives; afterwards there is nobody to call.
        drop(self.bell.wake());
    }
}

/// One of these a task; every waker of the task points to it.
struct TaskWaker {
    id: TaskId,
    worker: u64,
    /// In its worker's queue. Only that worker's thread reads and writes it, so it costs what a plain flag does.
    is_queued: AtomicBool,
    /// In its worker's `handed_in`.
    is_handed_in: AtomicBool,
    door: Arc<Door>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        Self::wake_by_ref(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let is_here = QUEUE.try_with(|queue| {
            let is_here = queue.worker.get() == self.worker;
            if is_here && !self.is_queued.load(Ordering::Relaxed) {
                self.is_queued.store(true, Ordering::Relaxed);
                queue.woken.borrow_mut().push(self.id);
            }
            is_here
        });
        if is_here != Ok(true) && !self.is_handed_in.swap(true, Ordering::AcqRel) {
            self.door.handed_in.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(self));
            self.door.ring();
        }
    }
}

#[derive(Default)]
struct Slot {
    generation: u32,
    task: Option<Task>,
}

struct Task {
    future: TaskFuture,
    waker: Waker,
    woken: Arc<TaskWaker>,
    is_awaited: bool,
}

/// The tasks of the worker on whose thread this lives.
pub(super) struct Tasks {
    slots: Vec<Slot>,
    free: Vec<u32>,
    awaited: usize,
    /// Those fetched from the queue, and how many of them had their turn.
    fetched: Vec<TaskId>,
    polled: usize,
    door: Arc<Door>,
}

impl Tasks {
    pub(super) fn new(door: Arc<Door>) -> Self {
        QUEUE.with(|queue| {
            queue.woken.borrow_mut().clear();
            queue.worker.set(door.worker);
        });
        Self { slots: Vec::new(), free: Vec::new(), awaited: 0, fetched: Vec::new(), polled: 0, door }
    }

    /// How many tasks keep the worker from ending.
    pub(super) fn awaited(&self) -> usize {
        self.awaited
    }

    /// Queues a new task.
    pub(super) fn add(&mut self, future: TaskFuture, is_awaited: bool) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        let woken = Arc::new(TaskWaker {
            id: TaskId { index, generation: slot.generation },
            worker: self.door.worker,
            is_queued: AtomicBool::new(false),
            is_handed_in: AtomicBool::new(false),
            door: Arc::clone(&self.door),
        });
        let waker = Waker::from(Arc::clone(&woken));
        waker.wake_by_ref();
        slot.task = Some(Task { future, waker, woken, is_awaited });
        self.awaited += usize::from(is_awaited);
    }

    /// Fetches those that were woken while the last ones fetched had their turn. False when there are none.
    fn fetch(&mut self) -> bool {
        self.polled = 0;
        self.fetched.clear();
        QUEUE.with(|queue| {
            let mut woken = queue.woken.borrow_mut();
            if woken.is_empty() {
                return false;
            }
            std::mem::swap(&mut self.fetched, &mut woken);
            true
        })
    }

    /// Polls the task that has waited longest. False when none waits.
    pub(super) fn poll_next(&mut self) -> bool {
        if self.polled == self.fetched.len() && !self.fetch() {
            return false;
        }
        let Some(&id) = self.fetched.get(self.polled) else { return false };
        self.polled += 1;
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation);
        let Some(task) = slot.and_then(|slot| slot.task.as_mut()) else { return true };
        task.woken.is_queued.store(false, Ordering::Relaxed);
        let mut context = Context::from_waker(&task.waker);
        // Nothing of a task that panicked is looked at again, so nothing half done is seen.
        match catch_unwind(AssertUnwindSafe(|| task.future.as_mut().poll(&mut context))) {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(())) => self.end(id),
            Err(_) => {
                error!("a task panicked: it ends, and its connections are closed");
                self.end(id);
            }
        }
        true
    }

    fn end(&mut self, id: TaskId) {
        let Some(slot) = self.slots.get_mut(id.index as usize) else { return };
        slot.generation = slot.generation.wrapping_add(1);
        let Some(task) = slot.task.take() else { return };
        self.free.push(id.index);
        self.awaited -= usize::from(task.is_awaited);
        if catch_unwind(AssertUnwindSafe(|| drop(task))).is_err() {
            error!("a task panicked while it was dropped");
        }
    }

    /// Queues the tasks that other threads have woken.
    pub(super) fn take_handed_in(&self) {
        let handed_in =
            std::mem::take(&mut *self.door.handed_in.lock().unwrap_or_else(PoisonError::into_inner));
        for woken in handed_in {
            // Before it is polled, and in the order of the one who set it: what that one wrote before is seen.
            woken.is_handed_in.swap(false, Ordering::AcqRel);
            woken.wake();
        }
    }

    /// Drops all tasks.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.free.clear();
        self.fetched.clear();
        self.awaited = 0;
        QUEUE.with(|queue| {
            queue.worker.set(0);
            queue.woken.borrow_mut().clear();
        });
    }
}
