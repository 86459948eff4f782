//! The open loop: requests are sent by a clock, whatever the replies do, and latency counts from the time a request
//! should have been sent. A stall then shows in every request that it delayed (no coordinated omission).

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Poll};

use crate::flights::Flights;
use crate::frames::Request;
use crate::load::{READ_BYTES, SILENCE_MAX, Settings, figures, latencies};
use crate::measure::{Sample, Used};
use crate::results::Figures;
use crate::server::register;
use crate::stream::{Found, Stream};

/// Stream ids of a connection. With all of them waiting, seconds have passed without a reply.
const DEEP_MAX: u16 = 4096;

/// How often the receiver looks whether all is over.
const TICK: Duration = Duration::from_millis(50);

/// What sender and receiver share.
struct Shared {
    flights: Vec<Mutex<Flights>>,
    /// Latencies of requests of this window count.
    window: (Instant, Instant),
    is_sent: AtomicBool,
}

impl Shared {
    fn of(&self, place: usize) -> MutexGuard<'_, Flights> {
        self.flights[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn run(settings: &Settings, rate: f64, sockets: Vec<TcpStream>) -> Result<Figures, String> {
    sharpen_timer();
    let receiver = Receiver::new(&sockets).map_err(|error| error.to_string())?;
    let started = Instant::now();
    let begin = started + Duration::from_secs_f64(settings.warm_up);
    let end = begin + Duration::from_secs_f64(settings.seconds);
    let flights = (0..sockets.len()).map(|place| Mutex::new(Flights::new(DEEP_MAX, place as u64 + 1)));
    let shared = Shared { flights: flights.collect(), window: (begin, end), is_sent: AtomicBool::new(false) };
    std::thread::scope(|scope| {
        let receiving = scope.spawn(|| receiver.run(&shared, settings.reply_bytes));
        let used = send_all(settings, rate, started, &shared, sockets);
        shared.is_sent.store(true, Ordering::Release);
        let received = receiving.join().map_err(|_| "the receiver panicked".to_owned())?;
        let (histogram, used) = (received?, used?);
        Ok(figures(&histogram, end - begin, used, settings.watch))
    })
}

/// The kernel wakes sleepers up to 50 us late unless told otherwise. Where it cannot be told, all arms are late alike.
fn sharpen_timer() {
    drop(std::fs::write("/proc/self/timerslack_ns", "1"));
}

/// Sends by the clock, and returns what was used between the marks.
fn send_all(
    settings: &Settings,
    rate: f64,
    started: Instant,
    shared: &Shared,
    mut sockets: Vec<TcpStream>,
) -> Result<Used, String> {
    let mut request = Request::new(settings.request_bytes, settings.reply_bytes);
    let mut frame = Vec::new();
    let mut before = None;
    for number in 0_u64.. {
        let intended = started + Duration::from_secs_f64(number as f64 / rate);
        let now = Instant::now();
        if intended > now {
            std::thread::sleep(intended - now);
        }
        if intended >= shared.window.0 && before.is_none() {
            before = Some(Sample::take(settings.watch));
        }
        if intended >= shared.window.1 {
            break;
        }
        let place = (number % sockets.len() as u64) as usize;
        let departed = shared.of(place).depart(intended);
        let (id, token) = departed.ok_or("too many requests wait for their replies")?;
        frame.clear();
        request.put(id, &token, &mut frame);
        send(&mut sockets[place], &frame)?;
    }
    Ok(Sample::take(settings.watch).since(&before.unwrap_or_default()))
}

fn send(socket: &mut TcpStream, mut rest: &[u8]) -> Result<(), String> {
    let started = Instant::now();
    while !rest.is_empty() {
        match socket.write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock && started.elapsed() < SILENCE_MAX => {
                std::thread::yield_now();
            }
            Err(error) => return Err(format!("a connection: {error}")),
        }
    }
    Ok(())
}

struct Receiver {
    poll: Poll,
    streams: Vec<Stream>,
}

impl Receiver {
    fn new(sockets: &[TcpStream]) -> std::io::Result<Self> {
        let poll = Poll::new()?;
        let mut streams = Vec::new();
        for (place, socket) in sockets.iter().enumerate() {
            let mut socket = mio::net::TcpStream::from_std(socket.try_clone()?);
            register(&poll, &mut socket, place)?;
            streams.push(Stream::new(socket));
        }
        Ok(Self { poll, streams })
    }

    /// Receives until every request has its reply.
    fn run(mut self, shared: &Shared, reply_bytes: usize) -> Result<Histogram<u64>, String> {
        let mut histogram = latencies()?;
        let mut scratch = vec![0; READ_BYTES];
        let mut events = Events::with_capacity(self.streams.len());
        let mut last_heard = Instant::now();
        loop {
            match self.poll.poll(&mut events, Some(TICK)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                done => done.map_err(|error| error.to_string())?,
            }
            if shared.is_sent.load(Ordering::Acquire)
                && (0..self.streams.len()).all(|place| shared.of(place).under_way() == 0)
            {
                return Ok(histogram);
            }
            if !events.is_empty() {
                last_heard = Instant::now();
            } else if last_heard.elapsed() > SILENCE_MAX {
                return Err("replies were lost".to_owned());
            }
            for event in &events {
                let place = event.token().0;
                while self.take(place, &mut scratch, (shared, reply_bytes), &mut histogram)? == Found::Some {}
            }
        }
    }

    /// One read of a connection.
    fn take(
        &mut self,
        place: usize,
        scratch: &mut [u8],
        (shared, reply_bytes): (&Shared, usize),
        histogram: &mut Histogram<u64>,
    ) -> Result<Found, String> {
        let now = Instant::now();
        let mut problem = None;
        let found = self.streams[place].read(scratch, |header, body, _| {
            match shared.of(place).arrive(header, body, reply_bytes) {
                Ok(intended) if intended >= shared.window.0 && intended < shared.window.1 => {
                    let latency = now.saturating_duration_since(intended);
                    histogram.saturating_record(latency.as_micros() as u64);
                }
                Ok(_) => {}
                Err(wrong) => problem = Some(wrong),
            }
        });
        match (problem, found) {
            (Some(problem), _) => Err(problem),
            (None, Ok(Found::End)) => Err("a connection was closed".to_owned()),
            (None, found) => found.map_err(|error| format!("a connection: {error}")),
        }
    }
}
