//! HTML as a value: what comes from outside can only enter it escaped.
//!
//! Literal markup is `&'static str`, so no text that was read or measured can pass for it.

use std::fmt::{Display, Write as _};

/// A piece of HTML.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Markup(String);

impl Markup {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds markup that stands in the source.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Adds text, escaped for elements and for quoted attributes alike.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        // Writing into a String cannot fail.
        let _ = write!(Escaping(&mut self.0), "{text}");
        self
    }

    /// Adds a coordinate.
    pub(super) fn at(&mut self, coordinate: f64) -> &mut Self {
        let finite = if coordinate.is_finite() {
            coordinate
        } else {
            0.0
        };
        let _ = write!(self.0, "{finite:.2}");
        self
    }

    /// Adds another piece.
    pub(super) fn add(&mut self, other: &Self) -> &mut Self {
        self.0.push_str(&other.0);
        self
    }

    /// An element of this tag and class around a text.
    pub(super) fn element(
        &mut self,
        tag: &'static str,
        class: &'static str,
        text: impl Display,
    ) -> &mut Self {
        self.raw("<").raw(tag);
        if !class.is_empty() {
            self.raw(" class=\"").raw(class).raw("\"");
        }
        self.raw(">").text(text).raw("</").raw(tag).raw(">")
    }

    /// The finished text.
    pub(super) fn into_string(self) -> String {
        self.0
    }
}

struct Escaping<'a>(&'a mut String);

impl std::fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Not allowed in HTML at all, and what terminals act on.
                c if c.is_control() && c != '\n' => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let mut markup = Markup::new();
        markup.element("b", "k", "<script>alert('\"&\u{1b}')</script>");
        assert_eq!(
            markup.into_string(),
            "<b class=\"k\">&lt;script&gt;alert(&#39;&quot;&amp;\u{fffd}&#39;)&lt;/script&gt;</b>"
        );
    }

    #[test]
    fn a_coordinate_is_a_number_whatever_was_measured() {
        let mut markup = Markup::new();
        markup
            .at(f64::NAN)
            .raw(" ")
            .at(f64::INFINITY)
            .raw(" ")
            .at(1.0 / 3.0);
        assert_eq!(markup.into_string(), "0.00 0.00 0.33");
    }
}
