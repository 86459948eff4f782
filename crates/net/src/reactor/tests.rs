//! The loop on its own, with sockets whose other end the test holds.

use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use chain::Stream;
use tokio::sync::oneshot;

use super::{Handle, Opening, Reactor};
use crate::clock::Alarm;
use crate::resolve::Resolver;
use crate::tcp::Tcp;

/// Turns of the loop in which the awaited must happen.
const TURNS_MAX: usize = 10_000;

pub(crate) fn reactor() -> Reactor {
    Reactor::new(Opening::new().unwrap(), Resolver::system())
}

/// Runs a future as a task of a worker, until it is over.
pub(crate) fn run<T: 'static, F: Future<Output = T> + 'static>(
    reactor: &mut Reactor,
    make: impl FnOnce(Handle) -> F,
) -> T {
    let (result, future) = (Rc::new(RefCell::new(None)), make(reactor.handle().clone()));
    let kept = Rc::clone(&result);
    reactor.handle().spawn(Box::pin(async move {
        let output = future.await;
        kept.replace(Some(output));
    }));
    wake_often(reactor);
    for _ in 0..TURNS_MAX {
        let is_work = reactor.poll_tasks();
        reactor.look(is_work).unwrap();
        if let Some(output) = result.take() {
            return output;
        }
    }
    panic!("the task did not end");
}

/// Keeps a lost wake-up from hanging the test: it runs out of turns instead.
fn wake_often(reactor: &Reactor) {
    let (mut alarm, clock) = (Alarm::default(), reactor.handle().clock().clone());
    reactor.handle().spawn(Box::pin(async move {
        loop {
            let next = clock.now().after(Duration::from_millis(5));
            poll_fn(|task| alarm.poll_until(task, &clock, next)).await;
        }
    }));
}

pub(crate) async fn sleep(reactor: &Handle, duration: Duration) {
    let (mut alarm, clock) = (Alarm::default(), reactor.clock());
    let until = clock.now().after(duration);
    poll_fn(|task| alarm.poll_until(task, clock, until)).await;
}

fn socket_pair(reactor: &Handle) -> (Tcp, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let outside = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (inside, _) = listener.accept().unwrap();
    inside.set_nonblocking(true).unwrap();
    (Tcp::accepted(inside, reactor).unwrap(), outside)
}

async fn read(tcp: &mut Tcp, into: &mut [u8]) -> std::io::Result<usize> {
    poll_fn(|task| tcp.poll_read(task, into)).await
}

type Log<T> = Rc<RefCell<Vec<T>>>;

#[test]
fn a_task_is_woken_from_another_thread() {
    let mut reactor = reactor();
    let answer = run(&mut reactor, |_| async {
        let (answer, answered) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            std::thread::park_timeout(Duration::from_millis(20));
            answer.send(7).unwrap();
        });
        let answer = answered.await.unwrap();
        thread.join().unwrap();
        answer
    });
    assert_eq!(answer, 7);
}

#[test]
fn many_wakes_from_another_thread_poll_each_task_once() {
    let mut reactor = reactor();
    let (polls, wakers): (Log<u32>, Log<_>) = (Rc::default(), Rc::default());
    for number in 0..3 {
        let (polls, wakers) = (Rc::clone(&polls), Rc::clone(&wakers));
        reactor.handle().spawn(Box::pin(poll_fn(move |task| {
            polls.borrow_mut().push(number);
            wakers.borrow_mut().push(task.waker().clone());
            Poll::Pending
        })));
    }
    reactor.poll_tasks();
    reactor.look(true).unwrap();
    assert_eq!(polls.take(), [0, 1, 2]);
    let wakers = wakers.take();
    let wake = move || (0..100).for_each(|_| wakers.iter().rev().for_each(|waker| waker.wake_by_ref()));
    std::thread::spawn(wake).join().unwrap();
    reactor.poll_tasks();
    reactor.look(false).unwrap();
    reactor.poll_tasks();
    reactor.look(true).unwrap();
    reactor.poll_tasks();
    reactor.look(true).unwrap();
    assert_eq!(polls.take(), [2, 1, 0]);
}

