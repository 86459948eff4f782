//! Processes with clients, which can be killed.

use std::fmt;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use testkit::{Child, counted};

use super::LONG;
use super::application::{Application, COUNTS, Common};

/// Processes at once.
pub(super) const PROCESSES: usize = 4;

/// Clients of a process.
pub(super) const CLIENTS: usize = 12;

/// Tells a process that it is one of these: the proxy's port, and the number of its first client.
const IS_CLIENTS: &str = "SHOTOVER_USERS_CLIENTS";

/// How long nothing may have failed before a server counts as well.
const QUIET: Duration = Duration::from_secs(3);

/// How often a process says what its clients have seen.
const REPORTS_EVERY: Duration = Duration::from_millis(200);

/// What the other test runs as processes of their own, and kills.
#[test]
#[ignore = "is run by another test"]
fn clients() {
    let Ok(said) = std::env::var(IS_CLIENTS) else { return };
    let (port, first) = said.split_once(' ').unwrap();
    let (port, first): (u16, i32) = (port.parse().unwrap(), first.parse().unwrap());
    let common = Common::default();
    std::thread::scope(|scope| {
        for client in first..first + CLIENTS as i32 {
            let common = &common;
            scope.spawn(move || {
                let wrong = Application::new(common, port, client).run();
                println!("wrong: {wrong}");
                std::process::exit(1);
            });
        }
        loop {
            std::thread::sleep(REPORTS_EVERY);
            let counts = common.counts.each_ref().map(|count| count.load(Ordering::Relaxed).to_string());
            println!("counts: {}", counts.join(" "));
        }
    });
}

type Numbers = [u64; COUNTS.len()];

/// What a process said last. Panics if it said that something was wrong.
fn numbers(process: &Child) -> Numbers {
    let mut last = Numbers::default();
    let lines = process.lines();
    assert!(
        !lines.iter().any(|line| line.contains("wrong: ") || line.contains("panicked")),
        "{}",
        lines.join("\n")
    );
    if let Some(counts) = lines.iter().rev().find_map(|line| Some(line.split_once("counts: ")?.1)) {
        for (number, word) in last.iter_mut().zip(counts.split(' ')) {
            // The last line of a process that was killed may be cut short; a number less does no harm.
            *number = word.parse().unwrap_or_default();
        }
    }
    last
}

/// All processes with clients.
pub(super) struct Crowd {
    port: u16,
    processes: Vec<Child>,
    next_client: i32,
    /// What those said that were killed.
    gone: Numbers,
    killed: usize,
}

impl Crowd {
    pub(super) fn start(port: u16) -> Self {
        let mut crowd =
            Self { port, processes: Vec::new(), next_client: 0, gone: Numbers::default(), killed: 0 };
        for _ in 0..PROCESSES {
            let process = crowd.start_one();
            crowd.processes.push(process);
        }
        crowd
    }

    fn start_one(&mut self) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["users::crowd::clients", "--exact", "--ignored", "--nocapture"]);
        command.env(IS_CLIENTS, format!("{} {}", self.port, self.next_client));
        self.next_client += CLIENTS as i32;
        Child::start(&mut command)
    }

    /// Kills a process where it stands, and starts another with new clients.
    pub(super) fn kill_and_start_one(&mut self, index: usize) {
        self.processes[index].kill();
        let last = numbers(&self.processes[index]);
        self.gone.iter_mut().zip(last).for_each(|(gone, more)| *gone += more);
        self.processes[index] = self.start_one();
        self.killed += 1;
    }

    /// Panics if any client has seen something wrong, or any process is gone that nobody killed.
    pub(super) fn check(&mut self) {
        for process in &mut self.processes {
            numbers(process);
            if process.wait(Duration::from_millis(1)).is_ok() {
                panic!("it ended:\n{}", process.lines().join("\n"));
            }
        }
    }

    fn all(&self) -> Numbers {
        let mut all = self.gone;
        for process in &self.processes {
            all.iter_mut().zip(numbers(process)).for_each(|(all, more)| *all += more);
        }
        all
    }

    fn count(&self, name: &str) -> u64 {
        let named = COUNTS.iter().zip(self.all());
        named.filter(|(known, _)| **known == name).map(|(_, count)| count).sum()
    }

    /// Requests and connections that failed.
    pub(super) fn failed(&self) -> u64 {
        self.count("failed") + self.count("lost")
    }

    /// The last things that failed, for people.
    pub(super) fn failures(&self) -> String {
        let lines = self.processes.iter().flat_map(Child::lines);
        let failures: Vec<String> = lines.filter(|line| line.contains("failed: ")).collect();
        failures.iter().rev().take(20).cloned().collect::<Vec<_>>().join("\n")
    }

    /// Waits until every process has got right replies again.
    pub(super) fn wait_for_service(&mut self) {
        let right =
            |crowd: &Self| crowd.processes.iter().map(|process| numbers(process)[0]).collect::<Vec<_>>();
        let (before, began) = (right(self), Instant::now());
        while right(self).iter().zip(&before).any(|(right, before)| *right < before + 100) {
            self.check();
            assert!(began.elapsed() < LONG, "no service {:?} after the server: {self}", began.elapsed());
            std::thread::sleep(REPORTS_EVERY);
        }
    }

    /// Waits until the last client has noticed that the server is back.
    pub(super) fn wait_until_nothing_fails(&mut self) {
        let (began, mut failed, mut since) = (Instant::now(), self.failed(), Instant::now());
        while since.elapsed() < QUIET {
            std::thread::sleep(REPORTS_EVERY);
            self.check();
            let now = self.failed();
            if now != failed {
                (failed, since) = (now, Instant::now());
            }
            assert!(
                began.elapsed() < LONG,
                "requests still fail {:?} after the server: {self}",
                began.elapsed()
            );
        }
    }

    /// What was seen in the end, by clients none of which has seen anything wrong.
    pub(super) fn say_what_was_counted(&self, servers_killed: usize) {
        let lead = "two users, two keyspaces, one shared pool, a real Cassandra";
        counted(&format!("{lead}: kills of the server"), servers_killed, "-");
        counted(&format!("{lead}: kills of processes of {CLIENTS} clients"), self.killed, "-");
        for (name, what) in [
            ("right", "replies that were right"),
            ("denied", "of them refusals for want of rights, as they should be"),
            ("used", "changes of the keyspace"),
            ("executed", "prepared statements executed"),
            ("lost", "connections lost to kills"),
        ] {
            counted(&format!("{lead}: {what}"), self.count(name), "-");
        }
        counted(&format!("{lead}: replies with another's keyspace, rights or rows"), 0, 0);
    }

    /// What must have happened in the end.
    pub(super) fn check_end(&mut self) {
        self.check();
        for name in ["right", "denied", "used", "executed", "lost"] {
            assert!(self.count(name) > 0, "none {name}: {self}");
        }
        assert!(self.killed > 0, "no process was killed: {self}");
    }
}

impl fmt::Display for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.all();
        for (name, count) in COUNTS.iter().zip(all) {
            write!(f, "{name} {count}, ")?;
        }
        write!(f, "{} processes killed", self.killed)
    }
}
