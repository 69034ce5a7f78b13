//! Names of members, so that no two are the same.

use std::collections::{BTreeMap, BTreeSet};

use common::group::Member;
use common::id::PeerId;

/// What members are called: the first of a name as he calls himself, the next `name-2`, and so on, in order of joining.
pub(super) fn names(members: &[Member]) -> BTreeMap<PeerId, String> {
    let mut taken = BTreeSet::new();
    // Which number comes next with a name: to begin at the first each time takes long where many have one.
    let mut numbers = BTreeMap::new();
    let mut names = BTreeMap::new();
    for member in members {
        let wished = member.name().to_string();
        let next = numbers.entry(wished.clone()).or_insert(1_u32);
        let free = loop {
            let name = if *next == 1 { wished.clone() } else { format!("{wished}-{next}") };
            *next += 1;
            if taken.insert(name.clone()) {
                break name;
            }
        };
        names.insert(member.id(), free);
    }
    names
}

#[cfg(test)]
mod tests {
    use common::group::Addresses;
    use common::identity::Identity;
    use common::mrt::StaticKey;
    use common::name::UserName;

    use super::*;

    #[test]
    fn no_two_have_the_same_name() {
        let member = |(number, name)| {
            let key = Identity::from_seed(&[number; 32]).public_key();
            Member::new(key, StaticKey([4; 32]), UserName::new(name).unwrap(), Addresses::default())
        };
        let wished = ["ann", "ann-2", "ann", "bob", "ann", "ann-2", "ann-3"];
        let members: Vec<Member> = (1..).zip(wished).map(member).collect();
        let names = names(&members);
        let given: Vec<&str> = members.iter().map(|member| names[&member.id()].as_str()).collect();
        assert_eq!(given, ["ann", "ann-2", "ann-3", "bob", "ann-4", "ann-2-2", "ann-3-2"]);
    }
}