#[test]
fn a_task_that_wakes_itself_goes_behind_those_that_wait() {
    let mut reactor = reactor();
    let log: Log<(char, u32)> = Rc::default();
    for name in ['a', 'b'] {
        let (log, mut left) = (Rc::clone(&log), 2);
        reactor.handle().spawn(Box::pin(poll_fn(move |task| {
            log.borrow_mut().push((name, left));
            left -= 1;
            task.waker().wake_by_ref();
            task.waker().wake_by_ref();
            if left == 0 { Poll::Ready(()) } else { Poll::Pending }
        })));
    }
    reactor.poll_tasks();
    reactor.look(true).unwrap();
    reactor.poll_tasks();
    reactor.look(true).unwrap();
    assert_eq!(log.take(), [('a', 2), ('b', 2), ('a', 1), ('b', 1)]);
}

#[test]
fn alarms_ring_in_the_order_of_their_times() {
    let mut reactor = reactor();
    let log = run(&mut reactor, |reactor| async move {
        let log: Log<u64> = Rc::default();
        for millis in [30, 10, 20, 10] {
            let (log, sleeper) = (Rc::clone(&log), reactor.clone());
            reactor.spawn(Box::pin(async move {
                sleep(&sleeper, Duration::from_millis(millis)).await;
                log.borrow_mut().push(millis);
            }));
        }
        sleep(&reactor, Duration::from_millis(60)).await;
        log.take()
    });
    assert_eq!(log, [10, 10, 20, 30]);
}

