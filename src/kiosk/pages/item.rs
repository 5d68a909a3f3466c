//! The page of one title.

use maud::{Markup, html};

use super::{
    Frame,
    collections::crumbs,
    shape::{foreign, grouped, size},
};
use crate::{
    kiosk::{
        address,
        media::{self, Media, Use},
    },
    library::{Entry, Summary},
};

/// One title: what is known of it, and what can be done with it.
pub fn item(
    site: &str,
    collection: &Summary,
    Entry { item, held, fault, offered }: &Entry,
    is_in_reach: bool,
) -> Markup {
    let media = media::of(&item.path);
    let url = address::item_url("/c", &collection.folder, &item.path);
    Frame::new(site, item.label()).around(html! {
        (crumbs(Some((&collection.folder, &collection.name))))
        h1 { (foreign(item.label(), &item.language)) }
        @if !item.author.is_empty() { p.by { (foreign(&item.author, "")) } }
        @if !held && is_in_reach { p.note { "On another node: opens from there." } }
        @if *held || is_in_reach {
            (preview(&media, &url, item.label()))
            p.actions {
                @if matches!(media.usage, Use::Read | Use::Picture) { a.button href=(url) { "Read" } " " }
                a.button.plain[media.usage != Use::Save] href=(format!("{url}?download")) download {
                    "Download " small { "(" (size(item.size)) ")" }
                }
            }
        } @else if let Some(fault) = fault {
            p.empty { strong { "Not available now." } " Its file is " (fault) "; it is offered again when it is as it was." }
        } @else {
            p.empty { strong { "Not here yet." } " This node knows of the title, and fetches it as soon as it meets a node that has it." }
        }
        @if !offered { p.empty { "Kept here, no longer offered by its publisher." } }
        dl {
            @if !item.language.is_empty() { dt { "Language" } dd { (foreign(&item.language, "")) } }
            dt { "Type" } dd { (media.label) " " small { (media.content_type) } }
            dt { "Size" } dd { (size(item.size)) @if item.size >= 1000 { " " small { "(" (grouped(item.size)) " bytes)" } } }
            dt { "File" } dd { (foreign(&item.path, "")) }
            dt { "Id" } dd { code { (item.id) } }
        }
    })
}

fn preview(media: &Media, url: &str, label: &str) -> Markup {
    html! {
        @match media.usage {
            Use::Audio => audio controls preload="none" src=(url) aria-label=(label) {},
            Use::Video => video controls preload="metadata" src=(url) aria-label=(label) {},
            Use::Picture => p { a href=(url) { img src=(url) alt=(label); } },
            Use::Read | Use::Save => {}
        }
    }
}
