//! Plots without a library: dots with their intervals, in groups, readable on light and on dark pages.

use crate::judge::Interval;

/// One dot.
pub(crate) struct Dot {
    pub(crate) label: String,
    pub(crate) at: Interval,
}

/// Dots that belong together.
pub(crate) struct Group {
    pub(crate) label: String,
    pub(crate) dots: Vec<Dot>,
}

const WIDTH: f64 = 860.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 70.0;
const TOP: f64 = 64.0;
const ROW: f64 = 19.0;
const GROUP_GAP: f64 = 30.0;
const BOTTOM: f64 = 40.0;

/// The page's own colours; a viewer says which it prefers. Arms of this project stand out.
const STYLE: &str = "<style>\
    text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-size:15px;font-weight:600}.group{font-weight:600}\
    .quiet{fill:#59636e}.grid{stroke:#d1d9e0}.one{stroke:#59636e;stroke-dasharray:4 3}\
    .other{stroke:#6e7781;fill:#6e7781}.ours{stroke:#0969da;fill:#0969da}.page{fill:#fff}\
    @media(prefers-color-scheme:dark){text{fill:#f0f6fc}.quiet{fill:#9198a1}.grid{stroke:#3d444d}\
    .one{stroke:#9198a1}.other{stroke:#9ea7b0;fill:#9ea7b0}.ours{stroke:#4493f8;fill:#4493f8}.page{fill:#0d1117}}\
    </style>";

/// The picture, on an axis of powers of two. A dashed line stands at 1.
pub(crate) fn draw(title: &str, axis: &str, groups: &[Group]) -> String {
    let groups: Vec<&Group> = groups.iter().filter(|group| !group.dots.is_empty()).collect();
    let rows: usize = groups.iter().map(|group| group.dots.len()).sum();
    let height = TOP + rows as f64 * ROW + groups.len() as f64 * GROUP_GAP + BOTTOM;
    let (first, last) = powers(&groups);
    let x = |value: f64| {
        let part = (value.max(f64::MIN_POSITIVE).log2() - f64::from(first)) / f64::from(last - first);
        LEFT + part.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" \
         aria-label=\"{0}\">{STYLE}<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"title\" x=\"16\" y=\"24\">{0}</text>\n<text class=\"quiet\" x=\"16\" y=\"43\">{1}</text>\n",
        escape(title),
        escape(axis)
    );
    for power in first..=last {
        let value = f64::from(power).exp2();
        svg += &line("grid", x(value), (TOP, height - BOTTOM));
        svg += &text("quiet", (x(value), height - BOTTOM + 18.0), "middle", &tick(value));
    }
    svg += &line("one", x(1.0), (TOP, height - BOTTOM));
    let mut y = TOP;
    for group in groups {
        y += GROUP_GAP - 8.0;
        svg += &text("group", (16.0, y), "start", &group.label);
        y += 8.0;
        for dot in &group.dots {
            svg += &row(dot, y + ROW / 2.0, x);
            y += ROW;
        }
    }
    svg + "</svg>\n"
}

fn row(dot: &Dot, y: f64, x: impl Fn(f64) -> f64) -> String {
    let class = if dot.label.starts_with("ours") { "ours" } else { "other" };
    let Interval { median, low, high } = dot.at;
    text("", (LEFT - 10.0, y + 4.0), "end", &dot.label)
        + &format!(
            "<line class=\"{class}\" stroke-width=\"2\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <circle class=\"{class}\" r=\"4\" cx=\"{:.1}\" cy=\"{y:.1}\"/>\n",
            x(low),
            x(high),
            x(median)
        )
        + &text("quiet", (x(high) + 8.0, y + 4.0), "start", &format!("{median:.2}"))
}

fn line(class: &str, x: f64, (from, to): (f64, f64)) -> String {
    format!("<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from:.1}\" y2=\"{to:.1}\"/>\n")
}

fn text(class: &str, (x, y): (f64, f64), anchor: &str, text: &str) -> String {
    let text = escape(text);
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>\n")
}

/// The powers of two between which everything lies, 1/2 and 2 at least. Ratios need such an axis: twice as much and
/// half as much are as far from 1, and what costs ten times as much does not press all others into one place.
fn powers(groups: &[&Group]) -> (i32, i32) {
    let dots = || groups.iter().flat_map(|group| &group.dots);
    let is_shown = |value: &f64| *value > 0.0 && value.is_finite();
    let lowest = dots().map(|dot| dot.at.low).filter(is_shown).fold(0.5, f64::min);
    let highest = dots().map(|dot| dot.at.high).filter(is_shown).fold(2.0, f64::max);
    (lowest.log2().floor() as i32, highest.log2().ceil() as i32)
}

fn tick(value: f64) -> String {
    if value < 1.0 { format!("1/{:.0}", 1.0 / value) } else { format!("{value:.0}") }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{Dot, Group, draw, powers, tick};
    use crate::judge::Interval;

    #[test]
    fn every_dot_is_drawn_inside_the_picture() {
        let dot = |label: &str, median: f64| Dot {
            label: label.to_owned(),
            at: Interval { median, low: median * 0.9, high: median * 1.1 },
        };
        let group =
            Group { label: "64x1 <b>".to_owned(), dots: vec![dot("ours", 0.8), dot("upstream", 3.0)] };
        let svg = draw("a & b", "ratio", &[group, Group { label: "none".to_owned(), dots: Vec::new() }]);
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("a &amp; b") && svg.contains("64x1 &lt;b&gt;") && !svg.contains("none"));
        assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn an_axis_goes_in_powers_of_two_around_1() {
        let at = |low, high| {
            let dots = vec![Dot { label: String::new(), at: Interval { median: 1.0, low, high } }];
            powers(&[&Group { label: String::new(), dots }])
        };
        assert_eq!(at(0.9, 1.1), (-1, 1));
        assert_eq!(at(0.03, 24.0), (-6, 5));
        assert_eq!(at(0.0, f64::INFINITY), (-1, 1));
        assert_eq!((tick(0.25), tick(8.0)), ("1/4".to_owned(), "8".to_owned()));
    }
}
