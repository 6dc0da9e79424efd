//! SPIFFE IDs against patterns.

/// Whether a SPIFFE ID matches a pattern: exact, or with a last segment `*` (one segment) or `**` (one or more).
pub fn spiffe_matches(pattern: &str, id: &str) -> bool {
    let below = |parent: &str| {
        id.strip_prefix(parent)
            .and_then(|rest| rest.strip_prefix('/'))
    };
    if let Some(parent) = pattern.strip_suffix("/**") {
        below(parent).is_some_and(|rest| rest.split('/').all(|segment| !segment.is_empty()))
    } else if let Some(parent) = pattern.strip_suffix("/*") {
        below(parent).is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
    } else {
        pattern == id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_by_segments() {
        assert!(spiffe_matches("spiffe://d/ns/*", "spiffe://d/ns/a"));
        assert!(!spiffe_matches("spiffe://d/ns/*", "spiffe://d/ns/a/b"));
        assert!(!spiffe_matches("spiffe://d/ns/*", "spiffe://d/ns/"));
        assert!(!spiffe_matches("spiffe://d/ns/*", "spiffe://d/nsx/a"));
        assert!(spiffe_matches("spiffe://d/ns/**", "spiffe://d/ns/a/b"));
        assert!(!spiffe_matches("spiffe://d/ns/**", "spiffe://d/ns"));
        assert!(!spiffe_matches("spiffe://d/a", "spiffe://d/A"));
    }
}
