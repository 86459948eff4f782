//! The task of one simulated client: the real client loop, and what a worker knows of it.

use std::task::Poll;

use chain::{Cx, Tick};
use sources::{Client, End};

use crate::pipe::PipeStream;
use crate::turns::{Turn, Turns};

pub struct ClientTask {
    client: Option<Client<PipeStream>>,
    turn: Turn,
}

impl ClientTask {
    pub fn new(client: Option<Client<PipeStream>>) -> Self {
        Self { client, turn: Turn::first() }
    }

    pub fn has_ended(&self) -> bool {
        self.client.is_none()
    }

    /// Gives it a turn if it is to have one, and says how it ended if it did.
    pub fn poll(&mut self, now: Tick, turns: Turns) -> Option<End> {
        let client = self.client.as_mut()?;
        if !self.turn.begins(now, turns) {
            return None;
        }
        let polled = client.poll(&mut Cx { task: &mut self.turn.context(), now });
        self.turn.ends(client.deadline());
        let Poll::Ready(end) = polled else { return None };
        self.client = None;
        Some(end)
    }

    /// Its worker ends.
    pub fn drain(&mut self, deadline: Tick) {
        if let Some(client) = &mut self.client {
            client.drain(deadline);
            self.turn.wake();
        }
    }

    /// When it wants its turn though nothing came.
    pub fn deadline(&self) -> Option<Tick> {
        self.client.as_ref().and(self.turn.deadline())
    }

    pub fn is_woken(&self) -> bool {
        self.client.is_some() && self.turn.is_woken()
    }

    /// Where it is, for the report of a run that went wrong.
    pub fn describe(&self) -> String {
        let deadline = self.client.as_ref().map(Client::deadline);
        let (is_woken, known) = (self.turn.is_woken(), self.turn.deadline());
        format!("its task woken {is_woken}, deadline {deadline:?}, known {known:?}")
    }
}
