//! Lists: of collections, of a collection's titles, and of what a search found.

use maud::{Markup, html};

use super::{
    Frame,
    shape::{count, foreign, grouped, size},
};
use crate::{
    content::CollectionKey,
    kiosk::{address, media},
    library::{Entry, Hit, SearchPage, Summary},
    limits::kiosk::ITEMS_PER_PAGE,
};

/// The front page.
pub fn collections(site: &str, all: &[Summary]) -> Markup {
    // Publishers claim what they like.
    let sum = |of: fn(&Summary) -> u64| all.iter().map(of).fold(0, u64::saturating_add);
    let (items, bytes) = (sum(|one| one.items), sum(|one| one.bytes));
    Frame::new(site, site).around(html! {
        h1 { "Collections" }
        @if all.is_empty() {
            p.empty { strong { "Nothing here yet." } " Add books with " code { "allibrary add FOLDER" }
                ", or wait: collections of other nodes on this network show up by themselves on a mirror." }
        } @else {
            p.note { (count(all.len() as u64, "collection")) " · " (count(items, "title")) " · " (size(bytes)) }
            ul.list { @for one in all { li { (card(one)) } } }
        }
    })
}

fn card(one: &Summary) -> Markup {
    html! {
        a.row href=(format!("/collection/{}", address::encode(&one.folder))) {
            span.title { (foreign(&one.name, "")) }
            span.note {
                (count(one.items, "title")) " · " (size(one.bytes))
                @if one.held_items < one.items { " · " (grouped(one.held_items)) " here so far" }
            }
        }
    }
}

/// Where the titles of a collection are.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Whether those that are not here can probably be read from other nodes.
    pub is_in_reach: bool,
    /// Whether they are copied to this node.
    pub is_mirrored: bool,
}

/// One page of a collection's titles. `entries` may be one longer than a page: then there is a next one.
pub fn collection(site: &str, one: &Summary, place: Place, entries: &[Entry], page: u64) -> Markup {
    let url = format!("/collection/{}", address::encode(&one.folder));
    Frame::new(site, &one.name).around(html! {
        (crumbs(None))
        h1 { (foreign(&one.name, "")) }
        p.note {
            (count(one.items, "title")) " · " (size(one.bytes))
            @if place.is_mirrored { " · mirrored" }
            @if one.held_items < one.items { " · " (grouped(one.held_items)) " here so far" }
        }
        @if entries.is_empty() { p.empty { "This collection is empty." } }
        ul.list { @for entry in entries.iter().take(ITEMS_PER_PAGE) { li { (row(&one.folder, entry, place.is_in_reach)) } } }
        (pager(&format!("{url}?page="), page, one.items, entries.len() > ITEMS_PER_PAGE))
    })
}

/// One page of what a search found.
pub fn search(
    site: &str,
    words: &str,
    found: &SearchPage,
    page: u64,
    is_in_reach: &dyn Fn(&CollectionKey) -> bool,
) -> Markup {
    let url = format!("/search?q={}&page=", address::encode(words));
    let frame = Frame { words, ..Frame::new(site, "Search") };
    let last = (page.saturating_sub(1) * ITEMS_PER_PAGE as u64).saturating_add(found.hits.len() as u64);
    frame.around(html! {
        (crumbs(None))
        @if words.is_empty() {
            h1 { "Search" }
            p.empty { "Type words of a title or an author into the box above." }
        } @else {
            h1 { (count(found.total, "title")) " for “" (foreign(words, "")) "”" }
            @if found.hits.is_empty() { p.empty { "Nothing found. Try fewer words, or the beginning of one." } }
            ul.list { @for Hit { folder, entry, collection } in &found.hits { li { (row(folder, entry, is_in_reach(collection))) } } }
            (pager(&url, page, found.total, last < found.total))
        }
    })
}

/// One title in a list.
fn row(folder: &str, Entry { item, held, fault, offered }: &Entry, is_in_reach: bool) -> Markup {
    let media = media::of(&item.path);
    html! {
        a.row.away[!held && !is_in_reach] href=(address::item_url("/item", folder, &item.path)) {
            span.kind { (media.label) }
            " "
            span.title { (foreign(item.label(), &item.language)) }
            " "
            span.note {
                @if !item.author.is_empty() { (foreign(&item.author, "")) " · " }
                (size(item.size))
                @if let Some((above, _)) = item.path.rsplit_once('/') { " · in " (foreign(above, "")) }
                @match fault {
                    _ if !held && is_in_reach => { " · on another node: opens from there" }
                    Some(fault) if !held => { " · not available now: its file is " (fault) }
                    _ => @if !held { " · not here yet" }
                }
                @if !offered { " · kept here, no longer offered" }
            }
        }
    }
}

/// The way back up.
pub fn crumbs(collection: Option<(&str, &str)>) -> Markup {
    html! {
        p.crumbs {
            a href="/" { "Collections" }
            @if let Some((folder, name)) = collection {
                " › " a href=(format!("/collection/{}", address::encode(folder))) { (foreign(name, "")) }
            }
        }
    }
}

/// Links to the pages before and after this one. `url` is theirs without the number.
fn pager(url: &str, page: u64, items: u64, has_next: bool) -> Markup {
    let pages = items.div_ceil(ITEMS_PER_PAGE as u64).max(page + u64::from(has_next));
    html! {
        @if pages > 1 {
            nav.pager aria-label="Pages of this list" {
                @if page > 1 { a rel="prev" href=(format!("{url}{}", page - 1)) { "‹ Previous" } }
                span { " Page " (grouped(page)) " of " (grouped(pages)) " " }
                @if has_next { a rel="next" href=(format!("{url}{}", page + 1)) { "Next ›" } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{content::ContentId, library::Item, store::Fault, wire::Text};

    #[test]
    fn rows_say_what_is_not_here_and_what_is_only_here() {
        let item = Item {
            path: Text::cut("film.webm"),
            id: ContentId::of(b""),
            size: 0,
            title: Text::cut(""),
            author: Text::cut(""),
            language: Text::cut(""),
        };
        for (held, fault, offered) in
            [(true, None, true), (true, None, false), (false, None, true), (false, Some(Fault::Missing), true)]
        {
            let entry = Entry { item: item.clone(), held, fault, offered };
            let elsewhere = super::row("f", &entry, true).into_string();
            assert_eq!(elsewhere.contains("on another node: opens from there"), !held, "{elsewhere}");
            assert!(!elsewhere.contains("row away") && !elsewhere.contains("not here yet"));
            let row = row("f", &entry, false).into_string();
            assert_eq!(row.contains("row away"), !held, "{row}");
            assert_eq!(row.contains("not here yet"), !held && fault.is_none(), "{row}");
            assert_eq!(row.contains("not available now: its file is missing"), fault.is_some(), "{row}");
            assert_eq!(row.contains("no longer offered"), !offered, "{row}");
        }
    }

    #[test]
    fn pagers_lead_both_ways() {
        assert_eq!(pager("?page=", 1, 100, false).into_string(), "");
        let middle = pager("?page=", 2, 250, true).into_string();
        assert!(
            middle.contains("href=\"?page=1\"")
                && middle.contains("Page 2 of 3")
                && middle.contains("href=\"?page=3\"")
        );
        // Items that are only kept here come after those that are counted.
        assert!(pager("?page=", 3, 250, true).into_string().contains("Page 3 of 4"));
    }
}
