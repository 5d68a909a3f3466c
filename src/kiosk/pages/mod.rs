//! The pages for people: HTML that works without scripts, without styles, and in the browsers of old e-readers.

mod collections;
mod failure;
mod item;
mod shape;
mod status;

use std::sync::LazyLock;

pub use collections::{Place, collection, collections, search};
pub use failure::{Failure, failure};
pub use item::item;
use maud::{DOCTYPE, Markup, html};
pub use status::status;

use crate::content::ContentId;

/// The style sheet of all pages.
pub const STYLE: &str = include_str!("../style.css");

/// Its address changes with it, so that browsers may keep it for ever.
static STYLE_URL: LazyLock<String> = LazyLock::new(|| format!("/style.css?{:.8}", ContentId::of(STYLE.as_bytes())));

/// What all pages have around what they say.
pub struct Frame<'a> {
    /// The node's name.
    pub site: &'a str,
    /// What the page is called.
    pub title: &'a str,
    /// The words in the search box.
    pub words: &'a str,
    /// Seconds until the page loads itself again.
    pub refresh_s: Option<u32>,
}

impl<'a> Frame<'a> {
    /// A page with an empty search box.
    pub fn new(site: &'a str, title: &'a str) -> Self {
        Self { site, title, words: "", refresh_s: None }
    }

    /// The whole page around its main part.
    pub fn around(&self, main: Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    @if let Some(seconds) = self.refresh_s { meta http-equiv="refresh" content=(seconds); }
                    title { (shape::unturned(self.title)) @if self.title != self.site { " – " (self.site) } }
                    link rel="stylesheet" href=(*STYLE_URL);
                    link rel="icon" href="/favicon.ico";
                }
                body {
                    a.skip href="#main" { "Skip to content" }
                    header {
                        a.home href="/" { bdi { (self.site) } }
                        form role="search" action="/search" {
                            label for="q" { "Search titles and authors" }
                            input #q type="search" name="q" placeholder="Titles, authors" value=(self.words) maxlength="200" autocomplete="off";
                            " "
                            button { "Search" }
                        }
                    }
                    main #main { (main) }
                    footer {
                        nav aria-label="Pages" { a href="/" { "Library" } " · " a href="/status" { "Status" } }
                    }
                }
            }
        }
    }
}
