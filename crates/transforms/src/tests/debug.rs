//! DebugForceParse, DebugForceEncode and DebugLogToFile.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chain::{Builder, Need, Transform};
use observe::{MessageFile, Queue, render_own};

use super::filter::Replacer;
use super::options::read;
use super::scene::{INSERT, SELECT, frame, query, scene};
use crate::{DebugForceEncode, DebugForceParse, DebugLogToFile, QueryTypeFilter};
use wire::QueryType;
use wire::cql::opcode;

#[test]
fn what_cannot_be_read_passes_all_the_same() {
    for (requests, responses) in [(true, true), (true, false), (false, true), (false, false)] {
        let options = format!("parse_requests: {requests}, parse_responses: {responses}");
        let parse = read(&options, DebugForceParse::parse).unwrap();
        let need = |is_read| if is_read { Need::Whole } else { Need::None };
        assert_eq!(parse.force().request_need(opcode::QUERY), need(requests));
        assert_eq!(parse.force().reply_need(opcode::QUERY), need(responses));
        let mut scene = scene(&[&parse]);
        scene.send(&[query(1, SELECT), frame(2, opcode::QUERY, b"\xff\xff"), frame(3, opcode::BATCH, b"")]);
        assert_eq!(scene.server_got(), [1, 2, 3]);
        assert_eq!(scene.replies().len(), 3);
    }
    assert!(read("parse_requests: true", DebugForceParse::parse).is_err());
}

#[test]
fn what_is_written_anew_goes_on_and_what_cannot_be_too() {
    for (requests, responses) in [(true, true), (true, false), (false, true), (false, false)] {
        let options = format!("encode_requests: {requests}, encode_responses: {responses}");
        let encode = read(&options, DebugForceEncode::parse).unwrap();
        let need = |is_written| if is_written { Need::Whole } else { Need::None };
        assert_eq!(encode.force().request_need(opcode::QUERY), need(requests));
        assert_eq!(encode.force().reply_need(opcode::QUERY), need(responses));
        let sent = [query(1, SELECT), frame(2, opcode::QUERY, b"\xff\xff"), frame(3, opcode::BATCH, b"")];
        let mut scene = scene(&[&encode]);
        scene.send(&sent);
        assert_eq!(scene.server_got(), [1, 2, 3]);
        assert_eq!(scene.replies().len(), 3);
    }
    assert!(read("encode_requests: true", DebugForceEncode::parse).is_err());
}

thread_local! {
    /// The files of the test that runs on this thread.
    static FILES: RefCell<Vec<(PathBuf, Vec<u8>)>> = const { RefCell::new(Vec::new()) };
}

struct Memory;

impl Queue<MessageFile> for Memory {
    fn push(&self, job: MessageFile) {
        FILES.with_borrow_mut(|files| files.push((job.path, job.bytes)));
    }
    fn dropped(&self) -> u64 {
        7
    }
}

fn open(folder: &Path) -> Result<Arc<dyn Queue<MessageFile>>, String> {
    assert_eq!(folder, Path::new("message-log"));
    Ok(Arc::new(Memory))
}

#[test]
fn every_message_is_kept_in_a_file_of_its_own() {
    let log = read("{}", |fields| DebugLogToFile::parse(fields, open)).unwrap();
    log.start().unwrap();
    let mut scenes = [scene(&[&log]), scene(&[&log])];
    scenes[1].send(&[query(1, SELECT), query(2, SELECT)]);
    assert_eq!(scenes[1].replies().len(), 2);
    let files = FILES.take();
    let paths: Vec<String> = files.iter().map(|(path, _)| path.display().to_string()).collect();
    assert_eq!(
        paths,
        [
            "message-log/2/requests/message1.bin",
            "message-log/2/requests/message2.bin",
            "message-log/2/responses/message1.bin",
            "message-log/2/responses/message2.bin"
        ]
    );
    assert_eq!(files[1].1, query(2, SELECT));
    assert!(render_own(&log.own_metrics()).contains("\nshotover_message_log_dropped_count 7\n"));
}

#[test]
fn upstream_wrote_no_message_that_was_modified() {
    let log = read("{}", |fields| DebugLogToFile::parse(fields, open)).unwrap();
    log.start().unwrap();
    let replaced = Replacer(Arc::new([(1, query(1, INSERT))]));
    let filter = QueryTypeFilter::DenyList(vec![QueryType::Write]);
    let mut scene = scene(&[&replaced, &log, &filter]);
    scene.send(&[query(1, SELECT)]);
    assert_eq!(scene.replies(), [(1, Some(0x2200))]);
    let [(_, request), (_, reply)] = <[_; 2]>::try_from(FILES.take()).unwrap();
    assert_eq!(request, query(1, INSERT));
    assert!(reply.ends_with(b"Message was filtered out by shotover"));
}

#[test]
fn a_log_that_was_not_started_keeps_nothing() {
    let log = read("{}", |fields| DebugLogToFile::parse(fields, open)).unwrap();
    let mut scene = scene(&[&log]);
    scene.send(&[query(1, SELECT)]);
    assert_eq!(scene.replies(), [(1, None)]);
}
