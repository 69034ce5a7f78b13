//! Names of members, so that no two are the same.

use std::collections::{BTreeMap, BTreeSet};

use common::group::Member;
use common::id::PeerId;

/// What members are called: the first of a name as he calls himself, the next `name-2`, and so on, in order of joining.
pub(super) fn names(members: &[Member]) -> BTreeMap<PeerId, String> {
    let mut taken = BTreeSet::new();
    let mut names = BTreeMap::new();
    for member in members {
        let wished = member.name().to_string();
        let free = std::iter::once(wished.clone())
            .chain((2_u32..).map(|number| format!("{wished}-{number}")))
            .find(|name| !taken.contains(name))
            .unwrap_or(wished);
        taken.insert(free.clone());
        names.insert(member.id(), free);
    }
    names
}
