//! A turn for everybody that must move nothing, in whichever world.

use chain::Tick;

use crate::client_task::ClientTask;
use crate::tasks::Tasks;
use crate::turns::Turns;

/// Clients and tasks that can be given turns for nothing.
pub trait Probed {
    fn now(&self) -> Tick;
    /// What has moved so far.
    fn moved(&self) -> u64;
    /// Where everybody is, for the report of a run that went wrong.
    fn describe(&self) -> String;
    fn tasks(&mut self) -> &mut Tasks;
    /// The task of the client at this place, and the client's number.
    fn client(&mut self, at: usize) -> Option<(u64, &mut ClientTask)>;

    /// Nothing has moved for long, and nobody was woken: a turn for everybody moves nothing.
    fn probe(&mut self) -> Result<(), String> {
        let is_woken = |world: &mut Self, at| world.client(at).map(|(_, task)| task.is_woken());
        let are_woken = (0..).map_while(|at| is_woken(self, at)).any(|is_woken| is_woken);
        if are_woken || self.tasks().are_woken() {
            return Ok(());
        }
        let (now, moved, before) = (self.now(), self.moved(), self.describe());
        let told = |by: String| Err(format!("{by} could go on, and nobody had woken it: {before}"));
        for at in 0.. {
            let Some((number, task)) = self.client(at) else { break };
            task.poll(now, Turns::Everybody);
            if self.moved() != moved {
                return told(format!("client {number}"));
            }
        }
        self.tasks().poll(now, Turns::Everybody);
        if self.moved() == moved { Ok(()) } else { told("a task".to_owned()) }
    }
}