#[test]
fn an_alarm_that_rings_earlier_is_left_alone() {
    let mut reactor = reactor();
    run(&mut reactor, |reactor| async move {
        let (mut alarm, clock, begun) = (Alarm::default(), reactor.clock().clone(), reactor.clock().now());
        let (early, late) = (begun.after(Duration::from_millis(20)), begun.after(Duration::from_secs(3600)));
        poll_fn(|task| {
            assert!(alarm.poll_until(task, &clock, late).is_pending());
            assert!(alarm.poll_until(task, &clock, early).is_pending());
            assert!(alarm.poll_until(task, &clock, late).is_pending());
            Poll::Ready(())
        })
        .await;
        poll_fn(|task| alarm.poll_until(task, &clock, late)).await;
        assert!(clock.now() >= early);
        poll_fn(|task| {
            assert!(alarm.poll_until(task, &clock, late).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(alarm);
        assert!(clock.until_next_alarm().is_none_or(|left| left < Duration::from_secs(1)));
    });
}

#[test]
fn a_task_that_insists_on_a_deadline_that_has_passed_does_not_stop_the_time() {
    let mut reactor = reactor();
    let rung = run(&mut reactor, |reactor| async move {
        let (mut alarm, clock, begun) = (Alarm::default(), reactor.clock().clone(), reactor.clock().now());
        let mut rung = 0;
        poll_fn(|task| {
            while alarm.poll_until(task, &clock, begun).is_ready() {
                rung += 1;
            }
            if clock.now() > begun.after(Duration::from_millis(2)) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        rung
    });
    assert!(rung > 0);
}

#[test]
fn a_panic_ends_one_task_and_closes_its_sockets() {
    let mut reactor = reactor();
    let count = run(&mut reactor, |reactor| async move {
        let (tcp, mut outside) = socket_pair(&reactor);
        reactor.spawn(Box::pin(async move {
            let _closed = tcp;
            panic!("on purpose");
        }));
        sleep(&reactor, Duration::from_millis(20)).await;
        outside.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        outside.read(&mut [0]).unwrap()
    });
    assert_eq!(count, 0);
}

#[test]
fn a_short_read_drains_and_neither_more_bytes_nor_the_end_are_missed() {
    let mut reactor = reactor();
    run(&mut reactor, |reactor| async move {
        let (mut tcp, mut outside) = socket_pair(&reactor);
        let mut bytes = [0; 8];
        outside.write_all(b"0123456789").unwrap();
        assert_eq!(read(&mut tcp, &mut bytes).await.unwrap(), 8);
        assert_eq!(read(&mut tcp, &mut bytes).await.unwrap(), 2);
        // Drained, so this takes nothing though nothing was asked of the system.
        assert!(poll_fn(|task| Poll::Ready(tcp.poll_readable(task))).await.is_pending());
        outside.write_all(b"ab").unwrap();
        assert_eq!(read(&mut tcp, &mut bytes).await.unwrap(), 2);
        // Both in one event: the short read must not hide the end.
        outside.write_all(b"cd").unwrap();
        outside.shutdown(Shutdown::Write).unwrap();
        sleep(&reactor, Duration::from_millis(20)).await;
        assert_eq!(read(&mut tcp, &mut bytes).await.unwrap(), 2);
        assert_eq!(read(&mut tcp, &mut bytes).await.unwrap(), 0);
        assert_eq!(read(&mut tcp, &mut bytes).await.unwrap(), 0);
    });
}

#[test]
fn bytes_and_the_end_that_arrive_between_the_event_and_the_read_are_found() {
    let mut reactor = reactor();
    run(&mut reactor, |reactor| async move {
        let (mut tcp, mut outside) = socket_pair(&reactor);
        let mut bytes = [0; 8];
        outside.write_all(b"a").unwrap();
        poll_fn(|task| tcp.poll_readable(task)).await.unwrap();
        outside.write_all(b"bc").unwrap();
        outside.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read(&mut tcp, &mut bytes).await.unwrap(), 3);
        assert_eq!(read(&mut tcp, &mut bytes).await.unwrap(), 0);
    });
}

#[test]
fn a_full_socket_is_written_again_once_the_peer_reads() {
    const BYTES: usize = 16 * 1024 * 1024;
    let mut reactor = reactor();
    run(&mut reactor, |reactor| async move {
        let (mut tcp, mut outside) = socket_pair(&reactor);
        let block = vec![0; 1024 * 1024];
        let mut written = 0;
        written += poll_fn(|task| tcp.poll_write(task, &block)).await.unwrap();
        while let Poll::Ready(count) = poll_fn(|task| Poll::Ready(tcp.poll_write(task, &block))).await {
            written += count.unwrap();
        }
        let reader = std::thread::spawn(move || std::io::copy(&mut outside, &mut std::io::sink()).unwrap());
        while written < BYTES {
            written += poll_fn(|task| tcp.poll_write(task, &block)).await.unwrap();
        }
        drop(tcp);
        assert_eq!(reader.join().unwrap(), written as u64);
    });
}

#[test]
fn a_reset_is_told_to_a_reader_and_a_writer() {
    let mut reactor = reactor();
    run(&mut reactor, |reactor| async move {
        let (mut tcp, outside) = socket_pair(&reactor);
        socket2::SockRef::from(&outside).set_linger(Some(Duration::ZERO)).unwrap();
        drop(outside);
        let error = read(&mut tcp, &mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert!(poll_fn(|task| tcp.poll_write(task, b"x")).await.is_err());
    });
}

#[test]
fn tasks_and_sockets_go_with_their_worker() {
    let mut reactor = reactor();
    let (tcp, mut outside) = socket_pair(reactor.handle());
    let handle = reactor.handle().clone();
    reactor.add_client(Box::pin(async move {
        handle.spawn(Box::pin(pending()));
        let _kept = tcp;
        pending::<()>().await;
    }));
    reactor.poll_tasks();
    reactor.look(true).unwrap();
    assert_eq!(reactor.awaited(), 1);
    drop(reactor);
    assert_eq!(outside.read(&mut [0]).unwrap(), 0);
}
