//! Results as JSON: an object with the kind of the outcome, or `failure`, as its only key, as in the local API; chunks
//! count from 0.

use serde_json::{Value, json};

use crate::command::{Failure, Outcome};

pub(super) fn outcome(outcome: &Outcome) -> String {
    let mut value = match serde_json::to_value(outcome) {
        Ok(value) => value,
        Err(error) => json!({ "failure": { "kind": "failed", "text": error.to_string() } }),
    };
    if let Outcome::Locations { entry, holders } = outcome
        && let Some(Value::Array(shown)) = value.pointer_mut("/locations/holders")
    {
        // A bitmap in hex is hard to read for scripts: the runs of chunks, first and last of each, go beside it.
        for (holder, shown) in holders.iter().zip(shown) {
            let bitmap = holder.have.as_ref().and_then(|have| have.to_bitmap(&entry.content).ok());
            shown["chunks"] = json!(bitmap.map(|bitmap| bitmap.runs()));
        }
    }
    value.to_string()
}

pub(super) fn failure(failure: &Failure) -> String {
    json!({ "failure": failure }).to_string()
}
