//! A client of a Tee that changes its keyspace in all ways there are. Whatever its servers refuse, lose or put off: the
//! second one runs nothing elsewhere than its client was.

mod scene;

use std::collections::BTreeSet;

use self::scene::{Ask, Keyspace, PREPARED_USE, Random, STATEMENT, Scene, entry, tee};
use super::Behavior;
use crate::NullSink;

/// A run at random. If it is paired, the client waits for both replies, and nothing fails.
struct Run {
    scene: Scene,
    random: Random,
    is_paired: bool,
    asked: u32,
    executes: BTreeSet<u32>,
    /// What was asked behind a USE that nobody knew for one, and that was not answered.
    excused: BTreeSet<u32>,
    log: Vec<String>,
}

const KEYSPACES: [Keyspace; 3] = ['a', 'b', 'c'];

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let is_paired = random.once_in(3);
        let behavior = if is_paired { Behavior::LogWarning } else { Behavior::Ignore };
        let scene = Scene::new(seed, behavior, [1, 2, 1000][random.below(3)]);
        for server in [&scene.first, &scene.second] {
            server.book.lock().unwrap().refuses_one_in = [0, 3][random.below(2)];
        }
        let (executes, excused) = (BTreeSet::new(), BTreeSet::new());
        Self { scene, random, is_paired, asked: 0, executes, excused, log: Vec::new() }
    }

    fn choose(&mut self) -> Ask {
        let keyspace = KEYSPACES[self.random.below(KEYSPACES.len())];
        let of_kind = |kind: u8| self.scene.known.iter().copied().filter(move |id| id[1] == kind);
        let (uses, statements): (Vec<_>, Vec<_>) =
            (of_kind(PREPARED_USE).collect(), of_kind(STATEMENT).collect());
        match self.random.below(12) {
            0 | 1 => Ask::Use(keyspace),
            2 => Ask::PrepareUse(keyspace),
            3 | 4 if !uses.is_empty() => Ask::Execute(uses[self.random.below(uses.len())], 0),
            5 => Ask::ExecuteUnknownUse(keyspace),
            6 => Ask::Prepare(['1', '2'][self.random.below(2)]),
            7 | 8 if !statements.is_empty() => {
                self.asked += 1;
                self.executes.insert(self.asked);
                Ask::Execute(statements[self.random.below(statements.len())], self.asked)
            }
            _ => {
                self.asked += 1;
                Ask::Query(self.asked)
            }
        }
    }

    fn step(&mut self) {
        let count = 1 + self.random.below(2);
        match self.random.below(10) {
            0..4 if !self.scene.chain.is_over_mark() && self.scene.in_flight.len() < 8 => {
                let mut asks = Vec::new();
                for _ in 0..count {
                    let ask = self.choose();
                    let mut in_flight = self.scene.in_flight.values().chain(&asks);
                    let is_excused = in_flight.any(|ask| matches!(ask, Ask::ExecuteUnknownUse(_)));
                    if let (Ask::Query(number), true) = (ask, is_excused) {
                        self.excused.insert(number);
                    }
                    asks.push(ask);
                }
                self.log.push(format!("asks {asks:?}"));
                self.scene.ask(&asks);
            }
            4..6 => {
                self.log.push(format!("the first answers {count}"));
                self.scene.answers(1, count);
            }
            6..8 => {
                self.log.push(format!("the second answers {count}"));
                self.scene.answers(2, count);
            }
            8 if !self.is_paired && self.random.once_in(6) => {
                self.log.push("the second fails".to_owned());
                self.scene.second_fails();
            }
            _ => {
                let millis = 1 + self.random.below(600) as u64;
                self.log.push(format!("{millis} ms go by"));
                self.scene.after_millis(millis);
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        if !self.scene.in_flight.is_empty() {
            return Err(format!("without a reply: {:?}", self.scene.in_flight));
        }
        let mut missing = 0;
        for number in 1..=self.asked {
            let first = self.scene.ran(1, number).ok_or_else(|| format!("{number} did not run"))?;
            let Some(second) = self.scene.ran(2, number) else {
                missing += 1;
                continue;
            };
            let is_execute = self.executes.contains(&number);
            let is_right =
                second == first || self.excused.contains(&number) || !is_execute && second.is_none();
            if !is_right {
                return Err(format!("{number} ran in {first:?}, and at the second server in {second:?}"));
            }
        }
        let dropped = self.scene.dropped();
        if missing > dropped { Err(format!("{missing} are missing, {dropped} counted")) } else { Ok(()) }
    }

    fn all(mut self) -> Result<(), String> {
        for _ in 0..40 {
            self.step();
        }
        self.scene.answers(1, usize::MAX / 2);
        self.scene.answers(2, usize::MAX / 2);
        (0..40).for_each(|_| self.scene.after_millis(1000));
        self.check().map_err(|problem| format!("{problem}\n  {}", self.log.join("\n  ")))
    }
}

#[test]
fn whatever_happens_nothing_is_mirrored_to_another_keyspace() {
    for seed in 0..10_000 {
        if let Err(problem) = Run::new(seed).all() {
            panic!("seed {seed}: {problem}");
        }
    }
}

/// The second server is asked in the keyspace to which a prepared USE has led behind one that it has not answered.
#[test]
fn a_prepared_use_counts_though_an_older_use_is_not_answered() {
    for is_known in [true, false] {
        let mut scene = Scene::new(1, Behavior::Ignore, 1000);
        scene.answers(1, 100);
        if is_known {
            scene.answers(2, 1);
            scene.ask(&[Ask::PrepareUse('b')]);
        }
        scene.ask(&[Ask::Use('a')]);
        let by_id = scene.known.first().map(|id| Ask::Execute(*id, 0));
        scene.ask(&[by_id.unwrap_or(Ask::ExecuteUnknownUse('b'))]);
        scene.ask(&[Ask::Query(1)]);
        scene.answers(2, 100);
        assert_eq!((scene.ran(1, 1), scene.ran(2, 1)), (Some(Some('b')), Some(Some('b'))));
    }
}

#[test]
fn what_comes_behind_a_prepared_use_waits_for_it() {
    let mut scene = Scene::new(1, Behavior::Ignore, 1000);
    scene.answers(2, 100);
    scene.answers(1, 2);
    scene.ask(&[Ask::PrepareUse('b'), Ask::Use('a')]);
    let by_id = Ask::Execute(*scene.known.first().unwrap(), 0);
    scene.ask(&[by_id, Ask::Query(1)]);
    scene.ask(&[Ask::Query(2)]);
    assert_eq!((scene.ran(2, 1), scene.ran(2, 2)), (None, None));
    scene.answers(1, 100);
    assert_eq!((scene.ran(2, 1), scene.ran(2, 2)), (Some(Some('b')), Some(Some('b'))));
    assert_eq!(scene.dropped(), 0);
}

/// The same text is another statement there, under an id that all clients would execute.
#[test]
fn a_prepare_that_waited_is_not_prepared_in_a_later_keyspace() {
    for in_flight in [false, true] {
        let mut scene = Scene::new(1, Behavior::Ignore, 1000);
        scene.answers(1, 100);
        scene.answers(2, 1);
        scene.ask(&[Ask::Use('a')]);
        if in_flight {
            scene.ask(&[Ask::Prepare('1')]);
        }
        scene.second_fails();
        if !in_flight {
            scene.ask(&[Ask::Prepare('1')]);
        }
        scene.ask(&[Ask::Use('b')]);
        scene.answers(2, 100);
        scene.after_millis(2000);
        let id = *scene.known.first().unwrap();
        scene.ask(&[Ask::Execute(id, 1), Ask::Query(2)]);
        assert_eq!((scene.ran(1, 1), scene.ran(2, 1)), (Some(Some('a')), None));
        assert_eq!(scene.ran(2, 2), Some(Some('b')));
        assert_eq!(scene.dropped(), 2, "the PREPARE and its EXECUTE");
        // In the same keyspace it is prepared.
        scene.ask(&[Ask::Use('a')]);
        scene.ask(&[Ask::Prepare('1')]);
        scene.ask(&[Ask::Execute(id, 3)]);
        assert_eq!(scene.ran(2, 3), Some(Some('a')));
    }
}

#[test]
fn a_statement_is_learned_however_long_the_reply_that_prepares_it() {
    let mut scene = Scene::new(1, Behavior::Ignore, 1000);
    for server in [&scene.first, &scene.second] {
        server.book.lock().unwrap().metadata_bytes = 2 * chain::CHUNK_BYTES;
    }
    scene.answers(1, 100);
    scene.ask(&[Ask::Use('a'), Ask::Prepare('1')]);
    let id = *scene.known.first().unwrap();
    // It is waited for, since its client may execute it.
    scene.ask(&[Ask::Execute(id, 1)]);
    scene.answers(2, 100);
    assert_eq!(scene.ran(2, 1), Some(Some('a')));
    assert_eq!(scene.dropped(), 0);
}

#[test]
fn prepares_that_were_dropped_do_not_end_the_wait_for_others() {
    let mut scene = Scene::new(1, Behavior::Ignore, 1000);
    scene.answers(1, 1);
    scene.answers(2, 1);
    scene.ask(&[Ask::Use('a')]);
    scene.second_fails();
    // So many may wait, and as many are too many.
    scene.ask(&[Ask::Prepare('1'); 2048]);
    assert_eq!(scene.dropped(), 1024);
    scene.answers(2, 1);
    scene.after_millis(2000);
    scene.answers(1, 5000);
    let id = *scene.known.first().unwrap();
    scene.ask(&[Ask::Execute(id, 1)]);
    scene.answers(2, 5000);
    assert_eq!(scene.ran(2, 1), Some(Some('a')));
    assert_eq!(scene.dropped(), 1024);
}

/// The only server of the second chain is that of a Tee in it.
#[test]
fn a_tee_in_a_second_chain_that_ends_at_no_server_is_told_the_session() {
    for behavior in [Behavior::Ignore, Behavior::LogWarning] {
        let mut scene = Scene::with_second(1, (behavior, 1000), |end| {
            vec![entry("Tee", tee((Behavior::Ignore, 1000), vec![end])), entry("NullSink", NullSink)]
        });
        scene.answers(1, 100);
        scene.answers(2, 100);
        scene.ask(&[Ask::Startup]);
        scene.ask(&[Ask::Query(1)]);
        assert_eq!(scene.second.book.lock().unwrap().sessions, 1);
        assert_eq!(scene.ran(2, 1), Some(None));
        assert!(scene.in_flight.is_empty(), "{:?}", scene.in_flight);
        assert_eq!(scene.dropped(), 0);
    }
}
