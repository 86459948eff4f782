//! The load: clients that send requests and verify every reply, and the counters between two marks.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Poll};
use testkit::Options;

use crate::flights::Flights;
use crate::frames::{HEADER_BYTES, Header, Request, opcode, startup};
use crate::measure::{Sample, Used, memory};
use crate::open_loop;
use crate::results::Figures;
use crate::server::register;
use crate::stream::{Found, Stream};

/// Room for one read.
pub(crate) const READ_BYTES: usize = 256 * 1024;

/// Nobody may be silent for longer: a lost reply must not end as a run with fewer requests.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(10);

const EVENTS_MAX: usize = 1024;

/// What is asked for on the command line.
pub(crate) struct Settings {
    port: u16,
    pub(crate) clients: usize,
    deep: u16,
    /// Requests a second over all clients; none: each client sends when a reply has come.
    rate: Option<f64>,
    pub(crate) request_bytes: usize,
    pub(crate) reply_bytes: usize,
    pub(crate) seconds: f64,
    pub(crate) warm_up: f64,
    /// The process whose CPU and memory are of interest.
    pub(crate) watch: Option<u32>,
}

impl Settings {
    fn read(options: &Options<'_>) -> Result<Self, String> {
        let names = [
            "--port",
            "--clients",
            "--deep",
            "--rate",
            "--request-bytes",
            "--reply-bytes",
            "--seconds",
            "--warm-up",
            "--watch",
        ];
        options.check(&[], &names)?;
        Ok(Self {
            port: options.number("--port")?.ok_or("a load needs --port")?,
            clients: options.number("--clients")?.ok_or("a load needs --clients")?,
            deep: options.number("--deep")?.unwrap_or(1),
            rate: options.number("--rate")?,
            request_bytes: options.number("--request-bytes")?.unwrap_or(100),
            reply_bytes: options.number("--reply-bytes")?.unwrap_or(100),
            seconds: options.number("--seconds")?.unwrap_or(3.0),
            warm_up: options.number("--warm-up")?.unwrap_or(1.0),
            watch: options.number("--watch")?,
        })
    }
}

pub(crate) fn command(options: &Options<'_>) -> Result<(), String> {
    let settings = Settings::read(options)?;
    let sockets = (0..settings.clients).map(|_| begin_session(settings.port));
    let sockets = sockets
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("a session at port {}: {error}", settings.port))?;
    let figures = match settings.rate {
        Some(rate) => open_loop::run(&settings, rate, sockets)?,
        None => Closed::start(&settings, sockets).map_err(|error| error.to_string())?.run()?,
    };
    println!("{}", serde_json::to_string(&figures).map_err(|error| error.to_string())?);
    Ok(())
}

fn begin_session(port: u16) -> std::io::Result<TcpStream> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(SILENCE_MAX))?;
    socket.write_all(&startup())?;
    let mut reply = [0; HEADER_BYTES];
    socket.read_exact(&mut reply)?;
    if Header::read(&reply).is_none_or(|header| header.opcode != opcode::READY || header.body_bytes != 0) {
        return Err(std::io::Error::other("the server is not ready for a session"));
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Latencies, microseconds.
pub(crate) fn latencies() -> Result<Histogram<u64>, String> {
    const PLACES: u8 = 3;
    Histogram::new_with_max(SILENCE_MAX.as_micros() as u64 * 2, PLACES).map_err(|error| error.to_string())
}

/// What lies between two marks.
pub(crate) fn figures(histogram: &Histogram<u64>, time: Duration, used: Used, watch: Option<u32>) -> Figures {
    let (rss_anon, vm_rss) = watch.map_or((0, 0), memory);
    Figures {
        requests: histogram.len(),
        seconds: time.as_secs_f64(),
        p50_us: histogram.value_at_quantile(0.50) as f64,
        p99_us: histogram.value_at_quantile(0.99) as f64,
        p999_us: histogram.value_at_quantile(0.999) as f64,
        process_ns: used.process_ns,
        process_switches: used.process_switches,
        machine_ns: used.machine_ns,
        machine_switches: used.machine_switches,
        rss_anon,
        vm_rss,
    }
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Counted,
    Over,
}

struct Client {
    stream: Stream,
    flights: Flights,
}

/// The closed loop: every client sends its next request when a reply has come.
struct Closed<'a> {
    settings: &'a Settings,
    poll: Poll,
    clients: Vec<Client>,
    request: Request,
    scratch: Vec<u8>,
    phase: Phase,
    histogram: Histogram<u64>,
}

