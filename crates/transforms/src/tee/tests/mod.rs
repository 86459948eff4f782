//! A client of a Tee that changes its keyspace in all ways there are. Whatever its servers refuse, lose or put off: the
//! second one runs nothing elsewhere than its client was.

mod scene;

use self::scene::{Ask, Scene};
use super::Behavior;

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
