//! For suites in JavaScript, which have no iroh but ours: leads TCP connections to peers, as any program of others could.
//!
//! Each line of stdin is an endpoint id and where it is; the line that answers is the address that leads there.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is for tests")]
#![allow(clippy::disallowed_methods, reason = "a foreign program has sockets and tasks of its own")]

mod pipe;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let endpoint = runtime.block_on(pipe::endpoint());
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (id, at) = line.split_once(' ').unwrap();
        println!("{}", runtime.block_on(pipe::lead_to(&endpoint, id, at.parse().unwrap())));
    }
}
