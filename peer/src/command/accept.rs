//! Whose offers are accepted without asking: what was wished when the peer started.

use std::collections::BTreeSet;

use common::name::UserName;

/// Whose offers are accepted without asking.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AcceptRule {
    /// Nobody's: the user answers each.
    #[default]
    Ask,
    /// Those of these users.
    From(BTreeSet<UserName>),
    /// Everybody's.
    All,
}

impl AcceptRule {
    /// Whether an offer by this user is accepted.
    pub fn accepts(&self, user: &str) -> bool {
        match self {
            Self::Ask => false,
            Self::From(users) => users.iter().any(|one| one.as_str() == user),
            Self::All => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_who_were_named_are_accepted() {
        let from = AcceptRule::From(BTreeSet::from([UserName::new("ann").unwrap()]));
        let accepted = |rule: &AcceptRule| ["ann", "bob"].map(|user| rule.accepts(user));
        assert_eq!(accepted(&from), [true, false]);
        assert_eq!(accepted(&AcceptRule::All), [true, true]);
        assert_eq!(accepted(&AcceptRule::default()), [false, false]);
    }
}
