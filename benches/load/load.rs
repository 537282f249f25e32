//! Load for the forwards, and what they lead to. Plain threads and large buffers: it must not be what is measured.
//!
//!   load target                             prints its port; the first byte of a connection says what it does there
//!   load bulk PORT down|up CONNECTIONS MS   prints bytes and seconds
//!   load rtt PORT COUNT                     prints p50 and p99 of 64 bytes there and back, in µs, a quarter more before them
//!   load conns PORT PARALLEL MS             connect, one byte there and back, close: prints how many and the seconds
//!   load hold PORT COUNT                    opens them 8 at a time, prints "held", and holds them until its input ends

use std::io::{Error, Read, Result, Write, stdin, stdout};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const BLOCK: usize = 128 * 1024;
const STACK: usize = 256 * 1024;
/// A forwarder that says nothing for so long has failed.
const LIMIT: Duration = Duration::from_secs(20);

const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| args.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    match args.first().map(String::as_str) {
        Some("target") => target(),
        Some("bulk") => {
            bulk(number(1) as u16, args[2] == "down", number(3), Duration::from_millis(number(4)))
        }
        Some("rtt") => rtt(number(1) as u16, number(2) as usize),
        Some("conns") => conns(number(1) as u16, number(2), Duration::from_millis(number(3))),
        Some("hold") => hold(number(1) as u16, number(2) as usize),
        _ => Err(Error::other("load target | bulk | rtt | conns | hold")),
    }
}

fn go<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::Builder::new().stack_size(STACK).spawn(work).expect("a thread")
}

// ---------------------------------------------------------------- the target

fn target() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    for stream in listener.incoming() {
        // A connection that goes away is no matter for the others.
        let Ok(stream) = stream else { continue };
        go(move || serve(stream));
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    match kind[0] {
        b'D' => source(&stream, None).map(drop),
        b'U' => {
            let count = sink(&stream, None)?;
            stream.write_all(&count.to_be_bytes())
        }
        b'G' => pages(stream),
        // One byte back, then an echo.
        _ => {
            stream.write_all(&kind)?;
            echo(stream)
        }
    }
}

fn echo(mut stream: TcpStream) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}

/// A web server with one page; requests are not pipelined.
fn pages(mut stream: TcpStream) -> Result<()> {
    let mut buffer = [0; 4096];
    let mut held = 0;
    loop {
        match stream.read(&mut buffer[held..])? {
            0 => return Ok(()),
            n => held += n,
        }
        if buffer[..held].ends_with(b"\r\n\r\n") {
            stream.write_all(PAGE)?;
            held = 0;
        }
    }
}

/// Sends until the time is up or nobody takes it.
fn source(mut stream: &TcpStream, until: Option<Instant>) -> Result<u64> {
    let block = vec![0x5a; BLOCK];
    let mut sent = 0;
    while until.is_none_or(|until| Instant::now() < until) {
        match stream.write(&block) {
            Ok(n) => sent += n as u64,
            Err(error) if until.is_some() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(sent)
}

/// Reads until the time is up or the end.
fn sink(mut stream: &TcpStream, until: Option<Instant>) -> Result<u64> {
    let mut block = vec![0; BLOCK];
    let mut come = 0;
    while until.is_none_or(|until| Instant::now() < until) {
        match stream.read(&mut block)? {
            0 if until.is_some() => return Err(Error::other("ended before its time")),
            0 => break,
            n => come += n as u64,
        }
    }
    Ok(come)
}

// ---------------------------------------------------------------- the load

fn dial(port: u16, kind: u8) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(&[kind])?;
    Ok(stream)
}

fn all<T>(threads: Vec<JoinHandle<Result<T>>>) -> Result<Vec<T>> {
    threads.into_iter().map(|thread| thread.join().map_err(|_| Error::other("panic"))?).collect()
}

fn bulk(port: u16, down: bool, connections: u64, time: Duration) -> Result<()> {
    let started = Instant::now();
    let until = Some(started + time);
    let one = move || -> Result<u64> {
        if down {
            return sink(&dial(port, b'D')?, until);
        }
        let mut stream = dial(port, b'U')?;
        let sent = source(&stream, until)?;
        stream.shutdown(Shutdown::Write)?;
        let mut count = [0; 8];
        stream.read_exact(&mut count)?;
        match u64::from_be_bytes(count) {
            come if come == sent => Ok(come),
            come => Err(Error::other(format!("{come} of {sent} bytes came"))),
        }
    };
    let bytes: u64 = all((0..connections).map(|_| go(one)).collect())?.iter().sum();
    println!("{bytes} {}", started.elapsed().as_secs_f64());
    Ok(())
}

fn rtt(port: u16, count: usize) -> Result<()> {
    let mut stream = dial(port, b'E')?;
    let mut buffer = [0; 64];
    stream.read_exact(&mut buffer[..1])?;
    let message = [0x55; 64];
    let mut times = Vec::with_capacity(count);
    for turn in 0..count + count / 4 {
        let started = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut buffer)?;
        if buffer != message {
            return Err(Error::other("the echo differs"));
        }
        if turn >= count / 4 {
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
    }
    times.sort_by(f64::total_cmp);
    println!("{} {}", times[count / 2], times[count * 99 / 100]);
    Ok(())
}

fn conns(port: u16, parallel: u64, time: Duration) -> Result<()> {
    static DONE: AtomicU64 = AtomicU64::new(0);
    let started = Instant::now();
    let one = move || -> Result<()> {
        while started.elapsed() < time {
            dial(port, b'E')?.read_exact(&mut [0])?;
            DONE.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    all((0..parallel).map(|_| go(one)).collect())?;
    println!("{} {}", DONE.load(Ordering::Relaxed), started.elapsed().as_secs_f64());
    Ok(())
}

fn hold(port: u16, count: usize) -> Result<()> {
    let some = move || -> Result<Vec<TcpStream>> {
        (0..count / 8)
            .map(|_| {
                let mut stream = dial(port, b'E')?;
                stream.read_exact(&mut [0])?;
                Ok(stream)
            })
            .collect()
    };
    let held = all((0..8).map(|_| go(some)).collect())?;
    println!("held");
    stdout().flush()?;
    stdin().read_to_end(&mut Vec::new())?;
    drop(held);
    Ok(())
}
