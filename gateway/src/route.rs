//! From a path to an upstream: the longest prefix wins, by whole segments.

use portcullis_config::Route;

use crate::path::CanonicalPath;

/// The routes of one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// Sorts the routes so that the first match is the longest.
    pub fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
        Self(routes)
    }

    /// Index of the upstream for a path, in the order of the configuration.
    pub fn find(&self, path: &CanonicalPath<'_>) -> Option<usize> {
        self.0
            .iter()
            .find(|route| path.is_below(&route.prefix))
            .map(|route| route.upstream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins_and_segments_are_whole() {
        let route = |prefix: &str, upstream| Route {
            prefix: prefix.to_owned(),
            upstream,
        };
        let routes = Routes::new(vec![route("/a", 1), route("/a/b", 2)]);
        let find = |path| routes.find(&CanonicalPath::parse(path).unwrap());
        assert_eq!(find("/a/b/c"), Some(2));
        assert_eq!(find("/a/bc"), Some(1));
        assert_eq!(find("/ab"), None);
    }
}
