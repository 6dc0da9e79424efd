//! From a path to an upstream: the longest prefix wins, by whole segments.

use portcullis_config::Route;

use crate::path::CanonicalPath;

/// The routes of one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    route: Route,
    demand: usize,
}

/// Where a path leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// Its prefix, as configured; "" is everything.
    pub prefix: &'a str,
    /// Index of the upstream, in the order of the configuration.
    pub upstream: usize,
    /// Which of the site's demands on clients it makes.
    pub demand: usize,
    /// Whether it takes requests that may have been sent again by somebody else (0-RTT).
    pub early_data: bool,
    /// Indices of the rate limits that it names.
    pub rate_limits: &'a [usize],
}

impl Routes {
    /// Sorts the routes, each with the demand it makes, so that the first match is the longest.
    pub fn new(mut routes: Vec<(Route, usize)>) -> Self {
        routes.sort_by_key(|(route, _)| std::cmp::Reverse(route.prefix.len()));
        let entry = |(route, demand)| Entry { route, demand };
        Self(routes.into_iter().map(entry).collect())
    }

    /// The route of a path.
    pub fn find(&self, path: &CanonicalPath<'_>) -> Option<Found<'_>> {
        let mut entries = self.0.iter();
        let entry = entries.find(|entry| path.is_below(&entry.route.prefix))?;
        Some(Found {
            prefix: &entry.route.prefix,
            upstream: entry.route.upstream,
            demand: entry.demand,
            early_data: entry.route.early_data,
            rate_limits: &entry.route.rate_limits,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins_and_segments_are_whole() {
        let route = |prefix: &str, upstream| {
            let route = Route {
                prefix: prefix.to_owned(),
                upstream,
                client_cert: None,
                early_data: false,
                rate_limits: Vec::new(),
                span: 0..0,
            };
            (route, 0)
        };
        let routes = Routes::new(vec![route("/a", 1), route("/a/b", 2)]);
        let find = |path| {
            let found = routes.find(&CanonicalPath::parse(path).unwrap());
            found.map(|found| found.upstream)
        };
        assert_eq!(find("/a/b/c"), Some(2));
        assert_eq!(find("/a/bc"), Some(1));
        assert_eq!(find("/ab"), None);
    }
}
