//! How long a reader waits for the first byte of a place in a film that is on another node.

use std::{fs, time::Duration};

use crate::{
    shared::{aim, folder, noise, row},
    support::{netns::Lan, node::Place, page::Page},
};

/// Places that are looked at, each for the first time.
const PLACES: u64 = 31;
/// What is asked for at each.
const RANGE_BYTES: u64 = 1 << 20;
const BOUND: Duration = Duration::from_millis(100);

/// On a LAN, with nothing else under way.
pub fn first_byte(film_bytes: u64) {
    let (folder, lan) = (folder(), Lan::new(2));
    let films = folder.path().join("Films");
    fs::create_dir(&films).unwrap();
    noise(&films.join("film.webm"), film_bytes);
    let [publisher, reader] = [0, 1].map(|host| Place::on(&lan.hosts[host], folder.path().join(format!("node{host}"))));
    publisher.ok(&["add", films.to_str().unwrap()]);
    let _publisher = publisher.start(&[]);
    let mut reader = reader.start(&[]);
    let page = Page::offering("Films/film.webm", &lan.hosts[1], &mut reader);
    let step = film_bytes / PLACES;
    let mut took: Vec<_> = (0..PLACES)
        .map(|number| {
            // As somebody who drags the slider to and fro.
            let at = number * 7 % PLACES * step + 12_345;
            let response = page.get("/c/Films/film.webm", Some(at..(at + RANGE_BYTES).min(film_bytes)));
            assert_eq!(response.status, 206, "{}\n{}", response.head, reader.log());
            response.took
        })
        .collect();
    took.sort_unstable();
    let [median, worst] = [took[took.len() / 2], took[took.len() - 1]];
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let what = format!(
        "a place in a film of {} MiB that is on another node: time to its first byte, median and worst of {PLACES}",
        film_bytes >> 20
    );
    row(&what, format!("{:.1} / {:.1} ms", ms(median), ms(worst)), &aim("≤ 100 ms", worst <= BOUND));
}
