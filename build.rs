//! How the program is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // What the loader has to adjust takes 13 KiB in this form, and 430 in the old one. glibc 2.36 knows it. The static
    // programs for the boards have nothing to adjust, and their linker does not take such words.
    if std::env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
