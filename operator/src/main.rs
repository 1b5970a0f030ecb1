//! The operator's binary: custom resources in, agents out, and an honest status back.

mod arguments;
mod cache;
mod context;
mod model;

use clap::Parser as _;

use arguments::{Arguments, Command};

fn main() {
    match Arguments::parse().command {
        Command::Crds => {}
        Command::Run(_) => {}
    }
}
