//! `[[site.route]]`: from a path to an upstream.
/// One route of a site. The longest matching prefix wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Path prefix by whole segments, without trailing slash; "" is everything (`path = "/"`, the default).
    pub prefix: String,
    /// Index into [`crate::Config::upstreams`].
    pub upstream: usize,
}
