//! Paths of rules and routes, in the form requests are compared in.
use crate::Located;
use crate::check::Check;

/// A path pattern; matching is on the canonical path, by whole segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    /// `/a/b`: exactly this path.
    Exact(String),
    /// `/a/**`: `/a`, `/a/` and everything below. The value is without the trailing `/**` ("" for `/**`).
    Prefix(String),
}

impl PathPattern {
    /// How it is written in the file.
    pub fn text(&self) -> String {
        match self {
            PathPattern::Exact(path) => path.clone(),
            PathPattern::Prefix(path) => format!("{path}/**"),
        }
    }
}

/// Reads `/a/b` or `/a/**`.
pub(crate) fn path_pattern(check: &mut Check<'_>, text: &Located<String>) -> Option<PathPattern> {
    let (path, below) = match text.value.strip_suffix("/**") {
        Some(path) => (path, true),
        None => (text.value.as_str(), false),
    };
    if path.contains('*') {
        check
            .error(
                &text.span,
                "`**` stands only as the whole last segment of a path, and `*` nowhere",
            )
            .help("write \"/a/**\" for `/a` and everything below it");
        return None;
    }
    if below && path.is_empty() {
        return Some(PathPattern::Prefix(String::new()));
    }
    // `/a//**` has its empty segment where it was cut.
    let whole = if below && path.ends_with('/') {
        text.value.as_str()
    } else {
        path
    };
    check_path(check, &text.with(whole.to_owned()))?;
    let path = path.to_owned();
    Some(if below {
        PathPattern::Prefix(path)
    } else {
        PathPattern::Exact(path)
    })
}

/// A path in the form requests are compared in. Anything else would never match, or match something else.
pub(crate) fn check_path(check: &mut Check<'_>, path: &Located<String>) -> Option<()> {
    let text = path.value.as_str();
    let dots = text
        .split('/')
        .any(|segment| segment == "." || segment == "..");
    let problem = match text {
        _ if !text.starts_with('/') => "a path begins with `/`",
        _ if dots => "a path has no `.` or `..` segments: requests are compared without them",
        _ if text.contains("//") => "a path has no empty segments (`//`)",
        _ if text.contains('%') => "a path is written without percent-encoding",
        _ if text.contains(';') => "a path has no parameters (`;`)",
        _ if text.contains('\\') => "a path has no backslash",
        _ if text.contains(['?', '#']) => "a path has no query and no fragment",
        _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            "a path has only printable ASCII characters"
        }
        _ => return Some(()),
    };
    check.error(&path.span, problem);
    None
}
