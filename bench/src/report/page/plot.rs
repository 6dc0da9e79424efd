//! A chart: two axes, lines and bars between them, and what is told about a place under the pointer.
//!
//! The drawing stretches to any width while its labels keep their size: lines are SVG, words are HTML.

use serde_json::json;

use super::markup::Markup;
use super::scale::Scale;

/// Side of the drawing in its own units.
const SIDE: f64 = 1000.0;

/// One axis and how its lines are labelled.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    /// Where values stand.
    pub(super) scale: Scale,
    /// What is written at a line.
    pub(super) label: fn(f64) -> String,
    /// What it measures.
    pub(super) title: &'static str,
}

/// A colour of the page's palette, told apart also in grey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ink(pub(super) usize);

impl Ink {
    /// The class that paints in this colour.
    pub(super) fn class(self) -> &'static str {
        const CLASSES: [&str; 10] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9"];
        CLASSES[self.0 % CLASSES.len()]
    }
}

/// A chart that is being drawn.
pub(super) struct Plot {
    x: Axis,
    y: Axis,
    drawing: Markup,
    dots: Markup,
    hover: Vec<(f64, String)>,
}

impl Plot {
    /// An empty one.
    pub(super) fn new(x: Axis, y: Axis) -> Self {
        Self {
            x,
            y,
            drawing: Markup::new(),
            dots: Markup::new(),
            hover: Vec::new(),
        }
    }

    /// A line through these points.
    pub(super) fn line(&mut self, ink: Ink, points: &[(f64, f64)]) -> &mut Self {
        if points.is_empty() {
            return self;
        }
        let path = self.path(points);
        self.drawing.raw("<path class=\"line ").raw(ink.class());
        self.drawing.raw("\" d=\"").add(&path).raw("\"/>");
        self
    }

    /// The ground between these points and the x axis.
    pub(super) fn area(&mut self, ink: Ink, points: &[(f64, f64)]) -> &mut Self {
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return self;
        };
        let (from, to) = (self.across(first.0), self.across(last.0));
        let path = self.path(points);
        self.drawing.raw("<path class=\"area ").raw(ink.class());
        self.drawing.raw("\" d=\"").add(&path);
        self.drawing.raw("V1000H").at(from).raw("Z\"/>");
        // A run of one point would be invisible.
        debug_assert!(to >= from);
        self
    }

    /// A bar from one to another x, as high as y.
    pub(super) fn bar(&mut self, ink: Ink, (from, to): (f64, f64), y: f64) -> &mut Self {
        let (left, right) = (self.across(from), self.across(to));
        let top = self.down(y);
        self.drawing.raw("<rect class=\"bar ").raw(ink.class());
        self.drawing.raw("\" x=\"").at(left).raw("\" y=\"").at(top);
        self.drawing.raw("\" width=\"").at((right - left).max(0.5));
        self.drawing.raw("\" height=\"").at(SIDE - top).raw("\"/>");
        self
    }

    /// An upright line at x, such as a percentile, with its name.
    pub(super) fn mark(&mut self, x: f64, name: &str) -> &mut Self {
        let at = self.across(x);
        self.drawing.raw("<path class=\"mark\" d=\"M").at(at);
        self.drawing.raw(" 0V1000\"/>");
        self.dots
            .raw("<span class=\"name\" style=\"left:")
            .at(at / 10.0);
        self.dots.raw("%\">").text(name).raw("</span>");
        self
    }

    /// A dot.
    pub(super) fn dot(&mut self, class: &'static str, x: f64, y: f64) -> &mut Self {
        let (left, top) = (self.across(x) / 10.0, self.down(y) / 10.0);
        self.dots
            .raw("<i class=\"dot ")
            .raw(class)
            .raw("\" style=\"left:");
        self.dots.at(left).raw("%;top:").at(top).raw("%\"></i>");
        self
    }

    /// What is told when the pointer is near x.
    pub(super) fn tell(&mut self, x: f64, words: String) -> &mut Self {
        let place = (self.across(x) * 10.0).round() / 100.0;
        self.hover.push((place, words));
        self
    }

    /// The chart with its title, a remark and the names of its lines.
    pub(super) fn figure(&self, title: &str, remark: &str, legend: &[(Ink, &str)]) -> Markup {
        let mut figure = Markup::new();
        figure.raw("<figure class=\"chart\"><figcaption>");
        figure.element("b", "", title).element("small", "", remark);
        figure.raw("</figcaption>");
        if !legend.is_empty() {
            figure.raw("<ul class=\"legend\">");
            for (ink, name) in legend {
                figure.raw("<li class=\"").raw(ink.class()).raw("\">");
                figure.text(name).raw("</li>");
            }
            figure.raw("</ul>");
        }
        figure.raw("<div class=\"plot\" data-hover=\"");
        figure.text(json!(self.hover)).raw("\">");
        self.frame(&mut figure);
        figure.raw("<i class=\"cursor\"></i><output class=\"tip\"></output></div></figure>");
        figure
    }

    fn frame(&self, figure: &mut Markup) {
        let mut grid = Markup::new();
        for line in self.y.scale.lines() {
            let at = self.down(line);
            grid.raw("<path class=\"grid\" d=\"M0 ")
                .at(at)
                .raw("H1000\"/>");
            figure.raw("<span class=\"y\" style=\"top:").at(at / 10.0);
            figure.raw("%\">").text((self.y.label)(line)).raw("</span>");
        }
        for line in self.x.scale.lines() {
            let at = self.across(line);
            grid.raw("<path class=\"grid\" d=\"M")
                .at(at)
                .raw(" 0V1000\"/>");
            figure.raw("<span class=\"x\" style=\"left:").at(at / 10.0);
            figure.raw("%\">").text((self.x.label)(line)).raw("</span>");
        }
        figure.element("span", "title y", self.y.title);
        figure.element("span", "title x", self.x.title);
        figure.raw(
            "<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" aria-hidden=\"true\">",
        );
        figure.add(&grid).add(&self.drawing).raw("</svg>");
        figure.add(&self.dots);
    }

    fn path(&self, points: &[(f64, f64)]) -> Markup {
        let mut path = Markup::new();
        for (at, (x, y)) in points.iter().enumerate() {
            path.raw(if at == 0 { "M" } else { "L" });
            path.at(self.across(*x)).raw(" ").at(self.down(*y));
        }
        path
    }

    fn across(&self, x: f64) -> f64 {
        self.x.scale.place(x) * SIDE
    }

    fn down(&self, y: f64) -> f64 {
        (1.0 - self.y.scale.place(y)) * SIDE
    }
}
