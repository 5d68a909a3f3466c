//! The binary: everything is in the library crate.

#[expect(unsafe_code, reason = "only here is it certain that no other thread runs")]
fn main() -> std::process::ExitCode {
    // SAFETY: this is the first thing that the only thread does.
    unsafe { allibrary::node::footprint::bound_threads_and_arenas() };
    allibrary::cli::main()
}
