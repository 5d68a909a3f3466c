//! The binary: everything is in the library crate.

fn main() -> std::process::ExitCode {
    allibrary::cli::main()
}
