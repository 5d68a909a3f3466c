//! The program's own commands on a disk that is full from some call on: they say so and do nothing by halves, and work once
//! there is room.

use std::{fs, path::Path, process::Output};

use fastrand::Rng;

use super::{CALLS, Fault, What, support::node::Place, traced};

#[test]
fn a_disk_that_gets_full_is_no_other_error() {
    full_disk(20);
}

#[test]
#[ignore = "takes minutes"]
fn a_disk_that_gets_full_at_many_calls_is_no_other_error() {
    full_disk(200);
}

const DONE: i32 = 0;
const NO_SPACE: i32 = 8;

fn full_disk(rounds: u32) {
    let _turn = super::turn();
    let mut rng = super::seeded();
    let folder = tempfile::tempdir().unwrap();
    let place = Place::here(folder.path()).with("ALLIBRARY_MIRROR_RESERVE", "0");
    let books = folder.path().join("Books");
    fs::create_dir(&books).unwrap();
    edit(&mut rng, &books, rounds);
    place.ok(&["add", "--copy", books.to_str().unwrap()]);
    let (mut round, mut refused) = (0, 0);
    // And as many more as it takes for enough of them to meet a full disk.
    while round < rounds || refused * 8 < rounds {
        assert!(round < 10 * rounds, "too few met a full disk");
        edit(&mut rng, &books, round);
        let books = books.to_str().unwrap();
        let arguments = match rng.u8(..4) {
            0 => vec!["rm", "Books"],
            1 => vec!["add", books],
            _ => vec!["add", "--copy", books],
        };
        let what = What::FromThenOn(rng.choice(&["ENOSPC", "EDQUOT"]).unwrap());
        // Without opening files, which would keep the program from being loaded.
        let calls = rng.choice(&CALLS[..CALLS.len() - 1]).unwrap();
        let most = 2u32.pow(rng.u32(1..8));
        let fault = Fault { calls, what, at: rng.u32(1..=most) };
        let output = meets(&place, &arguments, &fault);
        let said = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code();
        // That it can't tell what it did is another matter, and so is that there is nothing to remove.
        let told = said.contains("cannot write the output") || arguments[0] == "rm" && code == Some(6);
        assert!(matches!(code, Some(DONE | NO_SPACE)) || told, "{} of {arguments:?}, {fault:?}: {said}", output.status);
        refused += u32::from(code == Some(NO_SPACE));
        place.ok(&["add", "--copy", books]);
        place.ok(&["verify"]);
        let listed = place.json(&["ls", "Books"]).len();
        assert_eq!(listed, fs::read_dir(books).unwrap().count(), "after {arguments:?}, {fault:?}: {said}");
        round += 1;
    }
    println!("{refused} of {round} commands had no space");
}

/// New books, and one that is gone.
fn edit(rng: &mut Rng, books: &Path, round: u32) {
    for _ in 0..rng.u32(1..4) {
        let mut bytes = vec![0; rng.usize(..200_000)];
        rng.fill(&mut bytes);
        fs::write(books.join(format!("{round}-{}.bin", rng.u8(..))), bytes).unwrap();
    }
    let gone = fs::read_dir(books).unwrap().flatten().nth(3);
    gone.into_iter().for_each(|book| fs::remove_file(book.path()).unwrap());
}

fn meets(place: &Place, arguments: &[&str], fault: &Fault) -> Output {
    let program = place.command(arguments);
    let mut command = traced(fault, Path::new("/dev/null"));
    command.arg(program.get_program()).args(program.get_args());
    for (key, value) in program.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    command.output().unwrap()
}
