//! The binary: everything is in the library crate.

fn main() -> std::process::ExitCode {
    allibrary::node::footprint::restart_with_settings();
    allibrary::cli::main()
}
