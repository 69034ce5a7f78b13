//! Relisting: nobody remembers for a node what it shares, once it has left: it says it again when it is back.

use std::sync::Arc;

use common::name::EntryName;
use common::wire::tracker::{FolderSize, Request};

use super::background::network;
use crate::command::Parts;

/// Lists what the library has for this network, where there is no tracker that remembers it.
pub(super) async fn relist(parts: Arc<Parts>) {
    if parts.node.is_none() {
        return;
    }
    let network = network(&parts).await;
    for item in parts.with_library(move |library| library.items(network)).await {
        let names: Vec<EntryName> = item.entries.keys().map(|entry| entry.name.clone()).collect();
        let content = item.content;
        // What has changed meanwhile is told elsewhere.
        let Ok(shared) = parts.with_library(move |library| library.check(&item)).await else { continue };
        let folder = shared.insides.manifest().map(|manifest| FolderSize::from(manifest.as_ref()));
        for name in names {
            let request = Request::Register { name: name.to_string(), content, folder, users: None };
            if let Err(error) = parts.tracker.request(request).await {
                tracing::warn!(%name, %error, "what was shared before is not listed again");
            }
        }
    }
}