impl<'a> Closed<'a> {
    fn start(settings: &'a Settings, sockets: Vec<TcpStream>) -> std::io::Result<Self> {
        let poll = Poll::new()?;
        let mut clients = Vec::new();
        for (place, socket) in sockets.into_iter().enumerate() {
            let mut socket = mio::net::TcpStream::from_std(socket);
            register(&poll, &mut socket, place)?;
            let flights = Flights::new(settings.deep, place as u64 + 1);
            clients.push(Client { stream: Stream::new(socket), flights });
        }
        Ok(Self {
            settings,
            poll,
            clients,
            request: Request::new(settings.request_bytes, settings.reply_bytes),
            scratch: vec![0; READ_BYTES],
            phase: Phase::WarmUp,
            histogram: latencies().map_err(std::io::Error::other)?,
        })
    }

    fn run(mut self) -> Result<Figures, String> {
        let started = Instant::now();
        for client in &mut self.clients {
            while let Some((id, token)) = client.flights.depart(started) {
                self.request.put(id, &token, &mut client.stream.out);
            }
            client.stream.flush().map_err(|error| format!("a connection: {error}"))?;
        }
        self.run_until(started + Duration::from_secs_f64(self.settings.warm_up))?;
        self.phase = Phase::Counted;
        let before = Sample::take(self.settings.watch);
        let begun = Instant::now();
        self.run_until(begun + Duration::from_secs_f64(self.settings.seconds))?;
        self.phase = Phase::Over;
        let used = Sample::take(self.settings.watch).since(&before);
        let figures = figures(&self.histogram, begun.elapsed(), used, self.settings.watch);
        let limit = Instant::now() + SILENCE_MAX;
        while self.clients.iter().any(|client| client.flights.under_way() > 0) {
            if Instant::now() > limit {
                return Err("replies were lost".to_owned());
            }
            self.run_until(Instant::now() + Duration::from_millis(1))?;
        }
        Ok(figures)
    }

    fn run_until(&mut self, deadline: Instant) -> Result<(), String> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut last_heard = Instant::now();
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Ok(());
            }
            match self.poll.poll(&mut events, Some(deadline - now)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => done.map_err(|error| error.to_string())?,
            }
            if !events.is_empty() {
                last_heard = Instant::now();
            } else if last_heard.elapsed() > SILENCE_MAX {
                return Err("no reply for too long".to_owned());
            }
            for event in &events {
                if event.is_readable() {
                    self.serve(event.token().0)?;
                } else if let Some(client) = self.clients.get_mut(event.token().0) {
                    client.stream.flush().map_err(|error| format!("a connection: {error}"))?;
                }
            }
        }
    }

    /// Takes all replies of a client, and sends as many requests.
    fn serve(&mut self, place: usize) -> Result<(), String> {
        let Some(Client { stream, flights }) = self.clients.get_mut(place) else { return Ok(()) };
        let (phase, settings) = (self.phase, self.settings);
        let (histogram, request) = (&mut self.histogram, &mut self.request);
        let mut problem = None;
        loop {
            let now = Instant::now();
            let found = stream.read(&mut self.scratch, |header, body, out| {
                match flights.arrive(header, body, settings.reply_bytes) {
                    Ok(since) if phase == Phase::Counted => {
                        histogram.saturating_record((now - since).as_micros() as u64);
                    }
                    Ok(_) => {}
                    Err(wrong) => problem = Some(wrong),
                }
                if phase != Phase::Over
                    && let Some((id, token)) = flights.depart(now)
                {
                    request.put(id, &token, out);
                }
            });
            stream.flush().map_err(|error| format!("a connection: {error}"))?;
            if let Some(problem) = problem {
                return Err(problem);
            }
            match found.map_err(|error| format!("a connection: {error}"))? {
                Found::Some => {}
                Found::All => return Ok(()),
                Found::End => return Err("a connection was closed".to_owned()),
            }
        }
    }
}
