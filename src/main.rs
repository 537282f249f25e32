//! The program `alknet`.

mod program;

use alknet::cli::CommandLine;

fn main() -> std::process::ExitCode {
    let line = CommandLine::read(std::env::args_os());
    program::run(line.work(), |control| line.run(control))
}
