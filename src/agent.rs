//! The program `tunnel-client`: the agent of a tunnel and nothing else, for images of containers.

mod program;

fn main() -> std::process::ExitCode {
    program::run(alknet::cli::run_agent)
}
