//! Writes the SVG: text in a monospaced font, so that every width is known; colours for light and for dark viewers.

use sideline_api::Mode;

use super::{Drawing, Drawn, Graph, Kind, Live, Vertex};
use crate::Flow;

/// Sizes of text, pixels.
pub(super) const BIG: f64 = 13.0;
pub(super) const SMALL: f64 = 11.0;
/// Width of a letter by its height: that of the widest of the common monospaced fonts.
const LETTER: f64 = 0.61;
/// Height of a row of ports.
const ROW: f64 = 17.0;
/// Beside text in a box.
const INSET: f64 = 12.0;
/// Around the whole.
const MARGIN: f64 = 24.0;
/// Above the drawing: two lines of heading. Below it: two of what the lines mean.
const HEADING: f64 = 56.0;
const LEGEND: f64 = 44.0;

/// Of threads: of middle lightness, so that they stand out on white and on black.
const COLOURS: [&str; 8] = ["#4c8bf5", "#e8833a", "#3fa45b", "#b65fc9", "#c9a227", "#2aa5a5", "#d9534f", "#8d6e63"];

const STYLE: &str = "
text { font-family: 'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace; font-size: 11px; fill: #24292f }
.page { fill: #ffffff }
.box { fill: #f6f8fa; stroke: #8c959f }
.module { fill: none; stroke: #8c959f; stroke-dasharray: 1 3; stroke-linecap: round }
.title { font-size: 13px; font-weight: bold }
.dim { fill: #656d76 }
.rate { fill: #0a7f3f }
.line { fill: none; stroke: #57606a; stroke-width: 1.4 }
.side { stroke-dasharray: 7 4 }
.feedback { stroke-dasharray: 1.5 4; stroke-linecap: round }
.tip { fill: #57606a }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .page { fill: #0d1117 }
  .box { fill: #161b22; stroke: #6e7681 }
  .module { stroke: #6e7681 }
  .dim { fill: #9198a1 }
  .rate { fill: #56d364 }
  .line { stroke: #9198a1 }
  .tip { fill: #9198a1 }
}
";

/// Width of a text, pixels.
pub(super) fn wide(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * LETTER
}

/// What stands at a module.
pub(super) fn label(flow: &Flow, module: usize) -> String {
    let module = &flow.modules[module];
    let how = if module.fused { "one process under dora" } else { "a process each under dora" };
    format!("{}  {}, {how}", module.id, module.file)
}

fn head(vertex: &Vertex) -> f64 {
    if vertex.live.is_some() { 58.0 } else { 43.0 }
}

fn input(vertex: &Vertex, i: usize) -> String {
    vertex.ins.get(i).map_or_else(String::new, |input| match &input.rate {
        Some(rate) => format!("{} {rate}", input.text),
        None => input.text.clone(),
    })
}

fn output(vertex: &Vertex, i: usize) -> String {
    vertex.outs.get(i).map_or_else(String::new, |(name, ty)| format!("{name} {ty}").trim_end().to_owned())
}

/// Width and height of a node's box.
pub(super) fn size(vertex: &Vertex) -> (f64, f64) {
    let rows = vertex.ins.len().max(vertex.outs.len());
    let ports = (0..rows).map(|i| wide(&input(vertex, i), SMALL) + wide(&output(vertex, i), SMALL) + 3.0 * INSET);
    let live = vertex.live.as_deref().unwrap_or_default();
    let texts =
        [wide(&vertex.title, BIG), wide(&vertex.about, SMALL), wide(live, SMALL)].map(|wide| wide + 2.0 * INSET);
    (ports.chain(texts).fold(90.0, f64::max).ceil(), head(vertex) + rows as f64 * ROW + 5.0)
}

/// Height in the box of its input or output of that number.
pub(super) fn port(vertex: &Vertex, i: usize) -> f64 {
    head(vertex) + (i as f64 + 0.5) * ROW
}

/// The whole file.
pub(super) fn write(flow: &Flow, graph: &Graph<'_>, drawing: &Drawing, live: Option<&Live>) -> String {
    let mode = match flow.mode {
        Mode::Live => "live",
        Mode::Complete => "complete",
    };
    let about = match live {
        Some(live) => live.heading.clone(),
        None => format!("{mode}, {} frames under way for each source", flow.window),
    };
    let legend = [
        (Kind::Ordinary, "frame by frame"),
        (Kind::Side, "side input: the newest, when it is there"),
        (Kind::Feedback, "feedback"),
    ];
    let colours = match graph.vertices.iter().any(|vertex| vertex.colour.is_none()) {
        true => "One colour, one process under dora.",
        false => "One colour, one thread in one process.",
    };
    let legend_width: f64 = legend.iter().map(|(_, text)| 60.0 + wide(text, SMALL)).sum();
    let width = [drawing.width, legend_width, wide(colours, SMALL), wide(&flow.name, BIG), wide(&about, SMALL)];
    let width = width.into_iter().fold(0.0, f64::max) + 2.0 * MARGIN;
    let height = drawing.height + HEADING + LEGEND + 2.0 * MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\">\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"100%\" height=\"100%\"/>\n"
    );
    text(&mut out, MARGIN, MARGIN + 12.0, "title", &flow.name);
    text(&mut out, MARGIN, MARGIN + 30.0, if live.is_some() { "rate" } else { "dim" }, &about);
    out += &format!("<g transform=\"translate({MARGIN} {})\">\n", MARGIN + HEADING);
    for (module, x, y, w, h) in &drawing.modules {
        out += &format!(
            "<rect class=\"module\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"8\"/>\n"
        );
        text(&mut out, x + 12.0, y + 18.0, "dim", &label(flow, *module));
    }
    // Dashes over what is solid, so that a line with both shows both.
    let mut lines: Vec<&Drawn> = drawing.lines.iter().collect();
    lines.sort_by_key(|line| line.kind);
    lines.iter().for_each(|line| draw(&mut out, line));
    for (v, x, y) in &drawing.boxes {
        node(&mut out, &graph.vertices[*v], *x, *y);
    }
    out += "</g>\n";
    let bottom = height - MARGIN - LEGEND + 26.0;
    let mut x = MARGIN;
    for (kind, what) in legend {
        let points = vec![(x, bottom - 4.0), (x + 30.0, bottom - 4.0)];
        draw(&mut out, &Drawn { kind, points, back: false, arrow: false });
        text(&mut out, x + 38.0, bottom, "dim", what);
        x += 60.0 + wide(what, SMALL);
    }
    text(&mut out, MARGIN, bottom + 18.0, "dim", colours);
    out + "</svg>\n"
}

fn text(out: &mut String, x: f64, y: f64, class: &str, text: &str) {
    *out += &format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>\n", escape(text));
}

fn node(out: &mut String, vertex: &Vertex, x: f64, y: f64) {
    let (w, h) = size(vertex);
    *out += &format!("<g><title>{}: {}</title>\n", escape(&vertex.id), escape(&vertex.about));
    *out += &format!("<rect class=\"box\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"5\"/>\n");
    if let Some(colour) = vertex.colour {
        let colour = COLOURS[colour % COLOURS.len()];
        *out +=
            &format!("<rect fill=\"{colour}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"5\" rx=\"2.5\"/>\n");
    }
    text(out, x + INSET, y + 21.0, "title", &vertex.title);
    text(out, x + INSET, y + 36.0, "dim", &vertex.about);
    if let Some(live) = &vertex.live {
        text(out, x + INSET, y + 51.0, "rate", live);
    }
    for (i, input) in vertex.ins.iter().enumerate() {
        let (py, name) = (y + port(vertex, i), escape(&input.text));
        let rate =
            input.rate.as_ref().map_or_else(String::new, |rate| format!(" <tspan class=\"rate\">{rate}</tspan>"));
        *out += &format!("<text x=\"{:.1}\" y=\"{:.1}\">{name}{rate}</text>\n", x + INSET, py + 4.0);
    }
    for (i, (name, ty)) in vertex.outs.iter().enumerate() {
        let (px, py) = (x + w, y + port(vertex, i));
        *out += &format!("<circle class=\"tip\" cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3\"/>\n");
        *out += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} <tspan class=\"dim\">{}</tspan></text>\n",
            px - INSET,
            py + 4.0,
            escape(name),
            escape(ty)
        );
    }
    *out += "</g>\n";
}

fn draw(out: &mut String, line: &Drawn) {
    let class = match line.kind {
        Kind::Ordinary => "line",
        Kind::Side => "line side",
        Kind::Feedback => "line feedback",
    };
    let mut points = line.points.clone();
    let tip = points.last().copied().filter(|_| line.arrow);
    // The line ends where the tip begins.
    if let Some(last) = points.last_mut().filter(|_| line.arrow) {
        last.0 -= 6.0;
    }
    let Some(first) = points.first() else { return };
    let mut path = format!("M{:.1} {:.1}", first.0, first.1);
    for pair in points.windows(2) {
        let ((ax, ay), (bx, by)) = (pair[0], pair[1]);
        if line.back || ay == by {
            path += &format!(" L{bx:.1} {by:.1}");
        } else {
            let middle = (ax + bx) / 2.0;
            path += &format!(" C{middle:.1} {ay:.1} {middle:.1} {by:.1} {bx:.1} {by:.1}");
        }
    }
    *out += &format!("<path class=\"{class}\" d=\"{path}\"/>\n");
    if let Some((x, y)) = tip {
        *out += &format!("<path class=\"tip\" d=\"M{x:.1} {y:.1} l-8 -4 v8 z\"/>\n");
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
