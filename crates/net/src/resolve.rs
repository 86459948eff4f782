//! Asks the system's resolver, which may take minutes, on threads of its own.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// Names that are resolved at once in this process. The resolver answers in microseconds or hangs; further names wait.
const THREADS_MAX: usize = 16;

/// The stack of such a thread: what the system's resolver calls is not known.
const STACK_BYTES: usize = 1024 * 1024;

type Answer = io::Result<Vec<SocketAddr>>;

/// Resolves names. Its threads end when no name waits; those that hang end with the process.
pub struct Resolver {
    look_up: fn(&str) -> Answer,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// At most one a connection that is being made.
    waiting: VecDeque<Question>,
    threads: usize,
}

struct Question {
    name: String,
    answer: oneshot::Sender<Answer>,
}

impl Resolver {
    /// `look_up` is asked.
    pub(crate) fn new(look_up: fn(&str) -> Answer) -> Arc<Self> {
        Arc::new(Self { look_up, state: Mutex::default() })
    }

    /// The system is asked.
    #[must_use]
    pub fn system() -> Arc<Self> {
        Self::new(|name| name.to_socket_addrs().map(Iterator::collect))
    }

    /// The addresses of `host:port`. Sets itself no limit of time.
    ///
    /// # Errors
    /// What the system said.
    pub async fn resolve(self: &Arc<Self>, name: &str) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.ask(Question { name: name.to_owned(), answer });
        answered.await.unwrap_or_else(|_| Err(io::Error::other("no thread to resolve the name on")))
    }

    fn ask(self: &Arc<Self>, question: Question) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting.push_back(question);
        if state.threads == THREADS_MAX {
            return;
        }
        let resolver = Arc::clone(self);
        let named = std::thread::Builder::new().name("shotover-resolver".to_owned());
        match named.stack_size(STACK_BYTES).spawn(move || while resolver.answer_next() {}) {
            Ok(_) => state.threads += 1,
            // Nobody would ever take it; dropped, it tells who asked.
            Err(_) if state.threads == 0 => state.waiting.clear(),
            Err(_) => {}
        }
    }

    /// False when the thread that asks is to end.
    fn answer_next(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(question) = state.waiting.pop_front() else {
            state.threads -= 1;
            return false;
        };
        drop(state);
        // Who asked may have given up while others hung.
        if !question.answer.is_closed() {
            drop(question.answer.send((self.look_up)(&question.name)));
        }
        true
    }
}
